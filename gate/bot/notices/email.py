"""E-mail by SMTP, to those who may approve and are known by an e-mail address."""

import hashlib
import re
import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import NamedTuple

from gate.authorities import HINT, distrust
from gate.bot.notices import News, Notice, Undelivered
from gate.bot.notices.words import facts, headline, inert
from gate.bot.secret import Secret
from gate.deadline import within
from gate.uris import LOOPBACK

_ATOM = r"[A-Za-z0-9!#$%&'+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")  # RFC 5321 §4.1.2, without quoting; no `*`
_MOST = 100  # recipients of one message: what every server takes (RFC 5321 §4.5.3.1.8)
_TIMEOUT = 10.0  # seconds for each answer
_PATIENCE = 30.0  # seconds in all
_LINES = SMTP.clone(max_line_length=998)  # RFC 5322 §2.1.1: a link is not to be broken


def is_address(text: str) -> bool:
    """Is `text` an address that mail can be sent to?"""
    return len(text) <= 254 and bool(_ADDRESS.fullmatch(text))


class Server(NamedTuple):
    """An SMTP server: `tls` from the first byte, or else STARTTLS, without which only loopback is spoken to."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: Secret | None = None


class Email:
    """The channel that writes from the address `sender` by way of `server`."""

    name = "email"

    def __init__(self, server: Server, sender: str, *, patience: float = _PATIENCE) -> None:
        self._server = server
        self._sender = sender
        self._patience = patience

    def check(self) -> None:
        """Check that the password is there.

        Raises:
            UsageError: it is not.
        """
        self._password()

    def deliver(self, notice: Notice) -> None:
        """Send one message to all of `approvers` that are e-mail addresses; to nobody if none is.

        Raises:
            Undelivered: the server did not take it, or not for everybody.
        """
        recipients = [name for name in dict.fromkeys(notice.approvers) if is_address(name)][:_MOST]
        if not recipients:
            return
        password = self._password()
        letter = message(notice, self._sender, recipients)
        try:
            within(self._patience, lambda: _send(self._server, password, self._sender, recipients, letter))
        except TimeoutError:
            raise Undelivered("The mail server took too long.") from None

    def _password(self) -> str:
        return self._server.password.read() if self._server.password else ""


def message(notice: Notice, sender: str, recipients: list[str]) -> EmailMessage:
    """The message. Its id follows from the notice, so that readers show a doubled one once, and a request as a thread.

    No text of others stands in a header.
    """
    domain = sender.rpartition("@")[2]
    first = _message_id(notice.request_id, "asked", domain)
    letter = EmailMessage(policy=_LINES)
    letter["From"] = sender
    letter["To"] = ", ".join(recipients)
    letter["Subject"] = headline(notice)
    letter["Date"] = formatdate()
    letter["Message-ID"] = _message_id(notice.request_id, notice.news, domain)
    if notice.news != "asked":
        letter["In-Reply-To"] = first
        letter["References"] = first
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834
    letter["X-Auto-Response-Suppress"] = "All"
    letter["List-Id"] = f"Deploy Gate <deploy-gate.{domain}>"  # RFC 2919
    letter.set_content(_text(notice))
    return letter


def _message_id(request_id: str, news: News, domain: str) -> str:
    digest = hashlib.sha256(f"{request_id} {news}".encode()).hexdigest()
    return f"<deploy-gate.{digest[:32]}@{domain}>"


def _text(notice: Notice) -> str:
    listed = "\n".join(f"{fact.label}: {fact.value if fact.ours else inert(fact.value)}" for fact in facts(notice))
    return (
        f"{headline(notice)}\n\n{listed}\n\n{notice.url}\n\n"
        "The page shows what would be signed. Nothing is approved by opening it, or by answering this message.\n"
    )


def _send(server: Server, password: str, sender: str, recipients: list[str], letter: EmailMessage) -> None:
    try:
        link = _connected(server, sender.rpartition("@")[2])
        with closing(link):
            if server.user:
                link.login(server.user, password)
            refused = link.send_message(letter, sender, recipients)
            with suppress(smtplib.SMTPException, OSError):  # the message is taken, whatever comes now
                link.quit()
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPAuthenticationError as error:
        raise Undelivered(f"The mail server refuses the login ({error.smtp_code}).") from None
    except smtplib.SMTPResponseException as error:
        final = 500 <= error.smtp_code < 600
        raise Undelivered(f"The mail server refuses the message ({error.smtp_code}).", final=final) from None
    except ssl.SSLCertVerificationError as error:
        raise Undelivered(f"The mail server {distrust(error)}.", hint=HINT, final=True) from None
    except ssl.SSLError:
        raise Undelivered("The mail server does not speak TLS as it must.") from None
    except smtplib.SMTPNotSupportedError:
        raise Undelivered(
            "The mail server offers no STARTTLS, or takes no login.",
            hint="Use smtps://, or a server that offers STARTTLS: nothing is sent in clear to another machine.",
            final=True,
        ) from None
    except (smtplib.SMTPException, OSError, ValueError):
        raise Undelivered("The mail server can't be reached, or does not speak SMTP as it must.") from None
    if refused:
        raise _partly(refused, len(recipients))


def _connected(server: Server, domain: str) -> smtplib.SMTP:
    """A connection that is encrypted, to a server whose certificate holds, or that does not leave this machine."""
    context = ssl.create_default_context()
    if server.tls:
        return smtplib.SMTP_SSL(server.host, server.port, domain, timeout=_TIMEOUT, context=context)
    link = smtplib.SMTP(server.host, server.port, domain, timeout=_TIMEOUT)
    try:
        if server.host not in LOOPBACK:
            link.starttls(context=context)  # raises where the server has none
    except BaseException:
        link.close()
        raise
    return link


def _partly(refused: dict[str, tuple[int, bytes]], total: int) -> Undelivered:
    """Only where all were refused for now is it worth another try: the others have it already."""
    final = len(refused) < total or any(500 <= code < 600 for code, _ in refused.values())
    return Undelivered(f"The mail server refuses {len(refused)} of {total} recipients.", final=final)
