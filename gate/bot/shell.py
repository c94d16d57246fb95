"""What is around every answer of the bot: a request id, the host check, security headers, the log line, the metric."""

import logging
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gate.bot.errors import BotError, NotAllowed
from gate.bot.logs import REQUEST_ID
from gate.bot.metrics import SECONDS
from gate.bot.web import json_error

_MOST_HEADERS, _MOST_HEAD = 100, 32 * 1024  # how many, and bytes of them
_PROBES = ("/healthz", "/readyz", "/metrics")
_METHODS = ("GET", "HEAD", "POST")
_QUIET = {*_PROBES, "/static/{path:path}"}
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


class Shell:
    """`app` and what is around it; `url` is the only origin that it has."""

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
            hint = f"It is at {self._origin}: use that. What stands before it has to pass on the header Host."
            return json_error(BotError("This bot is not at that host.", hint=hint), 421)
        if request.method in ("GET", "HEAD"):
            return None
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin not in (None, self._origin) or site not in (None, "same-origin"):
            return json_error(NotAllowed("This was sent by another site's page."), 403)
        return None


def _is_probe(request: Request) -> bool:
    """A load balancer asks by address."""
    return request.scope["path"] in _PROBES  # request.url would be made of the Host header, too


def _route(scope: Scope) -> str:
    """The pattern that was matched: paths themselves would make a metric of each."""
    return str(getattr(scope.get("route"), "path", "")) or "none"
