"""Servers that do not answer."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gate import http
from gate.bot.errors import Unavailable
from gate.bot.fetch import get_object
from gate.errors import GateError
from gate.forge import Unattributed
from gate.forge.github import GitHub
from tests.replay.certificates import make
from tests.sabotage import HTTP_WITHOUT_END, Cut, ends, relay, sweep
from tests.world import SHA


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(folder: Path | None) -> Iterator[str]:
    """`localhost:PORT` of a server: with TLS where there is a folder of certificates."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Empty) as server:
        if folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.pem", folder / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"localhost:{server.server_port}"
        finally:
            server.shutdown()


def asked(url: str) -> tuple[int, str]:
    """What came of a GET: the status, and where there is no answer the trouble."""
    with http.connect() as session:
        try:
            with session.get(url, timeout=0.5, auth=http.nobody, stream=True) as response:
                answer = http.read(response, 100)
        except OSError as error:
            answer = http.unanswered(error)
    return answer.status, answer.trouble


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make(tmp_path, "localhost")
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


def test_a_certificate_that_is_not_trusted_is_named_and_can_be(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificates) as place:
        status, trouble = asked(f"https://{place}")
        assert (status, trouble.startswith("shows a certificate that is not trusted here")) == (0, True)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))
        assert asked(f"https://{place}") == (204, "")


def test_a_server_without_tls_is_named(certificates: Path) -> None:
    with serving(None) as place:
        assert asked(f"https://{place}") == (0, "does not speak TLS as it must")


def test_a_server_that_is_not_there_or_silent_is_named(certificates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert asked(f"http://127.0.0.1:{port}") == (0, "took too long to answer")
    assert asked(f"http://127.0.0.1:{port}") == (0, "can't be reached")


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    assert asked("https://gate.example.com") == (0, "can't be reached through the proxy")


class _Commit(_Empty):
    def do_GET(self) -> None:
        body = json.dumps({"sha": SHA}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def commit() -> Iterator[int]:
    """The port of a server that knows one commit."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Commit) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def of_bot(port: int) -> object:
    return get_object("It", f"http://127.0.0.1:{port}", 0.5)


def of_gate(port: int) -> object:
    return GitHub(f"http://127.0.0.1:{port}", None, patience=0.4).holds("acme/shop", [SHA])


ASKED = [(of_bot, {"sha": SHA}, Unavailable), (of_gate, SHA, Unattributed)]


@pytest.mark.parametrize(("ask", "truth", "unavailable"), ASKED)
def test_a_cut_answer_is_the_truth_or_none(
    commit: int, ask: Callable[[int], object], truth: object, unavailable: type[GateError]
) -> None:
    with relay(commit, cut := Cut()) as port:
        sweep(cut, lambda: ask(port), truth, unavailable)


@pytest.mark.parametrize("what", HTTP_WITHOUT_END)
def test_an_answer_without_end_ends_in_time(commit: int, what: str) -> None:
    with relay(commit, HTTP_WITHOUT_END[what]) as port:
        for ask, _, unavailable in ASKED:
            assert ends(partial(ask, port)) is unavailable
