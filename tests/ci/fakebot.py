"""A deploy-bot that does what a test says, over real HTTP: the jobs' API and nothing else (docs/bot.md)."""

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

API_TOKEN = "dgt_" + "x" * 40
ID_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJib3QifQ.c2lnbmF0dXJl"


def id_token(audience: Any) -> str:
    """A CI's OIDC token for that audience, as far as anybody looks who can't verify it."""
    claims = base64.urlsafe_b64encode(json.dumps({"aud": audience}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl"


REQUEST_TOKEN = "request-token-" + "y" * 20
_MEMBERS = {"repository", "sha", "environment", "run_id", "attempt", "actors", "rerun", "waits"}

Fault = Callable[["Handler"], None]


@dataclass
class Request:
    """What one job asked for, and how it stands."""

    asked: dict[str, Any]
    url: str
    needed: int = 1
    status: str = "open"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    approvals: list[tuple[str, str]] = field(default_factory=list)
    declined: tuple[str, str] = ("", "")
    expires_at: int = field(default_factory=lambda: int(time.time()) + 3600)

    def approve(self, approver: str, token: str) -> None:
        """`approver` agrees, which makes `token`."""
        self.approvals.append((approver, token))
        self.status = "approved" if len(self.approvals) >= self.needed else "open"

    def decline(self, who: str, why: str) -> None:
        """Somebody says no."""
        self.status, self.declined = "declined", (who, why)

    def as_json(self, poll_after: float) -> dict[str, Any]:
        """The members that both answers have."""
        declined = dict(zip(("declined_by", "decline_reason"), self.declined, strict=True))
        return {
            "id": self.id,
            "url": f"{self.url}/requests/{self.id}",
            "status": self.status,
            "needed": self.needed,
            "approvals": [{"approver": who, "expires_at": self.expires_at} for who, _ in self.approvals],
            "expires_at": self.expires_at,
            "poll_after": poll_after,
        } | (declined if self.status == "declined" else {})


class FakeBot:
    """The bot. Each call first takes the next of `faults`, if any, in place of its answer.

    `on_ask` is called with each new request, and one of `on_poll` after the other before each poll is answered; `calls`
    are those that came in, as `(method, path, body, authorization)`, and `change` is put over every answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.needed = 1
        self.poll_after: float = 0
        self.requests: dict[Any, Request] = {}
        self.faults: list[Fault] = []
        self.on_ask: Callable[[Request], None] = lambda request: None
        self.on_poll: list[Callable[[Request], None]] = []
        self.change: dict[str, Any] = {}
        self.calls: list[tuple[str, str, Any, str]] = []

    def ask(self, body: Mapping[str, Any]) -> Request:
        """The request for that run, made where there is none yet."""
        key = tuple(body[name] for name in ("repository", "sha", "environment", "run_id", "attempt"))
        if key not in self.requests:
            self.requests[key] = Request(dict(body), self.url, self.needed)
            self.on_ask(self.requests[key])
        return self.requests[key]

    @property
    def only(self) -> Request:
        """The only request that there is."""
        (request,) = self.requests.values()
        return request

    def find(self, id_: str) -> Request | None:
        """The request with that id."""
        return next((request for request in self.requests.values() if request.id == id_), None)


class Handler(BaseHTTPRequestHandler):
    """One call to the bot."""

    bot: FakeBot
    timeout = 30

    def log_message(self, *args: Any) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        """`POST /api/requests`."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._faulty(body):
            if self.path != "/api/requests":
                self.refuse(404, "There is nothing here.")
            elif self._bearer not in (API_TOKEN, ID_TOKEN, id_token(self.bot.url)):
                self.refuse(401, f"The token does not prove who asks: {self._bearer}", hint="Use another one.")
            elif unknown := body.keys() - _MEMBERS:
                self.refuse(400, f"The question has an unknown member: {min(unknown)}")
            else:
                request = self.bot.ask(body)
                self.answer(request.as_json(self.bot.poll_after) | {"secret": request.secret} | self.bot.change)

    def do_CONNECT(self) -> None:
        """A proxy would open a tunnel; this one only notes what for."""
        if not self._faulty(None):
            self.refuse(502, "This is no proxy.")

    def do_GET(self) -> None:
        """`GET /api/requests/ID`, and the token service of GitHub under `/github-id-token`."""
        if self._faulty(None):
            return
        if self.path.startswith("/github-id-token?"):
            self.answer({"value": ID_TOKEN} if self._bearer == REQUEST_TOKEN else {})
            return
        request = self.bot.find(self.path.removeprefix("/api/requests/"))
        if request is None or self._bearer != request.secret:
            missing = request is None and self._bearer
            self.refuse(404 if missing else 401, "There is no such request, or not for this job.")
            return
        if self.bot.on_poll:
            self.bot.on_poll.pop(0)(request)
        tokens = [token for _, token in request.approvals]
        more = {"tokens": tokens} if request.status == "approved" else {}
        self.answer(request.as_json(self.bot.poll_after) | more | self.bot.change)

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        """Answer with `value` as JSON, or as it is where it is bytes."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, message: str, hint: str = "", **headers: str) -> None:
        """Answer with an error of the bot's own."""
        error = {"reason": "usage.invalid", "message": message, "hint": hint, "expected": "", "actual": ""}
        self.answer({"error": error}, status, **{"Content_Type": "application/json"} | headers)

    @property
    def _bearer(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _faulty(self, body: Any) -> bool:
        self.bot.calls.append((self.command, self.path, body, self.headers.get("Authorization", "")))
        if not self.bot.faults:
            return False
        self.bot.faults.pop(0)(self)
        return True


def reset(handler: Handler) -> None:
    """The connection is cut."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def lost(handler: Handler) -> None:
    """The bot does what it is asked, and its answer is lost."""
    handler.bot.ask(handler.bot.calls[-1][2])
    reset(handler)


def cut(handler: Handler) -> None:
    """Half an answer."""
    handler.answer(b'{"id": "ab', Content_Length="1000")
    handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    """An error of that status."""
    return lambda handler: handler.refuse(code, f"said {code}", **headers)


def raw(body: bytes, code: int = 200, **headers: str) -> Fault:
    """Just these bytes."""
    return lambda handler: handler.answer(body, code, **headers)


@contextmanager
def running_bot() -> Iterator[FakeBot]:
    """A bot on a loopback port, until the block ends."""
    handler = type("BoundHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        bot = handler.bot = FakeBot(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield bot
        finally:
            server.shutdown()
            thread.join()
