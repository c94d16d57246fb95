"""The desk: where jobs ask, people answer, and the job that asked gets its tokens.

Every change is a compare-and-set, so that any of several bots may do the next step, and one that dies in between leaves
nothing half done.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gate.bot.eligibility import Verdict, check_may, check_wanted, judge
from gate.bot.errors import Conflict, NotAllowed, NotFound, NotProved, Unavailable
from gate.bot.facts import Lookup
from gate.bot.herald import Herald
from gate.bot.keyring import Keyring
from gate.bot.policysource import PolicySource
from gate.bot.request import ApprovalRequest, Declined, Given
from gate.bot.state import Document, State
from gate.errors import Denied, GateError
from gate.issuer import Issuer
from gate.passkey import challenge
from gate.policy import Environment, Policy
from gate.signers import Signer
from gate.steps import STEPS
from gate.tokens import decode
from gate.verification import check_passkeys

if TYPE_CHECKING:
    from gate.bot.asked import Asked
    from gate.bot.claims import Job
    from gate.bot.logbook import Logbook

KEPT = 24 * 3600  # seconds that a request can still be looked at after it ran out
DRAFT_LIFE = 300  # seconds to find one's passkey
_AMR = ("mfa", "user")  # RFC 8176: a key and the gesture that unlocks it; a person was there
_SAME_ANSWER = 60  # seconds
_TRIES = 20


class Standing(NamedTuple):
    """A request as it stands now, under the policy of now."""

    request: ApprovalRequest
    environment: Environment
    policy: Policy
    now: int

    @property
    def status(self) -> str:
        """`open`, `approved`, `declined` or `expired`."""
        return self.request.status(self.environment.approvals, self.now)


class Desk:
    """Everything that jobs and people do with requests. `life` is how long a request waits, in seconds."""

    def __init__(
        self,
        *,
        url: str,
        policy: PolicySource,
        signer: Callable[[], Signer],
        state: State,
        keyring: Keyring,
        lookup: Lookup,
        herald: Herald,
        logbook: "Logbook",
        life: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._policy = policy
        self._signer = signer
        self._state = state
        self._keyring = keyring
        self._lookup = lookup
        self._herald = herald
        self._logbook = logbook
        self._life = life
        self._clock = clock

    # --- jobs -------------------------------------------------------------------------------------------------------

    def ask(self, asked: "Asked", *, held: bool = False) -> Standing:
        """The request of this run for this deployment: the one that is there, or a new one.

        Raises:
            NotAllowed: the policy would never let this be approved.
            Unavailable: the policy or the state can't be had.
        """
        policy = self._policy.current().policy
        try:
            environment = check_wanted(asked.deployment, policy)
        except Denied as denial:
            raise NotAllowed(denial.message, hint=denial.hint, expected=denial.expected, actual=denial.actual) from None
        request = self._entered(asked, environment, held=held)
        if request.facts is None:
            request = self.look_up(request.id) or request
        return Standing(request, environment, policy, self._now)

    def _entered(self, asked: "Asked", environment: Environment, *, held: bool) -> ApprovalRequest:
        key, job, rerun = self._id(asked), asked.job, asked.rerun
        for _ in range(_TRIES):
            now = self._now
            document = self._state.get("request", key, now)
            before = ApprovalRequest.from_json(document.value) if document else None
            if before and not _is_over(before, environment.approvals, job, now):
                if before.attempt >= job.attempt and (before.rerun or not rerun):
                    return before
                request = replace(before, attempt=max(before.attempt, job.attempt), rerun=before.rerun or rerun)
            else:
                request = _new(key, asked, before, held=held, now=now, life=self._life)
                self._herald.announce(request, "expired", due_at=request.expires_at)
                self._herald.announce(request, "asked", due_at=now + 10)
            if self._saved(request, document):
                if request.generation != (before.generation if before else 0):
                    self._herald.hurry(request, "asked")
                return request
        raise _busy()

    def _id(self, asked: "Asked") -> str:
        """The same for the same run; for a run without an id one that is never met again."""
        deployment = asked.deployment
        run = deployment.run_id or secrets.token_urlsafe(24)
        repository = deployment.repository_id or deployment.repository
        return self._keyring.derive(
            "request", asked.job.issuer, repository, run, deployment.environment, deployment.sha
        )

    def secret(self, request: ApprovalRequest) -> str:
        """What the job that asked shows when it comes back; nobody else can make it, and nothing needs to be stored."""
        return self._keyring.derive("job", request.id, str(request.generation))

    def hand_over(self, key: str, secret: str) -> Standing:
        """The request, for the job that holds its secret: its tokens are for that job alone.

        Raises:
            NotFound: there is no such request.
            NotProved: the secret is not that of the request.
        """
        standing = self.find(key)
        request = standing.request
        if not self._keyring.matches(secret, "job", request.id, str(request.generation)):
            raise NotProved(
                "This is not the job that asked.", hint="Ask again: the answer has the secret of this request."
            )
        if standing.status == "approved" and request.handed_to < request.attempt:
            standing = standing._replace(request=self._changed(key, _handed_over))
        return standing

    # --- people -----------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Standing:
        """The request called `key`.

        Raises:
            NotFound: there is none, or it ran out long ago.
        """
        now = self._now
        document = self._state.get("request", key, now)
        if document is None:
            raise NotFound(
                "There is no such request.", hint="It may have run out long ago. A new run of the job asks again."
            )
        return self._standing(ApprovalRequest.from_json(document.value), now)

    def everything(self) -> list[Standing]:
        """All requests of the last day, newest first; those whose environment the policy no longer has are left out."""
        now = self._now
        found = [ApprovalRequest.from_json(document.value) for document in self._state.list("request", now)]
        known = self._policy.current().policy.environments
        listed = sorted(found, key=lambda request: -request.asked_at)
        return [self._standing(request, now) for request in listed if request.deployment.environment in known]

    def verdict(self, standing: Standing, person: str) -> Verdict:
        """May the person whose canonical name is `person` approve it?"""
        return judge(standing.request, person, standing.policy, self._issuer(standing.policy), standing.now)

    def draft(self, key: str, person: str, session: str, reason: str) -> tuple[dict[str, Any], bytes]:
        """The claims that the person is about to agree to, kept for a few minutes, and the challenge for their passkey.

        Raises:
            NotAllowed: they may not approve it.
        """
        claims = self._claims(self.find(key), person, reason, amr=_AMR)
        slot, now = self._keyring.derive("draft", session, key), self._now
        document = self._state.get("draft", slot, now)
        written = self._state.put(
            "draft",
            slot,
            claims,
            expires_at=now + DRAFT_LIFE,
            expected=document.version if document else 0,
            now=now,
        )
        if written is None:
            raise _busy()
        return claims, challenge(claims)

    def approve(
        self, key: str, person: str, session: str, assertion: Mapping[str, str] | None, reason: str
    ) -> ApprovalRequest:
        """Take the person's yes: check it as the gate will, sign, record, and keep the token for the job.

        Raises:
            NotAllowed: they may not approve it, or the passkey did not vouch for these claims.
            Conflict: the draft is used up or another was begun since.
            Unavailable: it can't be signed or recorded now; nothing was approved.
        """
        standing = self.find(key)
        if assertion is None:
            claims = self._claims(standing, person, reason, amr=())
        else:
            claims = self._drafted(key, session) | {"passkey": dict(assertion)}
            self._check_unchanged(standing, person, claims)
        token = self._sealed(standing, claims)
        given = Given(
            approver=claims["sub"],
            person=person,
            token=token,
            issued_at=claims["iat"],
            expires_at=claims["exp"],
            reason=claims.get("reason", ""),
            passkey=assertion is not None,
        )
        self._logbook.approved(standing.request.deployment, given)
        self._herald.announce(standing.request, "approved", due_at=self._now + 10)
        return self._closed(key, lambda request: self._approved(request, given, standing), "approved", standing)

    def decline(self, key: str, person: str, reason: str) -> ApprovalRequest:
        """Take the person's no, which is final.

        Raises:
            NotAllowed: they may not decide on it.
            Conflict: it is no longer open.
        """
        standing = self.find(key)
        try:
            approver = check_may(standing.request, person, standing.environment, standing.policy)
        except Denied as denial:
            raise NotAllowed(denial.message, hint=denial.hint) from None
        _check_open(standing)
        declined = Declined(approver, reason, self._now)
        self._logbook.declined(standing.request.deployment, declined)
        self._herald.announce(standing.request, "declined", due_at=self._now + 10)

        def change(request: ApprovalRequest) -> ApprovalRequest:
            _check_open(standing._replace(request=request, now=self._now))
            return replace(request, declined=declined)

        return self._closed(key, change, "declined", standing)

    def look_up(self, key: str) -> ApprovalRequest | None:
        """Ask the forge for the facts of a request, unless they are known; None if the request is gone by then."""
        try:
            request = self.find(key).request
            if request.facts is not None and not request.facts.trouble:
                return request
            facts = self._lookup.facts(request.deployment, self._policy.current())
            return self._changed(key, lambda newest: newest.with_facts(facts))
        except (NotFound, Conflict):
            return None

    # --- how ----------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return int(self._clock())

    def _standing(self, request: ApprovalRequest, now: int) -> Standing:
        policy = self._policy.current().policy
        try:
            environment = check_wanted(request.deployment, policy)
        except Denied as denial:
            raise NotFound(f"This request can't be approved any more: {denial.message}", hint=denial.hint) from None
        return Standing(request, environment, policy, now)

    def _issuer(self, policy: Policy) -> Issuer:
        try:
            return Issuer.under(policy, self._signer(), name=self._url)
        except GateError as error:
            raise Unavailable(f"The bot's key can't be used: {error.message}", hint=error.hint) from None

    def _claims(self, standing: Standing, person: str, reason: str, *, amr: tuple[str, ...]) -> dict[str, Any]:
        verdict = self.verdict(standing, person)
        if not verdict.may:
            raise NotAllowed(verdict.message, hint=verdict.hint)
        return self._issuer(standing.policy).draft(
            standing.request.deployment,
            verdict.approver,
            now=standing.now,
            ttl=standing.environment.max_age,
            reason=reason,
            amr=amr,
        )

    def _drafted(self, key: str, session: str) -> dict[str, Any]:
        document = self._state.take("draft", self._keyring.derive("draft", session, key), self._now)
        if document is None:
            raise Conflict(
                "This approval was begun too long ago, or in another tab, or was sent already.",
                hint="Look at the request again, and approve it from there.",
            )
        return dict(document.value)

    def _check_unchanged(self, standing: Standing, person: str, claims: Mapping[str, Any]) -> None:
        """What was drafted must still be what would be drafted now, but for its id and its times."""
        now = self._claims(standing, person, claims.get("reason", ""), amr=_AMR)
        ours = {"jti", "iat", "exp"}
        if {n: v for n, v in now.items() if n not in ours} != {
            n: v for n, v in claims.items() if n not in ours | {"passkey"}
        }:
            raise Conflict("The request changed while it was approved.", hint="Look at it again.")

    def _sealed(self, standing: Standing, claims: Mapping[str, Any]) -> str:
        """The token, once everything that the gate will check holds.

        Raises:
            NotAllowed: the passkey, or anything else, does not hold.
            Unavailable: the signer can't sign, or the policy does not trust its key.
        """
        issuer, policy = self._issuer(standing.policy), standing.policy
        try:
            check_passkeys([issuer.preview(claims)], standing.environment, policy)
        except Denied as denial:
            self._logbook.unproved(str(claims["sub"]), denial)
            raise NotAllowed(denial.message, hint=denial.hint, expected=denial.expected, actual=denial.actual) from None
        try:
            token = issuer.seal(claims)
            for step in STEPS:
                step.check(decode(token), standing.request.deployment, policy, self._now)
        except GateError as error:
            raise Unavailable(f"The approval can't be signed: {error.message}", hint=error.hint) from None
        return token

    def _approved(self, request: ApprovalRequest, given: Given, standing: Standing) -> ApprovalRequest:
        now, people = self._now, standing.policy.people
        _check_open(standing._replace(request=request, now=now))
        if request.approval_by(given.person, people, now):
            raise Conflict("You have approved this already.", hint="It waits for somebody else.")
        live = tuple(other for other in request.approvals if now < other.expires_at)
        return replace(request, approvals=(*live, given))

    def _closed(
        self, key: str, change: Callable[[ApprovalRequest], ApprovalRequest], news: Any, standing: Standing
    ) -> ApprovalRequest:
        request = self._changed(key, change)
        if request.status(standing.environment.approvals, self._now) == news:
            self._herald.hurry(request, news)
        return request

    def _changed(self, key: str, change: Callable[[ApprovalRequest], ApprovalRequest]) -> ApprovalRequest:
        for _ in range(_TRIES):
            document = self._state.get("request", key, self._now)
            if document is None:
                raise NotFound("There is no such request any more.", hint="A new run of the job asks again.")
            request = change(ApprovalRequest.from_json(document.value))
            if self._saved(request, document):
                return request
        raise _busy()

    def _saved(self, request: ApprovalRequest, document: Document | None) -> bool:
        written = self._state.put(
            "request",
            request.id,
            request.as_json(),
            expires_at=request.expires_at + KEPT,
            expected=document.version if document else 0,
            now=self._now,
        )
        return written is not None


def _new(
    key: str, asked: "Asked", before: ApprovalRequest | None, *, held: bool, now: int, life: int
) -> ApprovalRequest:
    job = asked.job
    return ApprovalRequest(
        deployment=replace(asked.deployment, request_id=key),
        generation=before.generation + 1 if before else 1,
        attempt=job.attempt,
        asked_at=now,
        expires_at=now + life,
        asker=job.issuer,
        run_url=job.run_url,
        run_sha=job.sha,
        ref=job.ref,
        workflow=job.workflow,
        event=job.event,
        said=tuple(sorted(asked.said)),
        rerun=asked.rerun,
        held=held,
    )


def _is_over(request: ApprovalRequest, needed: int, job: "Job", now: int) -> bool:
    """Whether a run that asks needs a new request. The same attempt gets the same answer again; where nobody proves
    which attempt it is, the same answer only for a while."""
    status = request.status(needed, now)
    if status == "open":
        return False
    if "attempt" in job.proved:
        handed_over = not request.live(now) or bool(request.handed_to)
        return request.attempt < job.attempt and (status != "approved" or handed_over)
    ended_at = request.declined.at if request.declined else max(given.expires_at for given in request.approvals)
    return now >= (request.expires_at if status == "expired" else ended_at) + _SAME_ANSWER


def _handed_over(request: ApprovalRequest) -> ApprovalRequest:
    return replace(request, handed_to=request.attempt)


def _check_open(standing: Standing) -> None:
    if standing.status != "open":
        raise Conflict(f"It is too late: this request is {standing.status}.", hint="Look at it again.")


def _busy() -> Unavailable:
    return Unavailable("Too many people are at this request at once.", hint="Try again in a moment.")
