"""HTTP/1.1 for clients that get on with it: whoever sends a byte a minute, or reads one, would hold a connection."""

import asyncio
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 15.0  # to send the first request's head, or what is left of one that is answered already
IDLE_SECONDS = 75.0  # for the next one: load balancers keep connections for 60, and must be the ones that close them
READ_SECONDS = 30.0  # to take what was written


class Prompt(H11Protocol):
    """uvicorn's protocol, which waits no longer than that for either. A body that comes after its answer is no head:
    its bytes win no time. (A body that the answer waits for is bounded where it is read, in gate.bot.bodies.)
    `patience` is in seconds, and shortens both waits.
    """

    patience = IDLE_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._head = _Timer(self.loop, transport.close)
        self._taking = _Timer(self.loop, transport.abort)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of whatever is not yet taken
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # uvicorn would refuse what it has answered already
            self.transport.close()
        self._await_head()

    def on_response_complete(self) -> None:
        """See `H11Protocol`, which may begin the next request here, if that was sent before the answer."""
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().pause_writing()
        self._taking.start(READ_SECONDS)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._taking.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._head.stop()
        self._taking.stop()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        """Wait for one, unless a request is under way."""
        if self.cycle is None or self.cycle.response_complete:
            wait = IDLE_SECONDS if self.cycle and self.conn.their_state is h11.IDLE else SECONDS
            self._head.start(min(wait, self.patience))
        else:
            self._head.stop()


class _Timer:
    """Does `act` after so many seconds, unless it is stopped before. To start one that runs changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop, self._act = loop, act
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        if self._handle is None:
            self._handle = self._loop.call_later(seconds, self._act)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
