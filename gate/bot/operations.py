"""What machines ask of a running bot: is it alive, is it ready, how is it doing."""

import logging
import time
from collections.abc import Callable
from threading import Lock

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gate.bot.errors import NotFound
from gate.bot.metrics import exposition
from gate.bot.site import Site
from gate.bot.views import assets
from gate.bot.web import Call
from gate.errors import GateError

_MOMENT = 2.0  # seconds
_LOG = logging.getLogger(__name__)


async def healthz(_: Request) -> Response:
    """`GET /healthz`: the process answers, although every thread may wait for a store. Whoever asks may restart it if
    it does not."""
    return PlainTextResponse("ok\n")


class Operations:
    """The handlers of a site for machines."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ready: dict[str, bool] = {}
        self._looked = float("-inf")
        self._looking = Lock()

    def readyz(self, call: Call) -> Response:  # noqa: ARG002 (every handler's signature)
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
        parts = {
            "policy": self._policy,
            "state": self._state,
            "signer": self._site.check_signer,
            "records": self._site.logbook.check,
        }
        self._ready = {name: _is_ready(name, check) for name, check in parts.items()}
        self._looked = time.monotonic()

    def metrics(self, call: Call) -> Response:  # noqa: ARG002
        """`GET /metrics`, for Prometheus."""
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def static(self, call: Call) -> Response:
        """`GET /static/{path}`: kept for ever by browsers, as its address changes when it does."""
        asset = assets().get(call.path["path"])
        if asset is None:
            raise NotFound("There is no such file.")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.data, media_type=asset.media_type, headers=headers)

    def nowhere(self, call: Call) -> Response:  # noqa: ARG002
        """Every other path."""
        raise NotFound("There is no such page.", hint="Is the link whole?")

    def _policy(self) -> None:
        self._site.policy.current()

    def _state(self) -> None:
        """It can be written, not only read."""
        state, now = self._site.state, int(self._site.clock())
        before = state.get("readiness", "readiness", now)
        state.put("readiness", "readiness", {}, expires_at=now + 60, expected=before.version if before else 0, now=now)


def _is_ready(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is not ready)
        _LOG.warning(
            "not ready", extra={"part": name, "error": str(error) if isinstance(error, GateError) else "a bug"}
        )
        return False
    return True
