"""A proxy before a stand-in for S3 that loses answers or requests, or gives answers of its own."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_REFUSALS = {
    "deny": (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied to 123456789012</Message></Error>"),
    "conflict": (409, b"<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>"),
}
_FORGOTTEN = {"if-none-match", "content-md5"}


class Proxy(NamedTuple):
    """`tricks` is what happens to the next PUTs: "lose" the answer, "swallow" the request but say yes, say "conflict",
    "deny" it, "forget" the conditions and the digest that it holds, or "pass" it on."""

    endpoint: str
    tricks: list[str]
    seen: list[str]


@contextmanager
def proxy(endpoint: str, agreeing: bytes | None = None, denying: str = "=nothing") -> Iterator[Proxy]:
    """Run a proxy before `endpoint` until the block ends; one that is `agreeing` says yes, and this, to everything. It
    denies access to what has `denying` in its path."""
    tricks: list[str] = []
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            trick = tricks.pop(0) if tricks and self.command == "PUT" else "pass"
            seen.append(f"{self.command} {trick}")
            if agreeing is not None or trick == "swallow":
                self.answer(200, agreeing or b"", {})
                return
            if denying in unquote(self.path):
                trick = "deny"
            if trick in _REFUSALS:
                self.answer(*_REFUSALS[trick], {"Content-Type": "application/xml"})
                return
            dropped = _FORGOTTEN if trick == "forget" else set()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            upstream = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=10)
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            upstream.close()
            if trick == "lose":
                self.close_connection = True
                self.connection.close()
                return
            self.answer(answer.status, data, dict(answer.getheaders()))

        do_GET = do_PUT = forward  # noqa: N815 (the names that http.server calls)

        def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Proxy(f"http://127.0.0.1:{server.server_port}", tricks, seen)
    finally:
        server.shutdown()
        server.server_close()
