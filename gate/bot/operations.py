"""What machines ask of a running bot: is it alive, is it ready, how is it doing."""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gate.bot.errors import NotFound
from gate.bot.metrics import exposition
from gate.bot.web import Call
from gate.errors import GateError

_MOMENT = 2.0  # seconds
_LOG = logging.getLogger(__name__)


class Asset(NamedTuple):
    """A static file: `version` changes when its bytes do."""

    data: bytes
    media_type: str
    version: str


async def healthz(_: Request) -> Response:
    """`GET /healthz`: the process answers, although every thread may wait for a store. Whoever asks may restart it if
    it does not."""
    return PlainTextResponse("ok\n")


class Operations:
    """The handlers of a service for machines: ready if no check of `parts` raises. `assets` are its static files."""

    def __init__(self, parts: Mapping[str, Callable[[], object]], assets: Mapping[str, Asset]) -> None:
        self._parts = parts
        self._assets = assets
        self._ready: dict[str, bool] = {}
        self._looked = float("-inf")
        self._looking = Lock()

    def readyz(self, call: Call[Any]) -> Response:  # noqa: ARG002 (every handler's signature)
        """`GET /readyz`: it could do its work just now. Says which part is not ready, and nothing more. Looks again
        after a moment only: anybody may ask, and every part is a question to somebody else."""
        if self._looking.acquire(blocking=not self._ready):  # while somebody looks, the others get what was there
            try:
                self._look()
            finally:
                self._looking.release()
        ready = self._ready
        return JSONResponse({"ready": all(ready.values()), **ready}, 200 if all(ready.values()) else 503)

    def _look(self) -> None:
        if time.monotonic() - self._looked < _MOMENT:
            return
        self._ready = {name: _is_ready(name, check) for name, check in self._parts.items()}
        self._looked = time.monotonic()

    def metrics(self, call: Call[Any]) -> Response:  # noqa: ARG002
        """`GET /metrics`, for Prometheus."""
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def static(self, call: Call[Any]) -> Response:
        """`GET /static/{path}`: kept for ever by browsers, as its address changes when it does."""
        asset = self._assets.get(call.path["path"])
        if asset is None:
            raise NotFound("There is no such file.")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.data, media_type=asset.media_type, headers=headers)

    def nowhere(self, call: Call[Any]) -> Response:  # noqa: ARG002
        """Every other path."""
        raise NotFound("There is no such page.", hint="Is the link whole?")


def _is_ready(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is not ready)
        _LOG.warning(
            "not ready", extra={"part": name, "error": str(error) if isinstance(error, GateError) else "a bug"}
        )
        return False
    return True
