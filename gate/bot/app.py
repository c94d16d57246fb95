"""The ASGI application: which handler answers what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import ASGIApp

from gate.bot.api import JobsApi
from gate.bot.bodies import MAX_BODY
from gate.bot.connections import Fair
from gate.bot.devpages import DevPages
from gate.bot.historypages import HistoryPages
from gate.bot.operations import Operations, healthz
from gate.bot.pages import Pages
from gate.bot.sessions import Visitor
from gate.bot.shell import Shell
from gate.bot.signinpages import SignInPages
from gate.bot.site import Site
from gate.bot.views import assets
from gate.bot.web import Endpoint, Handler
from gate.bot.webhook import MAX_BODY as MAX_WEBHOOK
from gate.bot.webhooks import Webhooks

_ASKING, _SIGNING_IN = 16, 8  # threads that may wait for others
_LOOKING = 2  # threads of the probe's own, which must not wait behind people


def create_app(site: Site) -> ASGIApp:
    """The application of a site."""
    endpoint = Endpoint(site.cookie_name, site.sessions.of, site.error_page)
    parts = {
        "policy": site.policy.current,
        "state": site.check_state,
        "signer": site.check_signer,
        "records": site.logbook.check,
    }
    operations = Operations(parts, assets())
    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", endpoint(operations.readyz, threads=CapacityLimiter(_LOOKING)), methods=["GET"]),
        Route("/metrics", endpoint(operations.metrics), methods=["GET"]),
        Route("/static/{path:path}", endpoint(operations.static), methods=["GET"]),
        *_waiting(site, endpoint),
        *(Route(path, endpoint(handler), methods=[method]) for method, path, handler in _handlers(site)),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.herald.start()
        yield
        await run_in_threadpool(site.herald.stop)

    nowhere = Route("/{path:path}", endpoint(operations.nowhere), methods=["GET", "POST"])
    return Shell(Fair(Starlette(routes=[*routes, nowhere], lifespan=lifespan)), url=site.url)


def _waiting(site: Site, endpoint: Endpoint[Visitor]) -> list[Route]:
    """Where others are asked: the CIs' issuers and GitHub, or whoever people sign in with."""
    sign_in, asking, signing_in = SignInPages(site), CapacityLimiter(_ASKING), CapacityLimiter(_SIGNING_IN)
    max_webhook = MAX_WEBHOOK if site.webhook_secret else MAX_BODY
    return [
        Route("/webhooks/github", endpoint(Webhooks(site).github, max_webhook, asking), methods=["POST"]),
        Route("/api/requests", endpoint(JobsApi(site).ask, threads=asking), methods=["POST"]),
        Route("/requests/{id}/look-up", endpoint(Pages(site).look_up, threads=asking), methods=["POST"]),
        Route("/sign-in/{number}", endpoint(sign_in.start, threads=signing_in), methods=["GET"]),
        Route("/sign-in/{number}/callback", endpoint(sign_in.callback, threads=signing_in), methods=["GET"]),
    ]


def _handlers(site: Site) -> list[tuple[str, str, Handler[Visitor]]]:
    """Whatever asks nobody but the policy, the stores and the signer."""
    pages, sign_in, jobs = Pages(site), SignInPages(site), JobsApi(site)
    handlers: list[tuple[str, str, Handler[Visitor]]] = [
        ("GET", "/", pages.home),
        ("GET", "/requests/{id}", pages.request),
        ("POST", "/requests/{id}/challenge", pages.challenge),
        ("POST", "/requests/{id}/approve", pages.approve),
        ("POST", "/requests/{id}/decline", pages.decline),
        ("GET", "/passkeys", pages.passkeys),
        ("POST", "/passkeys", pages.enrol),
        ("POST", "/passkeys/options", pages.enrolment_options),
        ("GET", "/history", HistoryPages(site).history),
        ("GET", "/sign-in", sign_in.page),
        ("POST", "/sign-out", sign_in.sign_out),
        ("GET", "/api/requests/{id}", jobs.poll),
    ]
    if site.dev is not None:
        trial = DevPages(site, site.dev)
        handlers += [("POST", "/dev/sign-in", trial.sign_in), ("POST", "/dev/merge", trial.merge)]
    return handlers
