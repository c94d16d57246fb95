"""TLS before a real server that speaks none, with the certificate of a private authority."""

import socket
import socketserver
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from tests.replay.certificates import make


class Front:
    """`localhost:port`, which only who believes `ca` believes; `tries` are the connections so far. `other` is the file
    of an authority that issued nothing here."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other = folder / "ca.pem", folder / "other.pem"
        self.port = 0
        self.tries = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@contextmanager
def over_tls(upstream: int, folder: Path) -> Iterator[Front]:
    """TLS before the server on the loopback port `upstream`, until the block ends."""
    make(folder, "localhost")
    front = Front(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            front.tries += 1
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(("127.0.0.1", upstream)) as server,
            ):
                Thread(target=_copy, args=(client, server), daemon=True).start()
                _copy(server, client)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        front.port = int(server.server_address[1])
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield front
        finally:
            server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
