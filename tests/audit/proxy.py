"""A proxy before a stand-in for S3 that loses answers or requests, or gives answers of its own."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>"


class Proxy(NamedTuple):
    """`tricks` is what happens to the next PUTs: "lose" the answer, "swallow" the request but say yes, say "conflict",
    or "pass" it on."""

    endpoint: str
    tricks: list[str]
    seen: list[str]


@contextmanager
def proxy(endpoint: str, agreeing: bytes | None = None) -> Iterator[Proxy]:
    """Run a proxy before `endpoint` until the block ends; one that is `agreeing` says yes, and this, to everything."""
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
            if trick == "conflict":
                self.answer(409, CONFLICT, {"Content-Type": "application/xml"})
                return
            upstream = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=10)
            upstream.request(self.command, self.path, body, dict(self.headers))
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
