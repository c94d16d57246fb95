"""A small SMTP server on 127.0.0.1 (RFC 5321), which keeps what it is given."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, NamedTuple


class Mail(NamedTuple):
    """One message as it was received."""

    sender: str
    recipients: list[str]
    data: bytes
    encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.data, policy=SMTP)
        assert isinstance(parsed, EmailMessage)
        assert parsed.defects == []
        return parsed


class Mailbox:
    """The server: `tls` is "", "starttls" or "smtps". Where there is an `account`, (user, password), it wants a login.

    `replies` are given instead of the usual ones, by the start of a command; "" is silence until the end.
    """

    def __init__(self, tls: str = "", folder: Path | None = None, account: tuple[str, str] | None = None) -> None:
        self.tls = tls
        self.account = account
        self.replies: dict[str, str] = {}
        self.mails: list[Mail] = []
        self.port = 0
        self.closing = threading.Event()
        self.context: ssl.SSLContext | None = None
        if folder:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(folder / "server.pem", folder / "server.key")


@contextmanager
def serving(mailbox: Mailbox) -> Iterator[Mailbox]:
    """Serve `mailbox` on a port of its own until the block ends, and set its `port`."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), lambda *arguments: _Talk(mailbox, *arguments)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        mailbox.port = server.server_address[1]
        try:
            yield mailbox
        finally:
            mailbox.closing.set()
            server.shutdown()
            thread.join()


class _Talk(socketserver.BaseRequestHandler):
    def __init__(self, mailbox: Mailbox, *arguments: Any) -> None:
        self.box = mailbox
        self.encrypted = False
        self.user = self.sender = ""
        self.recipients: list[str] = []
        super().__init__(*arguments)

    def handle(self) -> None:
        try:
            if self.box.tls == "smtps":
                self._encrypt()
            self.file = self.request.makefile("rb")
            self._say(self.box.replies.get("HELLO", "220 mail.example.com ESMTP"))
            while line := self.file.readline(4096):
                if not self._answer(line.decode("ascii").rstrip("\r\n")):
                    return
        except OSError:
            return  # the client gave up
        finally:
            self.request.close()  # the one that encrypts; the server knows only the one below

    def _encrypt(self) -> None:
        assert self.box.context
        self.request = self.box.context.wrap_socket(self.request, server_side=True)
        self.file = self.request.makefile("rb")
        self.encrypted = True

    def _say(self, line: str) -> None:
        if not line:
            self.box.closing.wait()
        self.request.sendall(line.encode() + b"\r\n")

    def _answer(self, line: str) -> bool:
        verb = line.partition(" ")[0].upper()
        for start, reply in self.box.replies.items():
            if line.upper().startswith(start.upper()):
                self._say(reply)
                return True
        {"EHLO": self._ehlo, "STARTTLS": self._starttls, "DATA": self._data}.get(
            verb, lambda: self._other(verb, line)
        )()
        return verb != "QUIT"

    def _ehlo(self) -> None:
        lines = ["mail.example.com", "8BITMIME"]
        lines += ["STARTTLS"] if self.box.tls == "starttls" and not self.encrypted else []
        lines += ["AUTH PLAIN"] if self.box.account else []
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _starttls(self) -> None:
        self._say("220 go ahead")
        self._encrypt()

    def _data(self) -> None:
        self._say("354 end with a dot")
        data = b""
        while (line := self.file.readline()) != b".\r\n":
            data += line.removeprefix(b".")
        self.box.mails.append(Mail(self.sender, self.recipients, data, self.encrypted, self.user))
        self._say("250 taken")

    def _other(self, verb: str, line: str) -> None:
        if verb == "AUTH":
            _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            good = (user, password) == self.box.account
            self.user = user if good else ""
            self._say("235 welcome" if good else f"535 {password} is wrong")
        elif self.box.account and not self.user and verb == "MAIL":
            self._say("530 log in first")
        else:
            address = line.partition("<")[2].partition(">")[0]
            if verb == "MAIL":
                self.sender, self.recipients = address, []
            elif verb == "RCPT":
                self.recipients.append(address)
            self._say("221 bye" if verb == "QUIT" else "250 fine")
