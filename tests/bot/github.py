"""A GitHub on 127.0.0.1: every request to it, and every answer it gives, is checked by GitHub's own description."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.bot import description
from tests.bot.githubdata import REPOSITORY, Reply, Request, Shop
from tests.bot.githubroutes import answer, problem

PREFIX = "/api/v3"


class Fault(NamedTuple):
    """What happens, once, to the first request of `method` whose path holds `part`: `reply` instead of the answer, or
    with `lost` the right thing without an answer, or with `slow` nothing until the client gives up."""

    method: str
    part: str
    reply: Reply | None = None
    lost: bool = False
    slow: bool = False


class GitHub:
    """The server's state: one repository, in `shop`, who may do what there, and what was asked."""

    def __init__(self, repository: str = REPOSITORY) -> None:
        self.shop = Shop(repository)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self.url = ""
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def asked(self, method: str, part: str = "") -> list[Request]:
        """The requests of `method` whose path holds `part`."""
        return [request for request in self.requests if request.method == method and part in request.path]

    def reply(self, request: Request) -> Reply | None:
        """The answer, checked; None where the connection is to be cut."""
        with self._lock:
            self.requests.append(request)
            fault = next(
                (one for one in self.faults if one.method == request.method and one.part in request.path), None
            )
            if fault:
                self.faults.remove(fault)
        if fault and fault.slow:
            self.closing.wait()
            return None
        try:
            found = description.operation(request.method, request.path)
            description.check_request(found, request.query, request.body)
            with self._lock:
                reply = (fault and fault.reply) or answer(self.shop, request)
            if not (fault and fault.reply):
                description.check_response(found, reply.status, reply.body)
        except Exception as error:  # noqa: BLE001 (told where the block ends)
            self.problems.append(f"{request.method} {request.path}: {error}")
            return problem(500, "The test's GitHub has a problem")
        return None if fault and fault.lost else reply


@contextmanager
def serving(github: GitHub | None = None) -> Iterator[GitHub]:
    """Serve `github` on a port of its own until the block ends, and set its `url`. What did not agree with GitHub's
    description fails the block."""
    github = github or GitHub()
    description.document()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(github))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    github.url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
    try:
        yield github
        assert github.problems == [], github.problems
    finally:
        github.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(github: GitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            request = Request(
                self.command,
                unquote(parts.path.removeprefix(PREFIX)),
                {name: values[0] for name, values in parse_qs(parts.query).items()},
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(body) if body else None,
            )
            reply = github.reply(request)
            try:
                self._send(reply)
            except OSError:
                self.close_connection = True  # the client gave up

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815 (the base class's names)

        def _send(self, reply: Reply | None) -> None:
            if reply is None:
                self.close_connection = True
                return
            body = b"" if reply.body is None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    return Handler
