"""HTTP that costs little, so that a bench on one core measures the server on the other one."""

import socket
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

_PATIENCE = 120.0  # seconds for an answer


class Answer(NamedTuple):
    """What the bot answered."""

    status: int
    body: bytes


class Wire:
    """One connection to the bot that is kept alive, from `address`: the bot's bounds are by address, and by person."""

    def __init__(self, port: int, address: str) -> None:
        self._port = port
        self._address = address
        self._socket: socket.socket | None = None

    def get(self, path: str, **headers: str) -> Answer:
        """GET `path`."""
        return self._call("GET", path, headers, b"")

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Answer:
        """POST `form` to `path`, as the bot's own page does."""
        own = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://localhost:{self._port}"}
        return self._call("POST", path, own | headers, urlencode(form).encode())

    def close(self) -> None:
        """Hang up; the next call connects again."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._socket is None:
            source = (self._address, 0) if sys.platform == "linux" else None  # elsewhere 127.0.0.1 is all there is
            self._socket = socket.create_connection(("127.0.0.1", self._port), _PATIENCE, source)
        told = {"Host": f"localhost:{self._port}", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
        self._socket.sendall("\r\n".join(lines).encode() + body)
        head, _, start = self._until(b"", lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return Answer(int(head.split(b" ", 2)[1]), self._until(start, lambda data: len(data) >= length))

    def _until(self, data: bytes, enough: Callable[[bytes], bool]) -> bytes:
        while self._socket and not enough(data):
            more = self._socket.recv(1 << 16)
            if not more:
                raise EOFError("the bot hung up")
            data += more
        return data
