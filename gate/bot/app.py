"""The ASGI application: which handler answers what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import ASGIApp

from gate.bot.api import JobsApi
from gate.bot.devpages import DevPages
from gate.bot.historypages import HistoryPages
from gate.bot.operations import Operations, healthz
from gate.bot.pages import Pages
from gate.bot.signinpages import SignInPages
from gate.bot.site import Site
from gate.bot.web import Endpoint, Handler, Shell
from gate.bot.webhook import MAX_BODY as MAX_WEBHOOK
from gate.bot.webhooks import Webhooks


def create_app(site: Site) -> ASGIApp:
    """The application of a site."""
    endpoint = Endpoint(site.cookie_name, site.sessions.of, site.error_page)
    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/webhooks/github", endpoint(Webhooks(site).github, MAX_WEBHOOK), methods=["POST"]),
        *(Route(path, endpoint(handler), methods=[method]) for method, path, handler in _handlers(site)),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.herald.start()
        yield
        await run_in_threadpool(site.herald.stop)

    nowhere = Route("/{path:path}", endpoint(Operations(site).nowhere), methods=["GET", "POST"])
    return Shell(Starlette(routes=[*routes, nowhere], lifespan=lifespan), url=site.url)


def _handlers(site: Site) -> list[tuple[str, str, Handler]]:
    pages, sign_in, jobs, operations = Pages(site), SignInPages(site), JobsApi(site), Operations(site)
    handlers: list[tuple[str, str, Handler]] = [
        ("GET", "/", pages.home),
        ("GET", "/requests/{id}", pages.request),
        ("POST", "/requests/{id}/challenge", pages.challenge),
        ("POST", "/requests/{id}/approve", pages.approve),
        ("POST", "/requests/{id}/decline", pages.decline),
        ("POST", "/requests/{id}/look-up", pages.look_up),
        ("GET", "/passkeys", pages.passkeys),
        ("POST", "/passkeys", pages.enrol),
        ("POST", "/passkeys/options", pages.enrolment_options),
        ("GET", "/history", HistoryPages(site).history),
        ("GET", "/sign-in", sign_in.page),
        ("GET", "/sign-in/{number}", sign_in.start),
        ("GET", "/sign-in/{number}/callback", sign_in.callback),
        ("POST", "/sign-out", sign_in.sign_out),
        ("POST", "/api/requests", jobs.ask),
        ("GET", "/api/requests/{id}", jobs.poll),
        ("GET", "/readyz", operations.readyz),
        ("GET", "/metrics", operations.metrics),
        ("GET", "/static/{path:path}", operations.static),
    ]
    if site.dev is not None:
        trial = DevPages(site, site.dev)
        handlers += [("POST", "/dev/sign-in", trial.sign_in), ("POST", "/dev/merge", trial.merge)]
    return handlers
