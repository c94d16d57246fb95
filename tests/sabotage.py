"""A relay before a real server that spoils what it answers: cut anywhere, without end, or a byte at a time."""

import socket
import socketserver
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from threading import Thread
from typing import Any

from gate.errors import GateError

Spoil = Callable[[Iterator[bytes]], Iterator[bytes]]


class Cut:
    """Lets `left` bytes of each connection's answers pass, and counts all that there were."""

    def __init__(self) -> None:
        self.left = sys.maxsize
        self.seen = 0

    def __call__(self, answers: Iterator[bytes]) -> Iterator[bytes]:
        passed = 0
        for part in answers:
            self.seen += len(part)  # as long as nothing is cut, on one connection or several
            yield part[: self.left - passed]
            passed += len(part)
            if passed >= self.left:
                return


def endless(beginning: bytes, again: bytes, pause: float = 0) -> Spoil:
    """Another answer than the server's: `beginning`, then `again` and again, a `pause` in between."""

    def spoil(answers: Iterator[bytes]) -> Iterator[bytes]:
        next(answers, b"")
        yield beginning
        for part in repeat(again):
            time.sleep(pause)
            yield part

    return spoil


@contextmanager
def relay(upstream: int, spoil: Spoil) -> Iterator[int]:
    """The port of a relay before the server on the loopback port `upstream`, until the block ends."""
    open_now: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            open_now.add(client)
            with socket.create_connection(("127.0.0.1", upstream)) as server, suppress(OSError):  # one side is gone
                Thread(target=_copy, args=(client, server), daemon=True).start()
                for part in spoil(_parts(server)):
                    client.sendall(part)
            open_now.discard(client)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(timeout=10)
            for client in list(open_now):
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)


def _parts(server: socket.socket) -> Iterator[bytes]:
    while part := server.recv(1 << 16):
        yield part


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        for part in _parts(source):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


def ends(ask: Callable[[], object]) -> Any:
    """What it comes to, within seconds: what is returned, or the class of the error."""
    began = time.monotonic()
    try:
        return ask()
    except GateError as error:
        return type(error)
    finally:
        assert time.monotonic() - began < 5


def sweep(cut: Cut, ask: Callable[[], object], truth: object, unavailable: type[GateError]) -> None:
    """Ask with each connection's answers cut after 0, 1, 2, … bytes, up to their end."""
    assert ask() == truth
    outcomes = []
    for left in range(cut.seen + 1):
        cut.left = left
        outcomes.append(ends(ask))
        assert outcomes[-1] in (truth, unavailable), f"another answer after {left} bytes"
    assert (outcomes[0], outcomes[-1]) == (unavailable, truth)


HTTP_WITHOUT_END = {
    "a status line": endless(b"HTTP/1.1 200 ", b"O" * 4096),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-Y: Z\r\n" * 64),
    "a header": endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z" * 4096),
    "100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 64),
    "100 Continue, dripping": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "102 Processing": endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 64),
    "a body": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b" " * 65536),
    "a body of no length": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    "chunks": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n%s\r\n" % (b" " * 4096)),
    "an error": endless(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n", b"<" * 65536),
    "nothing but a 100": endless(b"HTTP/1.1 100", b"", 0.02),
    "a dripping status line": endless(b"HTTP/1.1 200 ", b"O", 0.02),
    "a dripping header": endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z", 0.02),
    "a dripping body": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ", 0.02),
    "a dripping chunk": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", b" ", 0.02),
}
