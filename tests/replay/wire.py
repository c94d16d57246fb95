"""A Redis on a bad day: it stands between a client and a real server, over real sockets."""

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import BinaryIO

PASS = "pass"  # hand the command on, and the answer back
LOSE = "lose"  # hand the command on, and drop the connection instead of answering

# From the command's name, and how many of its kind came before, to what to do, or to the bytes to answer instead.
Plan = Callable[[str, int], str | bytes]


def info(**fields: object) -> bytes:
    """An answer to INFO: that of a server as it should be, but for `fields`."""
    healthy = {"redis_version": "7.0.15", "role": "master", "aof_enabled": 1, "maxmemory": 0}
    lines = [f"{name}:{value}\r\n" for name, value in (healthy | fields).items() if value is not None]
    text = "".join(["# Server\r\n", *lines]).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


class Middleman:
    """A running server in front of the one on the port `upstream`; `seen` counts the commands of each name."""

    def __init__(self, plan: Plan, upstream: int) -> None:
        self.seen: dict[str, int] = {}
        self.port = 0
        self._plan = plan
        self._upstream = upstream
        self._lock = Lock()

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def serve(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream)) as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            commands, answers = client.makefile("rb"), server.makefile("rb")
            with commands, answers:
                while command := _read(commands):
                    step = self._step(command)
                    if isinstance(step, bytes):
                        client.sendall(step)
                        continue
                    server.sendall(command)
                    answer = _read(answers)
                    if step == LOSE:
                        return
                    client.sendall(answer)

    def _step(self, command: bytes) -> str | bytes:
        name = command.split(b"\r\n")[2].decode()
        with self._lock:
            before = self.seen.get(name, 0)
            self.seen[name] = before + 1
        return self._plan(name, before)


def _read(file: BinaryIO) -> bytes:
    """One value of the protocol, as it came."""
    line = file.readline()
    if line[:1] not in (b"$", b"*") or line[1:2] == b"-":
        return line
    size = int(line[1:])
    return line + (file.read(size + 2) if line[:1] == b"$" else b"".join(_read(file) for _ in range(size)))


@contextmanager
def middleman(plan: Plan, upstream: int) -> Iterator[Middleman]:
    """Run a `Middleman` until the block ends."""
    server = Middleman(plan, upstream)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # one side is gone
                server.serve(self.request)

    class TcpServer(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with TcpServer(("127.0.0.1", 0), Handler) as tcp_server:
        thread = Thread(target=tcp_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.port = tcp_server.server_address[1]
        try:
            yield server
        finally:
            tcp_server.shutdown()
            thread.join(timeout=10)
