"""E-mail, spoken to a real SMTP server on a socket, in clear only on this machine."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate.bot.notices import Undelivered
from gate.bot.notices.email import Email, Server, is_address
from gate.bot.notices.sections import read_notices
from gate.bot.secret import Secret
from gate.errors import PolicyError, UsageError
from gate.strictyaml import parse
from tests.bot.mailbox import Mailbox, serving
from tests.bot.news import HOSTILE, URL, notice
from tests.replay.certificates import make

HOST = "mail.example.com"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates for HOST, which is this machine, trusted as the system's own are."""
    make(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    lookup = socket.getaddrinfo

    def looked_up(host: Any, *rest: Any, **named: Any) -> Any:
        return lookup("127.0.0.1" if host in (HOST, "other.example.com") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return tmp_path


@pytest.fixture
def plain() -> Iterator[Mailbox]:
    with serving(Mailbox()) as mailbox:
        yield mailbox


def channel(mailbox: Mailbox, host: str = "127.0.0.1", **settings: Any) -> Email:
    login = {"user": "gate", "password": Secret("env:SMTP_PASSWORD", None)} if mailbox.account else {}
    return Email(Server(host, mailbox.port, mailbox.tls == "smtps", **login), "gate@example.com", **settings)


def refusal(email: Email, **changed: Any) -> Undelivered:
    with pytest.raises(Undelivered) as caught:
        email.deliver(notice(**changed))
    assert PASSWORD not in f"{caught.value!r} {caught.value.hint} {caught.value.actual}"
    return caught.value


def test_a_message(plain: Mailbox) -> None:
    channel(plain).deliver(notice(approvers=("alice@example.com", "octocat", "carol@example.com", "*@example.com")))
    (mail,) = plain.mails
    assert (mail.sender, mail.recipients) == ("gate@example.com", ["alice@example.com", "carol@example.com"])
    message = mail.message
    assert message["From"] == "gate@example.com"
    assert message["To"] == "alice@example.com, carol@example.com"
    assert message["Subject"] == "Approval asked: production of acme/shop at 000000030000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"] == "Deploy Gate <deploy-gate.example.com>"
    assert message["Date"]
    assert message.get_content_type() == "text/plain"
    lines = message.get_content().splitlines()
    assert URL in lines
    assert "Commit: Fix all the bugs" in lines
    assert "Approvals: 0 of 2" in lines


def test_a_long_link_is_not_broken(plain: Mailbox) -> None:
    link = "https://gate.example.com/requests/" + "x" * 300
    channel(plain).deliver(notice(url=link, title="Grüße"))
    assert f"\r\n{link}\r\n".encode() in plain.mails[0].data.replace(b"=\r\n", b"")
    assert link in plain.mails[0].message.get_content().splitlines()


def test_a_request_is_a_thread(plain: Mailbox) -> None:
    for news in ("asked", "asked", "approved"):
        channel(plain).deliver(notice(news))
    channel(plain).deliver(notice(request_id="req-2"))
    first, again, approved, other = [mail.message for mail in plain.mails]
    assert first["Message-ID"] == again["Message-ID"] == approved["In-Reply-To"] == approved["References"]
    assert len({first["Message-ID"], approved["Message-ID"], other["Message-ID"]}) == 3
    assert first["In-Reply-To"] is None


def test_nobody_to_write_to() -> None:
    Email(Server("127.0.0.1", 9, tls=False), "gate@example.com").deliver(notice(approvers=("octocat", "a b@c", "")))


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com\r\nBcc: eve@example.com",
        "alice@example.com\n",
        "alice@example.com, eve@example.com",
        "alice@example.com>",
        "<alice@example.com>",
        '"alice eve"@example.com',
        "alice@exa mple.com",
        "alice@-example.com",
        ".alice@example.com",
        "alice@@example.com",
        "älice@example.com",
        "a" * 250 + "@example.com",
        "*@example.com",
    ],
)
def test_what_is_no_address(address: str) -> None:
    assert not is_address(address)


def test_no_header_can_be_injected(plain: Mailbox) -> None:
    evil = "x\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>"
    changed = dict.fromkeys(("title", "reason", "declined_by", "run_id", "request_id"), evil)
    channel(plain).deliver(notice("declined", actors=(evil,), **changed))
    (mail,) = plain.mails
    assert mail.recipients == ["alice@example.com", "carol@example.com"]
    assert mail.message["Bcc"] is None
    assert "eve" not in str(mail.message.items())
    assert all(line.count("eve") == line.count("x Bcc: eve") * 2 for line in mail.message.get_content().splitlines())


def test_text_of_others_links_nowhere(plain: Mailbox) -> None:
    channel(plain).deliver(notice("declined", title=HOSTILE, reason=HOSTILE))
    text = plain.mails[0].message.get_content().replace(URL, "")
    assert "://" not in text
    assert "www.evil" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("tls", ["starttls", "smtps"])
