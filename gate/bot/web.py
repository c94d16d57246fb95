"""HTTP, for handlers that know nothing of it: the whole request, who is there, errors as pages."""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from gate.bot.bodies import MAX_BODY, Bodies, TooLarge, TooSlow
from gate.bot.errors import BotError, Conflict, NotAllowed, NotFound, NotProved, TooMany, Unavailable
from gate.bot.limits import block
from gate.errors import GateError

V = TypeVar("V")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call(Generic[V]):
    """One HTTP request, read whole. `visitor` is who has signed in, as the service knows them; None if nobody has."""

    request: Request
    body: bytes
    cookie: str
    visitor: V | None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Mapping[str, str]:
        """The parts of the path that the route names."""
        return self.request.path_params

    @property
    def query(self) -> Mapping[str, str]:
        """The query's options; of one that is given twice the last."""
        return self.request.query_params

    @property
    def address(self) -> str:
        """Where it comes from, as far as limits tell addresses apart."""
        return block(self.request.client.host) if self.request.client else "unknown"

    def person(self) -> V:
        """Who has signed in.

        Raises:
            NotProved: nobody has.
        """
        if self.visitor is None:
            raise NotProved("You are not signed in, or were for too long.", hint="Sign in, and try again.")
        return self.visitor

    def skip(self) -> int:
        """How much was on the pages before, in a list that has several.

        Raises:
            BotError: that is no number.
        """
        text = self.query.get("skip", "0")
        if not re.fullmatch("[0-9]{1,6}", text):
            raise BotError("There is no such page.", hint="Begin with the first one.")
        return int(text)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            BotError: it is none.
        """
        try:
            value = json.loads(self.body, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise BotError("The body is not a JSON object.", hint="docs/bot.md describes what is expected.")
        return value


def _once(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What stands there once: of a name that stands there twice, two readers could read two values."""
    listed = list(members)
    if len(dict(listed)) != len(listed):
        raise ValueError
    return dict(listed)


_STATUS: dict[type[GateError], int] = {
    NotProved: 401,
    NotAllowed: 403,
    NotFound: 404,
    TooSlow: 408,
    Conflict: 409,
    TooLarge: 413,
    TooMany: 429,
    Unavailable: 503,
    BotError: 400,
}
Handler = Callable[[Call[V]], Response]
ErrorPage = Callable[[Request, GateError, int], Response]


class Endpoint(Generic[V]):
    """Makes ASGI endpoints of handlers: each runs in a thread, and whatever it raises becomes an answer.

    Those that wait for others, such as a provider that may take its time, share few `threads` of their own: people and
    jobs must not wait behind them.
    """

    def __init__(self, cookie_name: str, visitor: Callable[[str], V | None], error_page: ErrorPage) -> None:
        self._cookie_name = cookie_name
        self._visitor = visitor
        self._error_page = error_page
        self._bodies = Bodies()

    def __call__(
        self, handler: Handler[V], max_body: int = MAX_BODY, threads: CapacityLimiter | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a handler that takes `max_body` bytes, in one of `threads`, or of those for all."""

        async def endpoint(request: Request) -> Response:
            try:
                async with self._bodies.of(request, max_body) as body:
                    return await to_thread.run_sync(self._answer, handler, request, body, limiter=threads)
            except ClientDisconnect:
                return Response(status_code=400)  # which nobody reads
            except GateError as error:
                if status_of(error) >= 500:
                    _LOG.warning("not answered", extra={"error": error.message})
                return await run_in_threadpool(self._error_page, request, error, status_of(error))
            except Exception as error:  # noqa: BLE001 (a bug is an answer too, and tells nothing)
                _LOG.error("a bug: %s", type(error).__name__, exc_info=True)
                bug = GateError("The bot met a bug of its own, so nothing was done.", hint="Please report it.")
                return self._error_page(request, bug, 500)

        return endpoint

    def _answer(self, handler: Handler[V], request: Request, body: bytes) -> Response:
        cookie = cookie_of(request, self._cookie_name)
        return handler(Call(request, body, cookie, self._visitor(cookie), _form(request, body)))


def cookie_of(request: Request, name: str) -> str:
    """The cookie of exactly that name, "" where there is none or more than one. Readers that strip more than spaces
    from names take one for it that a neighbouring host may set."""
    pairs = (pair.strip(" ").partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";"))
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 else ""


def status_of(error: GateError) -> int:
    """The HTTP status that tells an error."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def json_error(error: GateError, status: int) -> Response:
    """An error, for a program."""
    told = {"reason": error.reason, "message": error.message, "hint": error.hint}
    body = {"error": {**told, "expected": error.expected, "actual": error.actual}}
    return JSONResponse(body, status, headers=retry_header(error))


def retry_header(error: GateError) -> dict[str, str]:
    """When to try again, where that may help."""
    if isinstance(error, TooMany):
        return {"Retry-After": str(error.after)}
    return {"Retry-After": "10"} if status_of(error) == 503 else {}


def _form(request: Request, body: bytes) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        return _once(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=50))
    except ValueError:
        raise BotError("The form can't be read.", hint="Go back, reload the page and try again.") from None
