"""What people see: requests, their decision on them, and their passkeys."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse, RedirectResponse, Response

from gate.bot.desk import DRAFT_LIFE
from gate.bot.eligibility import spelled
from gate.bot.errors import BotError, NotAllowed
from gate.bot.metrics import DECISIONS
from gate.bot.site import BotCall, Site
from gate.errors import GateError
from gate.keys import base64url
from gate.passkey import RelyingParty

_WORDS = {"open": "Waiting", "approved": "Approved", "declined": "Declined", "expired": "Ran out"}
LISTED = 30  # requests on one page
_MOST_REASON = 300  # characters: with a passkey's assertion they still fit into a token


class Pages:
    """The handlers of a site for people."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def home(self, call: BotCall) -> Response:
        """`GET /`."""
        visitor = self._site.visitor_or_none(call)
        if visitor is None:
            return self._site.sign_in_page(call)
        skip = call.skip()
        newest, older = self._site.register.newest(LISTED, skip)
        gone = {one.request.id for one in newest if one.status == "open" and self._site.presence.is_gone(one.request)}
        waiting = [one for one in newest if one.status == "open" and one.request.id not in gone]
        return self._site.page(
            "home.html",
            call,
            waiting=waiting,
            over=[one for one in newest if one.status != "open" or one.request.id in gone],
            gone=gone,
            is_all=not skip and not older,
            next_page=skip + LISTED if older else 0,
            words=_WORDS,
        )

    def request(self, call: BotCall) -> Response:
        """`GET /requests/{id}`: changes nothing, whoever follows the link."""
        visitor = self._site.visitor_or_none(call)
        if visitor is None:
            return self._site.sign_in_page(call)
        standing = self._site.register.find(call.path["id"])
        verdict = self._site.notary.verdict(standing, visitor.person)
        approver = spelled(visitor.person, standing.environment, standing.policy)
        return self._site.page(
            "request.html",
            call,
            request=standing.request,
            standing=standing,
            question=standing.question,
            environment=standing.environment,
            now=standing.now,
            verdict=verdict,
            passkeys=bool(approver and standing.policy.passkeys(approver)),
            may_decline=bool(approver),
            may_look_up=self._site.intake.can_look_up(standing.request),
            overtaken_by=self._site.intake.overtaken_by(standing.request) if standing.status == "open" else "",
            gone=standing.status == "open" and self._site.presence.is_gone(standing.request),
            words=_WORDS,
        )

    def challenge(self, call: BotCall) -> Response:
        """`POST /requests/{id}/challenge`: what the passkey is to sign."""
        with _refusals_counted():
            visitor = self._site.vouched(call)
            party = self._party()
            claims, challenge = self._site.desk.draft(
                call.path["id"], _question(call), visitor.person, visitor.session, _reason(call, required=False)
            )
        credentials = self._site.policy.current().policy.passkeys(claims["sub"])
        return JSONResponse(
            {
                "challenge": base64url(challenge),
                "rpId": party.rp_id,
                "userVerification": "required",
                "timeout": DRAFT_LIFE * 1000,
                "allowCredentials": [{"type": "public-key", "id": base64url(one.id)} for one in credentials],
            }
        )

    def approve(self, call: BotCall) -> Response:
        """`POST /requests/{id}/approve`."""
        key = call.path["id"]
        with _refusals_counted():
            visitor = self._site.vouched(call)
            standing = self._site.register.find(key)
            has_passkey = bool(standing.policy.passkeys(spelled(visitor.person, standing.environment, standing.policy)))
            assertion = _assertion(call) if has_passkey or standing.environment.passkey_required else None
            self._site.desk.approve(
                key, _question(call), visitor.person, visitor.session, assertion, _reason(call, required=False)
            )
        DECISIONS.labels("approved").inc()
        return _see(f"/requests/{key}")

    def decline(self, call: BotCall) -> Response:
        """`POST /requests/{id}/decline`."""
        key = call.path["id"]
        with _refusals_counted():
            visitor = self._site.vouched(call)
            self._site.desk.decline(key, _question(call), visitor.person, _reason(call, required=True))
        DECISIONS.labels("declined").inc()
        return _see(f"/requests/{key}")

    def look_up(self, call: BotCall) -> Response:
        """`POST /requests/{id}/look-up`: ask the forge again."""
        self._site.vouched(call)
        self._site.intake.look_up(call.path["id"])
        return _see(f"/requests/{call.path['id']}")

    def passkeys(self, call: BotCall) -> Response:
        """`GET /passkeys`."""
        visitor = self._site.visitor_or_none(call)
        if visitor is None:
            return self._site.sign_in_page(call)
        policy = self._site.policy.current().policy
        credentials = [base64url(credential.id) for credential in policy.passkeys(visitor.person)]
        party = policy.party if policy.party and policy.party.origin == self._site.url else None
        return self._site.page("passkeys.html", call, credentials=credentials, party=party, url=self._site.url)

    def enrolment_options(self, call: BotCall) -> Response:
        """`POST /passkeys/options`."""
        visitor = self._site.vouched(call)
        known = self._site.policy.current().policy.passkeys(visitor.person)
        return JSONResponse(self._site.enrolment.begin(visitor, self._party(), known))

    def enrol(self, call: BotCall) -> Response:
        """`POST /passkeys`: show what belongs into the policy."""
        visitor = self._site.vouched(call)
        enrolled = self._site.enrolment.finish(visitor, self._party(), call.form.get("credential", ""))
        self._site.logbook.enrolled(visitor.person, enrolled.id)
        return self._site.page("enrolled.html", call, enrolled=enrolled, entry=enrolled.policy_entry(visitor.person))

    def _party(self) -> RelyingParty:
        """Where passkeys are made and used: this bot.

        Raises:
            NotAllowed: the policy says another place, or none.
        """
        party = self._site.policy.current().policy.party
        if party is None or party.origin != self._site.url:
            raise NotAllowed(
                "The policy does not say that passkeys are used here.",
                hint="Add `passkeys: {origin: …}` with this bot's URL to the policy.",
                expected=self._site.url,
                actual=party.origin if party else "no passkeys section",
            )
        return party


@contextmanager
def _refusals_counted() -> Iterator[None]:
    try:
        yield
    except GateError as error:
        DECISIONS.labels(error.reason).inc()
        raise


def _question(call: BotCall) -> str:
    """The one that was on the form's page."""
    return call.form.get("question", "")


def _see(path: str) -> Response:
    """Another page instead of this one: going back, or reloading, sends no form again."""
    return RedirectResponse(path, 303)


def _reason(call: BotCall, *, required: bool) -> str:
    reason = call.form.get("reason", "").strip()
    if len(reason) > _MOST_REASON or (required and not reason):
        raise BotError(
            "The reason is missing." if not reason else "The reason is too long.",
            expected=f"1 to {_MOST_REASON} characters",
            hint="Go back, and say it in a sentence.",
        )
    return reason


def _assertion(call: BotCall) -> dict[str, str]:
    """What the passkey answered: four texts, which `gate.passkey` reads."""
    try:
        answer = json.loads(call.form.get("credential", ""))
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not all(isinstance(text, str) for text in answer.values()):
        raise NotAllowed(
            "This approval takes your passkey, and the form came without it.",
            hint="Use a browser with JavaScript: only the browser can ask for the passkey.",
        )
    return answer
