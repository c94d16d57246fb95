"""Servers that behave as AWS does on a bad day, over real sockets."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Reply(NamedTuple):
    """What to answer instead of asking the real server."""

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


PASS = "pass"  # hand the request on, and the answer back
LOSE = "lose"  # hand the request on, and drop the connection instead of answering

# From the operation, and how many requests for it came before, to what to do.
Plan = Callable[[str, int], Reply | str]


def refusal(code: str, status: int = 400, **more: Any) -> Reply:
    """An error as DynamoDB words it, with all that must not be shown."""
    message = (
        "User: arn:aws:sts::123456789012:assumed-role/deploy/i-0abc is not authorized to perform: dynamodb:PutItem on"
        " resource: arn:aws:dynamodb:eu-west-1:123456789012:table/jti"
    )
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message} | more
    return Reply(status, json.dumps(body).encode(), {"x-amzn-RequestId": "K4BFREQUESTID"})


class Middleman:
    """A running server between a client and `upstream`; `seen` counts the requests for each operation."""

    def __init__(self, plan: Plan, upstream: str) -> None:
        self.seen: dict[str, int] = {}
        self.endpoint = ""
        self._plan = plan
        self._upstream = upstream
        self._lock = Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        operation = handler.headers.get("X-Amz-Target", "?").rpartition(".")[2]
        with self._lock:
            before = self.seen.get(operation, 0)
            self.seen[operation] = before + 1
        step = self._plan(operation, before)
        reply = step if isinstance(step, Reply) else self._ask(dict(handler.headers), body)
        if step == LOSE:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response_only(reply.status)
        usual = {"Content-Type": "application/x-amz-json-1.0", "Date": handler.date_time_string()}
        for name, value in (usual | dict(reply.headers)).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _ask(self, headers: dict[str, str], body: bytes) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self._upstream).netloc, timeout=30)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower().startswith("x-am")}
            return Reply(answer.status, answer.read(), kept)
        finally:
            connection.close()


@contextmanager
def middleman(plan: Plan, upstream: str = "http://127.0.0.1:9") -> Iterator[Middleman]:
    """Run a `Middleman` until the block ends."""
    server = Middleman(plan, upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        http_server.daemon_threads = True
        thread = Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.endpoint = f"http://127.0.0.1:{http_server.server_address[1]}"
        try:
            yield server
        finally:
            http_server.shutdown()
            thread.join(timeout=10)


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
