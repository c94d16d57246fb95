"""Serving: uvicorn, told to trust nothing it need not, and to end what is under way before it stops."""

import logging
import signal
import sys

import uvicorn

from gate.bot.app import create_app
from gate.bot.logs import configure
from gate.bot.promptness import IDLE_SECONDS, Prompt
from gate.bot.settings import Settings
from gate.bot.site import Site
from gate.bot.startup import troubles

_GRACE = 20  # seconds for answers under way when the server is told to stop
_MOST_CONNECTIONS = 1000
_LOG = logging.getLogger(__name__)


def serve(site: Site, settings: Settings, *, host: str, port: int) -> None:
    """Serve `site` at `host` and `port`, until SIGTERM or SIGINT.

    Of `X-Forwarded-For` only what a trusted proxy says is believed; of `X-Forwarded-Host` nothing.
    """
    configure()
    for trouble in troubles(site):
        _LOG.warning("not ready", extra={"error": trouble})
    # uvicorn ends what is under way, and then as the signal ends it: no block's end would be reached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(site),
        host=host,
        port=port,
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
