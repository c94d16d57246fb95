"""HTTP, for handlers that know nothing of it: bounded bodies, who is there, errors as pages, the same headers."""

import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from anyio import CapacityLimiter, fail_after, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gate.bot.errors import BotError, NotAllowed, NotProved, TooMany, Unavailable
from gate.bot.limits import block
from gate.bot.logs import REQUEST_ID
from gate.bot.metrics import SECONDS
from gate.bot.sessions import Visitor
from gate.errors import GateError

MAX_BODY = 64 * 1024  # bytes; a page's form or a job's question is a few KB
_BODY_SECONDS = 20.0  # to send it in
_MOST_LARGE = 8  # that are larger, of those that may be, at once: anybody can begin to send one
_LOG = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers would send no Origin that could be checked
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), "
    "geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Call:
    """One HTTP request, read whole. `visitor` is who has signed in, None for everybody else."""

    request: Request
    body: bytes
    cookie: str
    visitor: Visitor | None
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

    def person(self) -> Visitor:
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


Handler = Callable[[Call], Response]
ErrorPage = Callable[[Request, GateError, int], Response]


class Endpoint:
    """Makes ASGI endpoints of handlers: each runs in a thread, and whatever it raises becomes an answer.

    Those that wait for others, such as a provider that may take its time, share few `threads` of their own: people and
    jobs must not wait behind them.
    """

    def __init__(self, cookie_name: str, visitor: Callable[[str], Visitor | None], error_page: ErrorPage) -> None:
        self._cookie_name = cookie_name
        self._visitor = visitor
        self._error_page = error_page
        self._large = 0  # bodies that are being read

    def __call__(
        self, handler: Handler, max_body: int = MAX_BODY, threads: CapacityLimiter | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a handler that takes `max_body` bytes, in one of `threads`, or of those for all."""

        async def endpoint(request: Request) -> Response:
            try:
                async with self._body(request, max_body) as body:
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

    @asynccontextmanager
    async def _body(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """The body; a large one counts as one of few until it has been answered."""
        body, is_large = bytearray(), False
        try:
            try:
                with fail_after(_BODY_SECONDS):
                    async for chunk in request.stream():
                        body += chunk
                        if len(body) > most:
                            raise TooLarge("The body is too large.", expected=f"at most {most} bytes")
                        if len(body) > MAX_BODY and not is_large:
                            if self._large >= _MOST_LARGE:
                                raise Unavailable("Too much is sent to the bot at once.", hint="Send it again.")
                            is_large, self._large = True, self._large + 1
            except TimeoutError:
                raise TooSlow("The body did not come in time.", expected=f"within {_BODY_SECONDS:.0f} s") from None
            yield bytes(body)
        finally:
            self._large -= is_large

    def _answer(self, handler: Handler, request: Request, body: bytes) -> Response:
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
    return error.status if isinstance(error, BotError) else 500


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


class TooSlow(BotError):
    """Whoever asks keeps the bot waiting."""

    status = 408


class TooLarge(BotError):
    """More was sent than anything here takes."""

    status = 413


def _form(request: Request, body: bytes) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        return _once(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=50))
    except ValueError:
        raise BotError("The form can't be read.", hint="Go back, reload the page and try again.") from None


class Shell:
    """What is around every answer: a request id, the host check, security headers, the log line and the metric."""

    def __init__(self, app: ASGIApp, *, url: str) -> None:
        self._app = app
        parts = urlsplit(url)
        self._hosts = {parts.netloc} | ({f"localhost:{parts.port}"} if parts.hostname == "127.0.0.1" else set())
        self._headers = _HEADERS | (
            {"Strict-Transport-Security": "max-age=63072000"} if parts.scheme == "https" else {}
        )
        self._origin = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, start = secrets.token_hex(8), time.perf_counter()
        token, status = REQUEST_ID.set(request_id), 500

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Request-Id"] = request_id
                if status >= 400:  # perhaps before the body was read, which may never come
                    headers["Connection"] = "close"
            await send(message)

        try:
            refusal = self._refusal(Request(scope))
            await (refusal or self._app)(scope, receive, dressed)
        finally:
            route, seconds = _route(scope), time.perf_counter() - start
            method = scope["method"] if scope["method"] in _METHODS else "other"
            SECONDS.labels(method, route, str(status)).observe(seconds)
            told = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            if route not in _QUIET:
                _LOG.info("answered", extra=told)
            REQUEST_ID.reset(token)

    def _refusal(self, request: Request) -> Response | None:
        """What is not even looked at: a flood of headers, another host's request, or a form of another site's page."""
        headers = request.scope["headers"]
        if len(headers) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > _MOST_HEAD:
            return json_error(BotError("There is more in the head than anybody has to say."), 431)
        if request.headers.get("host", "") not in self._hosts and not _is_probe(request):
            return json_error(BotError("This bot is not at that host."), 421)
        if request.method in ("GET", "HEAD"):
            return None
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin not in (None, self._origin) or site not in (None, "same-origin"):
            return json_error(NotAllowed("This was sent by another site's page."), 403)
        return None


_MOST_HEADERS, _MOST_HEAD = 100, 32 * 1024  # how many, and bytes of them
_PROBES = ("/healthz", "/readyz", "/metrics")
_METHODS = ("GET", "HEAD", "POST")
_QUIET = {*_PROBES, "/static/{path:path}"}


def _is_probe(request: Request) -> bool:
    """A load balancer asks by address."""
    return request.scope["path"] in _PROBES  # request.url would be made of the Host header, too


def _route(scope: Scope) -> str:
    """The pattern that was matched: paths themselves would make a metric of each."""
    return str(getattr(scope.get("route"), "path", "")) or "none"