def test_encrypted_with_a_login(folder: Path, tls: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(Mailbox(tls, folder, ("gate", PASSWORD))) as mailbox:
        channel(mailbox, HOST).deliver(notice())
    assert [(mail.encrypted, mail.user) for mail in mailbox.mails] == [(True, "gate")]
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("tls", ["starttls", "smtps"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_certificate_that_does_not_hold(folder: Path, tls: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "authority":
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "other.pem"))
    with serving(Mailbox(tls, folder, ("gate", PASSWORD))) as mailbox:
        error = refusal(channel(mailbox, "other.example.com" if wrong == "name" else HOST))
    assert "shows a certificate that is not trusted here" in str(error)
    assert error.final
    assert mailbox.mails == []


def test_nothing_goes_in_clear_to_another_machine(folder: Path) -> None:
    with serving(Mailbox(account=("gate", PASSWORD))) as mailbox:
        error = refusal(channel(mailbox, HOST))
    assert error.final
    assert "STARTTLS" in str(error)
    assert mailbox.mails == []


def test_starttls_that_is_refused(folder: Path) -> None:
    with serving(Mailbox("starttls", folder, ("gate", PASSWORD))) as mailbox:
        mailbox.replies["STARTTLS"] = "454 not now"
        assert not refusal(channel(mailbox, HOST)).final
    assert mailbox.mails == []


def test_a_wrong_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Mailbox("smtps", folder, ("gate", "another"))) as mailbox:
        error = refusal(channel(mailbox, HOST))  # the server repeats the password
    assert str(error) == "The mail server refuses the login (535)."
    assert not error.final


def test_a_password_that_is_not_there(plain: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    plain.account = ("gate", PASSWORD)
    with pytest.raises(UsageError, match="env:SMTP_PASSWORD is empty"):
        channel(plain).deliver(notice())


@pytest.mark.parametrize(
    ("command", "reply", "final"),
    [
        ("HELLO", "554 no", True),
        ("HELLO", "421 later", False),
        ("HELLO", "hello", False),
        ("MAIL", "550 no", True),
        ("MAIL", "451 later", False),
        ("RCPT", "550 nobody", True),
        ("RCPT", "451 later", False),
        ("RCPT TO:<alice", "451 later", True),  # carol has it
        ("DATA", "552 too large", True),
        ("DATA", "452 full", False),
    ],
)
def test_refusals(plain: Mailbox, command: str, reply: str, final: bool) -> None:
    plain.replies[command] = reply
    error = refusal(channel(plain))
    assert error.final is final
    assert reply[4:] not in str(error).replace("no longer", "") or reply == "hello"


@pytest.mark.parametrize("reply", ["421 later", "500 what?"])
def test_what_comes_after_the_message_does_not_matter(plain: Mailbox, reply: str) -> None:
    plain.replies["QUIT"] = reply
    channel(plain).deliver(notice())
    assert len(plain.mails) == 1


def test_silence_is_bounded(plain: Mailbox) -> None:
    plain.replies["DATA"] = ""
    assert "too long" in str(refusal(channel(plain, patience=0.2)))


def test_nobody_there() -> None:
    assert not refusal(Email(Server("127.0.0.1", 9, tls=False), "gate@example.com")).final


def _read(text: str, base: Path) -> Any:
    return read_notices(parse(text.encode()), base)


def test_the_section(plain: Mailbox, tmp_path: Path) -> None:
    (only,) = _read(f"email: {{server: 'smtp://127.0.0.1:{plain.port}', from: gate@example.com}}", tmp_path)
    only.deliver(notice())
    assert only.name == "email"
    assert len(plain.mails) == 1


def test_the_section_with_a_login(folder: Path) -> None:
    with serving(Mailbox("smtps", folder, ("gate", PASSWORD))) as mailbox:
        server = f"server: 'smtps://{HOST}:{mailbox.port}'"
        text = f"email: {{{server}, from: gate@example.com, user: gate, password: env:SMTP_PASSWORD}}"
        for one in _read(text, folder):
            one.deliver(notice())
    assert mailbox.mails[0].user == "gate"


@pytest.mark.parametrize(
    "text",
    [
        "{server: 'mail.example.com', from: gate@example.com}",
        "{server: 'http://mail.example.com', from: gate@example.com}",
        "{server: 'smtp://user:secret@mail.example.com', from: gate@example.com}",
        "{server: 'smtp://mail.example.com/path', from: gate@example.com}",
        "{server: 'smtp://mail.example.com:99999', from: gate@example.com}",
        "{server: 'smtp://mail.example.com', from: gate}",
        "{server: 'smtp://mail.example.com', from: gate@example.com, user: gate}",
        "{server: 'smtp://mail.example.com', from: gate@example.com, password: env:P}",
        "{server: 'smtp://mail.example.com', from: gate@example.com, user: gate, password: secret}",
        "{server: 'smtp://mail.example.com'}",
        "{from: gate@example.com}",
    ],
)
def test_a_section_that_makes_no_sense(text: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="Line 1") as caught:
        _read(f"email: {text}", tmp_path)
    assert "secret" not in str(caught.value).replace("where the secret is", "")
