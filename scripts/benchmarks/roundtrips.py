"""How often AWS KMS is asked: once for each signature, and by `gate verify` never."""

import http.client
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from scripts.benchmarks.measure import Row, Sizes, process
from tests.parts import Aws
from tests.signers.places import KmsKeys, Place
from tests.world import SHA, World

SECTION = "signers, requests to KMS"
_KEPT_TO_ONESELF = ("connection", "proxy-connection", "transfer-encoding", "expect")  # RFC 9110 §7.6.1, §10.1.1


def rows(folder: Path, sizes: Sizes, aws: Aws) -> Iterator[Row]:
    """Counted between the gate and the stand-in, tries that failed included."""
    folder.mkdir()
    keys = KmsKeys(aws)
    with _counter(aws.endpoint) as counter:
        signer = Place(keys.uri(keys.new("Ed25519")["KeyId"], counter.url)).open()
        signer.sign(b"first")
        before = counter.kms
        for _ in range(sizes.signatures):
            signer.sign(b"another")
        each = (counter.kms - before) / sizes.signatures
        yield Row(SECTION, "a signature after the first", each, "", "one round trip", 1.0, 1.0)

        world = _world(folder, aws)
        world.signer = signer
        world.path.write_bytes(world.text.encode())
        token = world.token()
        counter.kms = counter.all = 0
        _verify(world, token, counter.url)
        yield Row(SECTION, "gate verify, cold", counter.kms, "", "all its requests to AWS", counter.all, 0.0)


class _Counter:
    """A running proxy that counts what passes; it hands everything to `upstream`, whatever host it was meant for."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.all = self.kms = 0
        self._upstream = urlsplit(upstream).netloc

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Count one request, and answer as `upstream` does; tunnels to hosts elsewhere are counted and refused."""
        self.all += 1
        tunnel, parts = handler.command == "CONNECT", urlsplit(handler.path)
        host = handler.path if tunnel else parts.netloc
        self.kms += "kms" in host or "TrentService." in handler.headers.get("X-Amz-Target", "")
        if tunnel:
            handler.send_error(403)
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            target = parts._replace(scheme="", netloc="").geturl()
            connection.request(handler.command, target, body, _passed_on(handler.headers.items()))
            _hand_back(connection.getresponse(), handler)
        finally:
            connection.close()


def _hand_back(answer: http.client.HTTPResponse, handler: BaseHTTPRequestHandler) -> None:
    body, headers = answer.read(), _passed_on(answer.getheaders())
    if handler.command != "HEAD":
        headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        headers["Content-Length"] = str(len(body))
    handler.send_response_only(answer.status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _passed_on(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _KEPT_TO_ONESELF}


@contextmanager
def _counter(upstream: str) -> Iterator[_Counter]:
    counter = _Counter(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            counter.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    for command in ("GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT"):
        setattr(Handler, f"do_{command}", Handler.handle_any)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        counter.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield counter
        finally:
            server.shutdown()
            thread.join(timeout=10)


def _world(folder: Path, aws: Aws) -> World:
    where = f"?region={aws.region}&endpoint={aws.endpoint}"
    replay, audit = f"dynamodb://{aws.table()}{where}", f"s3://{aws.bucket()}/audit{where}"
    return World(folder, replay=replay, audit=audit, now=int(time.time()))


def _verify(world: World, token: str, proxy: str) -> None:
    """A process of its own, which reaches nothing but through the proxy."""
    command = [sys.executable, "-I", "-m", "gate", "verify", "--policy", str(world.path), "--repository", "acme/shop"]
    command += ["--sha", SHA, "--environment", "production"]
    everything = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": ""}
    process(command, world.folder, {"GATE_APPROVALS": token, **everything})
