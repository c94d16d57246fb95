"""The bodies of requests: read whole, and bounded in bytes and time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import fail_after
from starlette.requests import Request

from gate.bot.errors import BotError, Unavailable

MAX_BODY = 64 * 1024  # bytes; a page's form or a job's question is a few KB
SECONDS = 20.0  # to send one in
_MOST_LARGE = 8  # that are larger, of those that may be, at once: anybody can begin to send one


class TooSlow(BotError):
    """The client keeps the service waiting."""


class TooLarge(BotError):
    """More was sent than anything here takes."""


class Bodies:
    """Reads them. One of more than MAX_BODY counts as one of few, from then on until it has been answered."""

    def __init__(self) -> None:
        self._large = 0

    @asynccontextmanager
    async def of(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """The body of `request`, of `most` bytes at most, for as long as it is answered.

        Raises:
            TooLarge, TooSlow, Unavailable: it is not to be had within the bounds.
        """
        body = bytearray()
        try:
            await self._read(request, most, body)
            yield bytes(body)
        finally:
            self._large -= len(body) > MAX_BODY

    async def _read(self, request: Request, most: int, body: bytearray) -> None:
        try:
            with fail_after(SECONDS):
                async for chunk in request.stream():
                    self._large += len(body) <= MAX_BODY < len(body) + len(chunk)
                    body += chunk
                    if len(body) > most:
                        raise TooLarge("The body is too large.", expected=f"at most {most} bytes")
                    if len(body) > MAX_BODY and self._large > _MOST_LARGE:
                        raise Unavailable("Too much is sent to the bot at once.", hint="Send it again.")
        except TimeoutError:
            raise TooSlow("The body did not come in time.", expected=f"within {SECONDS:.0f} s") from None
