"""One connection to a Redis server, which has proved its name, and has said how it keeps what it is told."""

import ssl
from importlib import import_module
from typing import Any

from gate.deadline import within
from gate.errors import UsageError
from gate.installation import install_command
from gate.replay.redishealth import confirms_disk, lag, parse_info
from gate.replay.redisplace import Place

try:
    _library: Any = import_module("redis.connection")
    _errors: Any = import_module("redis.exceptions")
except ImportError:
    raise UsageError("redis: and rediss: need the redis library.", hint=install_command("redis")) from None

CONNECT_SECONDS = 3.0  # per address of the host
ANSWER_SECONDS = 5.0  # between two bytes
WHOLE_SECONDS = 10.0  # to connect, or for an answer to its end
_MOST_BYTES = 16 << 20  # of what answers a request; the longest has a thousand rows
_WAITAOF = ("WAITAOF", 1, 0, 3000)  # the disk of this server and of no replica, within less time than an answer has


class Unsynced(Exception):
    """The server has taken a write, but did not get it onto its disk in time."""


class Untrusted(Exception):
    """The server could not prove its name."""


class Link:
    """A connection to the server of `place` that stands at `address`; `info` is what that says of itself, and `lag` why
    uses that it takes may not be on its disk when they count, None where they are.

    Raises:
        ReplayUnavailable: a file that `place` names is of no use.
        Exception: whatever the library raises.
    """

    def __init__(self, place: Place, address: tuple[str, int]) -> None:
        self._wire = _Wire(
            *address,
            db=place.db,
            username=place.user or None,
            password=place.password(),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            protocol=2,
        )
        self._wire.tls = place.tls_context()
        try:
            within(WHOLE_SECONDS, self._wire.connect)
            self.info = parse_info(self.ask("INFO"))
            self.lag = lag(self.info, "" if confirms_disk(self.info) else self._appendfsync())
        except BaseException:
            self.close()
            raise

    def ask(self, *command: str | int | bytes) -> Any:
        """The answer to one command. After an error the connection must be closed."""
        return self._ask(command)[0]

    def write(self, *command: str | int | bytes) -> Any:
        """The answer to a command whose effect is on the server's disk by now, if the server can tell that.

        Raises:
            Unsynced: it is not.
        """
        if not confirms_disk(self.info):
            return self.ask(*command)
        answer, synced = self._ask(command, _WAITAOF)
        if synced[0] < 1:
            raise Unsynced
        return answer

    def _appendfsync(self) -> str:
        """When the server brings a write to its disk, "" where it does not tell: managed services answer no CONFIG."""
        try:
            name, value = self.ask("CONFIG", "GET", "appendfsync")
        except (_errors.ResponseError, TypeError, ValueError):
            return ""
        return str(value, "ascii", "replace") if name == b"appendfsync" else ""

    def close(self) -> None:
        """Close it; nothing more can be asked."""
        self._wire.disconnect()

    def _ask(self, *commands: tuple[str | int | bytes, ...]) -> list[Any]:
        def ask() -> list[Any]:
            self._wire.send_packed_command(self._wire.pack_commands(commands))
            return [self._wire.read_response() for _ in commands]

        return within(WHOLE_SECONDS, ask)


class _Wire(_library.Connection):  # type: ignore[misc]  # what may not be installed has no type
    """Over TLS it believes the CAs of `tls` only; the library's own would add the system's to a CA that was named."""

    tls: ssl.SSLContext | None = None

    def _connect(self) -> Any:
        sock = super()._connect()
        if self.tls is None:
            return _Bounded(sock)
        try:
            return _Bounded(self.tls.wrap_socket(sock, server_hostname=self.host))
        except ssl.SSLCertVerificationError:
            sock.close()
            raise Untrusted from None
        except OSError:
            sock.close()
            raise


class _Bounded:
    """A socket that hands out a bounded answer to each request: the library would keep one without end in memory."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._left = _MOST_BYTES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        """A request, or a part of one."""
        self._left = _MOST_BYTES
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        """For the library's own parser."""
        data: bytes = self._sock.recv(size)
        self._count(len(data))
        return data

    def recv_into(self, buffer: bytearray) -> int:
        """For hiredis, where that is installed."""
        size: int = self._sock.recv_into(buffer)
        self._count(size)
        return size

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ConnectionError("an answer without end")
