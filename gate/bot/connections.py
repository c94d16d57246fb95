"""How many may be connected, and ask, at once: bounded in all and by address, so that one of them keeps nobody out, and
with some kept for the probes."""

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gate.bot.errors import TooMany, Unavailable
from gate.bot.limits import block
from gate.bot.promptness import Prompt
from gate.bot.web import json_error, status_of

MOST, OF_ONE_ADDRESS = 900, 100  # connections: beside the bot's own files within the 1,024 that a process usually has
FOR_PROBES = 50  # more, which get nothing but the probes
_PROBES = ("/healthz", "/readyz")
_PROBE_SECONDS = 2.0  # to send such a head: there is no second one
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"

Admission = Literal["all", "probes", "nothing"]


class Connections:
    """Counts those that are open. A trusted proxy has as many as there are, since it brings the connections of all."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(network) for network in trusted_proxies]
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> Admission:
        """Count one more from there, and say what it may ask for. One that may ask for nothing is not counted."""
        address, count = block(host), self._open.total()
        crowded = self._open[address] >= OF_ONE_ADDRESS and not self._is_trusted(host)
        if crowded or count >= MOST + FOR_PROBES:
            return "nothing"
        self._open[address] += 1
        return "all" if count < MOST else "probes"

    def leave(self, host: str) -> None:
        """One that was counted is closed."""
        address = block(host)
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]  # there are more addresses than memory

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def bounded(connections: Connections) -> type[Prompt]:
    """uvicorn's protocol, for as many as `connections` admits."""

    class Bounded(Prompt):
        def connection_made(self, transport: Any) -> None:
            """See `asyncio.Protocol`."""
            self._host = str((transport.get_extra_info("peername") or ("unknown",))[0])
            self._admission = connections.enter(self._host)
            if self._admission == "probes":
                self.app, self.patience = ProbesOnly(self.app), _PROBE_SECONDS
            super().connection_made(transport)
            if self._admission == "nothing":
                transport.write(_FULL)
                transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            """See `asyncio.Protocol`."""
            if self._admission != "nothing":
                connections.leave(self._host)
            super().connection_lost(exc)

    return Bounded


class ProbesOnly:
    """`app`, as far as load balancers ask whether it lives, once a connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        full = json_error(Unavailable("Too many are connected to the bot.", hint="Try again in a moment."), 503)
        await (self._app if scope["path"] in _PROBES else full)(scope, receive, last)


class Fair:
    """`app`, for at most so many requests under way of one address, however many a trusted proxy passes on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        address = block(str((scope.get("client") or ("unknown",))[0]))
        if self._under_way[address] >= OF_ONE_ADDRESS:
            error = TooMany("Too many requests from there are under way.", hint="Try again in a moment.", after=2)
            await json_error(error, status_of(error))(scope, receive, send)
            return
        self._under_way[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]
