"""Serving: uvicorn, told to trust nothing it need not, and to end what is under way before it stops."""

import logging
import os
import signal
import socket
import sys

import uvicorn

from gate.bot.app import create_app
from gate.bot.logs import configure
from gate.bot.promptness import IDLE_SECONDS, Prompt
from gate.bot.settings import Settings
from gate.bot.site import Site
from gate.bot.startup import troubles
from gate.errors import GateError, UsageError
from gate.text import printable

_GRACE = 20  # seconds for answers under way when the server is told to stop
_MOST_CONNECTIONS = 1000
_LOG = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; nobody is answered before `serve`.

    Raises:
        UsageError: it can't.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"The bot can't listen at port {port} of {printable(host, 60)}.",
            actual=os.strerror(error.errno) if error.errno and error.errno > 0 else "no such address",
            hint="Does another one run there? --host and --port choose another place.",
        ) from None


def serve(site: Site, settings: Settings, listening: socket.socket) -> None:
    """Serve `site` where `listening` listens, until SIGTERM or SIGINT.

    Of `X-Forwarded-For` only what a trusted proxy says is believed; of `X-Forwarded-Host` nothing.
    """
    configure()
    for trouble in troubles(site):
        _LOG.warning("not ready", extra={"error": trouble})
    # uvicorn ends what is under way, and then as the signal ends it: no block's end would be reached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(site),
        http=Prompt,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=int(IDLE_SECONDS),
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=32 * 1024,
        ws="none",
        lifespan="on",
    )
    _LOG.info("serving %s", site.url)
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    if not server.started:
        raise GateError("The bot could not begin.", hint="Its log says why.")
