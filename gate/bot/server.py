"""Serving: uvicorn, told to trust nothing it need not, and to end what is under way before it stops."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gate.bot.connections import Connections, bounded
from gate.bot.promptness import IDLE_SECONDS
from gate.errors import GateError, UsageError
from gate.text import printable

_GRACE = 20  # seconds for answers under way when the server is told to stop
_BACKLOG = 2048
_LOG = logging.getLogger(__name__)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen there, one for each address that the host has; nobody is answered before `serve`.

    Raises:
        UsageError: it can't.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [_listening(family, place) for family, _, _, _, place in found]
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        raise UsageError(
            f"The bot can't listen at port {port} of {printable(host, 60)}.",
            actual=os.strerror(number) if number > 0 else "no such address",
            hint="Does another one run there? --host and --port choose another place.",
        ) from None


def _listening(family: int, place: tuple[Any, ...]) -> socket.socket:
    # Not `create_server`: asyncio sends small answers at once only where the socket says by number that it is TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def serve(app: ASGIApp, url: str, trusted_proxies: Sequence[str], listening: list[socket.socket]) -> None:
    """Serve `app`, which is called `url`, where `listening` listen, until SIGTERM, SIGINT or SIGHUP.

    Of `X-Forwarded-For` only what a trusted proxy says is believed; of `X-Forwarded-Host` nothing.

    Raises:
        GateError: it could not begin.
    """
    # uvicorn ends what is under way, and then as the signal ends it: no block's end would be reached.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        app,
        http=bounded(Connections(trusted_proxies)),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=int(IDLE_SECONDS),
        h11_max_incomplete_event_size=32 * 1024,
        ws="none",
        lifespan="on",
    )
    _LOG.info("serving %s, listening at %s", url, ", ".join(map(_place, listening)))
    server = uvicorn.Server(config)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # a terminal that closes; nohup has it ignored
        signal.signal(signal.SIGHUP, server.handle_exit)
    with suppress(KeyboardInterrupt):
        server.run(sockets=listening)
    if not server.started:
        raise GateError("The server could not begin.", hint="Its log says why.")


def _place(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
