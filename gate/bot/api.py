"""What jobs speak: ask for approval, come back for the answer (docs/bot.md, "Jobs' API")."""

from typing import Any

from starlette.responses import JSONResponse, Response

from gate.bot.asked import resolve
from gate.bot.errors import NotProved
from gate.bot.metrics import ASKED
from gate.bot.presence import LONGEST_POLL
from gate.bot.register import Standing
from gate.bot.site import BotCall, Site

_SOON = 3  # seconds between two looks of one job, until it has waited for a while
_A_WHILE = 120  # seconds


class JobsApi:
    """The handlers of a site for jobs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def ask(self, call: BotCall) -> Response:
        """`POST /api/requests`.

        Raises:
            BotError: the question can't be read, proves nothing, may not be asked, or comes too often.
        """
        site = self._site
        with site.limits.of_failures("ask refused", call.address):
            who = site.doorkeeper.identify(call.request.headers.get("authorization", ""))
            asked = resolve(who, call.json(), site.policy.current().policy)
            site.limits.hit("ask", asked.asker)
            standing = site.intake.ask(asked)
        site.presence.note(standing.request)
        ASKED.inc()
        return JSONResponse(self._told(standing) | {"secret": site.intake.secret(standing.request)})

    def poll(self, call: BotCall) -> Response:
        """`GET /api/requests/{id}`.

        Raises:
            NotFound, NotProved, TooMany: it is not there, or not for whoever asks.
        """
        site = self._site
        scheme, _, secret = call.request.headers.get("authorization", "").partition(" ")
        with site.limits.of_failures("poll refused", call.address):
            if scheme.lower() != "bearer":
                raise NotProved("The job's secret is missing.", hint="Send it as Authorization: Bearer SECRET.")
            standing = site.intake.hand_over(call.path["id"], secret.strip())
        site.presence.note(standing.request)
        told = self._told(standing)
        if standing.status == "approved":
            told["tokens"] = [given.token for given in standing.request.approvals]
        return JSONResponse(told)

    def _told(self, standing: Standing) -> dict[str, Any]:
        request, status = standing.request, standing.status
        told: dict[str, Any] = {
            "id": request.id,
            "url": f"{self._site.url}/requests/{request.id}",
            "status": status,
            "needed": standing.environment.approvals,
            "approvals": [
                {"approver": given.approver, "expires_at": given.expires_at} for given in request.live(standing.now)
            ],
            "expires_at": request.expires_at,
            "poll_after": _SOON if standing.now - request.asked_at < _A_WHILE else LONGEST_POLL,
        }
        if request.declined:
            told |= {"declined_by": request.declined.by, "decline_reason": request.declined.reason}
        return told
