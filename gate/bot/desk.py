"""The desk: where jobs ask, people answer, and the job that asked gets its tokens.

Every change is a compare-and-set, so that any of several bots may do the next step, and one that dies in between leaves
nothing half done.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from gate.bot.eligibility import Verdict, check_may, check_wanted
from gate.bot.errors import BotError, Conflict, NotAllowed, NotFound, NotProved, Unavailable
from gate.bot.facts import Lookup
from gate.bot.generations import begun, is_over, joined
from gate.bot.herald import Herald
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits
from gate.bot.notary import Notary
from gate.bot.policysource import PolicySource
from gate.bot.register import Register, Standing, busy
from gate.bot.request import ApprovalRequest, Declined, Given
from gate.bot.state import State
from gate.errors import Denied
from gate.passkey import challenge
from gate.signers import Signer

if TYPE_CHECKING:
    from gate.bot.asked import Asked
    from gate.bot.logbook import Logbook

DRAFT_LIFE = 300  # seconds to find one's passkey
_UNTOLD = 10  # seconds that a change may take until it can be told
_BINDING = ("sha", "repository", "environment", "run_id")
_LOG = logging.getLogger(__name__)


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
        limits: Limits,
        life: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._register = Register(state, keyring, policy, clock)
        self._policy = policy
        self._notary = Notary(url, signer, logbook)
        self._state = state
        self._keyring = keyring
        self._lookup = lookup
        self._herald = herald
        self._logbook = logbook
        self._limits = limits
        self._life = life

    # --- jobs -------------------------------------------------------------------------------------------------------

    def ask(self, asked: "Asked", *, held: str = "") -> Standing:
        """The request of this run for this deployment: the one that is there, or a new one. `held` is the id of the
        delivery by which GitHub says that it holds the job.

        Raises:
            NotAllowed: the policy would never let this be approved.
            TooMany: whoever asks has begun too many requests.
            Unavailable: the policy or the state can't be had.
        """
        policy = self._policy.current().policy
        try:
            environment = check_wanted(asked.deployment, policy)
        except Denied as denial:
            raise NotAllowed.by(denial) from None
        request = self._entered(asked, environment.approvals, held)
        if request.facts is None:
            try:
                request = self.look_up(request.id) or request
            except BotError as error:  # people can do without, and may ask again
                _LOG.warning("no facts", extra={"error": error.message})
        return self._register.standing(request)

    def _entered(self, asked: "Asked", needed: int, held: str) -> ApprovalRequest:
        key, new = self._id(asked), False

        def change(before: ApprovalRequest | None) -> ApprovalRequest:
            nonlocal new
            now = self._now
            new = before is None or is_over(self._register.standing(before).request, needed, asked, held, now)
            if before is not None and not new:
                more = joined(before, asked, held)
                return before if more == before else more
            if not held:  # GitHub says it once, and of jobs that it holds
                self._limits.hit("begin", asked.beginner)
            request = begun(key, asked, before, held=held, now=now, life=self._life)
            self._herald.announce(request, "expired", due_at=request.expires_at)
            self._herald.announce(request, "asked", due_at=now + _UNTOLD)
            return request

        request = self._register.enter(key, change)
        if new:
            self._herald.hurry(request, "asked")
        return request

    def _id(self, asked: "Asked") -> str:
        """The same for the same run; for a run without an id one that is never met again. A job that only says what
        another has proved, or of which another asker speaks, has a request of its own."""
        deployment = asked.deployment
        return self._keyring.derive(
            "request",
            asked.job.issuer,
            deployment.repository_id,
            deployment.repository,
            deployment.run_id or secrets.token_urlsafe(24),
            deployment.environment,
            deployment.sha,
            *(name for name in _BINDING if name in asked.said),
        )

    def secret(self, request: ApprovalRequest) -> str:
        """What the job that asked shows when it comes back; nobody else can make it, and nothing needs to be stored."""
        return self._keyring.derive("job", request.id, str(request.generation))

    def hand_over(self, key: str, secret: str) -> Standing:
        """The request, for the job that holds its secret: its tokens are for that job alone.

        Raises:
            NotFound: there is no such request.
            NotProved: the secret is not that of the request.
            Unavailable: it changes just now.
        """
        standing = self.find(key)
        request = standing.request
        if not self._keyring.matches(secret, "job", request.id, str(request.generation)):
            raise NotProved(
                "This is not the job that asked.", hint="Ask again: the answer has the secret of this request."
            )
        if standing.status == "approved" and request.handed_to < request.attempt:
            standing = self._register.change(key, lambda newest: _handed_over(newest, request.generation))
        return standing

    # --- people -----------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Standing:
        """See `Register.find`."""
        return self._register.find(key)

    def newest(self, most: int, skip: int = 0) -> tuple[list[Standing], int]:
        """See `Register.newest`."""
        return self._register.newest(most, skip)

    def verdict(self, standing: Standing, person: str) -> Verdict:
        """See `Notary.verdict`."""
        return self._notary.verdict(standing, person)

    def check_signer(self) -> None:
        """See `Notary.check_signer`."""
        self._notary.check_signer(self._policy.current().policy)

    def draft(self, key: str, question: str, person: str, session: str, reason: str) -> tuple[dict[str, Any], bytes]:
        """The claims that the person is about to agree to, kept for a few minutes, and the challenge for their passkey.
        `question` is the one that the page showed.

        Raises:
            NotAllowed: they may not approve it.
            Conflict: something else is asked now.
        """
        standing = self.find(key)
        claims = self._notary.claims(standing, person, reason, passkey=True)
        standing.check_question(question)
        slot, now = self._keyring.derive("draft", session, key), self._now
        document = self._state.get("draft", slot, now)
        written = self._state.put(
            "draft",
            slot,
            {"claims": claims, "question": question},
            expires_at=now + DRAFT_LIFE,
            expected=document.version if document else 0,
            now=now,
        )
        if written is None:
            raise busy()
        return claims, challenge(claims)

    def approve(
        self, key: str, question: str, person: str, session: str, assertion: Mapping[str, str] | None, reason: str
    ) -> ApprovalRequest:
        """Take the person's yes to the question that the page showed: check it as the gate will, sign, record, and keep
        the token for the job.

        Raises:
            NotAllowed: they may not approve it, or the passkey did not vouch for these claims.
            Conflict: something else is asked now, or the draft is used up or another was begun since.
            Unavailable: it can't be signed or recorded now; nothing was approved.
        """
        standing = self.find(key)
        if assertion is None:
            claims = self._notary.claims(standing, person, reason, passkey=False)
        else:
            claims = self._drafted(standing, session) | {"passkey": dict(assertion)}
            self._notary.check_unchanged(standing, person, claims)
        standing.check_question(question)
        token = self._notary.seal(standing, claims)
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
        return self._closed(standing, "approved", Standing.check_question, lambda newest: self._approved(newest, given))

    def decline(self, key: str, question: str, person: str, reason: str) -> ApprovalRequest:
        """Take the person's no to the question that the page showed, which is final. Whoever says no to it says no to
        what the job adds meanwhile: otherwise a job that keeps adding could not be declined.

        Raises:
            NotAllowed: they may not decide on it.
            Conflict: it is no longer open, or was asked anew.
        """
        standing = self.find(key)
        try:
            approver = check_may(standing.request, person, standing.environment, standing.policy)
        except Denied as denial:
            raise NotAllowed.by(denial) from None
        standing.check_open()
        standing.check_generation(question)
        declined = Declined(approver, reason, self._now)
        self._logbook.declined(standing.request.deployment, declined)
        return self._closed(
            standing, "declined", Standing.check_generation, lambda newest: replace(newest.request, declined=declined)
        )

    def look_up(self, key: str) -> ApprovalRequest | None:
        """Ask the forge for the facts of a request, unless they are known; None if the request is gone by then."""
        try:
            request = self.find(key).request
            if request.facts is not None and not request.facts.trouble:
                return request
            facts = self._lookup.facts(request.deployment, request.forge, self._policy.current())
            return self._register.change(key, lambda newest: replace(newest.request, facts=facts)).request
        except (NotFound, Conflict):
            return None

    # --- how ----------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._register.now

    def _drafted(self, standing: Standing, session: str) -> dict[str, Any]:
        slot = self._keyring.derive("draft", session, standing.request.id)
        document = self._state.take("draft", slot, self._now)
        value: Mapping[str, Any] = document.value if document else {}
        if value.get("question") != standing.question or not isinstance(value.get("claims"), dict):
            raise Conflict(
                "This approval was begun too long ago, or in another tab, or was sent already.",
                hint="Look at the request again, and approve it from there.",
            )
        return dict(value["claims"])

    def _approved(self, newest: Standing, given: Given) -> ApprovalRequest:
        request = newest.request
        if request.approval_by(given.person, newest.policy.people, newest.now):
            raise Conflict("You have approved this already.", hint="It waits for somebody else.")
        return replace(request, approvals=(*request.live(newest.now), given))

    def _closed(
        self,
        seen: Standing,
        news: Literal["approved", "declined"],
        check: Callable[[Standing, str], None],
        change: Callable[[Standing], ApprovalRequest],
    ) -> ApprovalRequest:
        """Change the request that somebody saw while it was open, and have it told if that closed it; `check` compares
        it with the question that they saw. The errand is written first: whoever dies now leaves it to another bot."""

        def checked(newest: Standing) -> ApprovalRequest:
            newest.check_open()
            check(newest, seen.question)
            return change(newest)

        self._herald.announce(seen.request, news, due_at=self._now + _UNTOLD)
        standing = self._register.change(seen.request.id, checked)
        if standing.status == news:
            # Once more, lest the first one was given up as untold meanwhile.
            self._herald.announce(standing.request, news, due_at=self._now)
            self._herald.hurry(standing.request, news)
        return standing.request


def _handed_over(newest: Standing, generation: int) -> ApprovalRequest:
    """Only what is approved, and not a newer request, whose job has another secret."""
    request = newest.request
    if request.generation != generation or newest.status != "approved":
        raise Unavailable("The request changed just now.", hint="Ask again.")
    return replace(request, approvals=request.live(newest.now) or request.approvals, handed_to=request.attempt)
