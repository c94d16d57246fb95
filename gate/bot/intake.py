"""The intake: where jobs ask, and the job that asked gets its tokens.

Every change is a compare-and-set, so that any of several bots may do the next step, and one that dies in between leaves
nothing half done.
"""

import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gate.bot.eligibility import check_wanted
from gate.bot.errors import BotError, Conflict, NotAllowed, NotFound, NotProved, Unavailable
from gate.bot.facts import Lookup
from gate.bot.generations import AnotherWorkflow, begun, check_workflow, is_over, joined
from gate.bot.herald import Herald
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits
from gate.bot.policysource import PolicySource
from gate.bot.register import Register, Standing
from gate.bot.request import ApprovalRequest
from gate.errors import Denied
from gate.identity import fold

if TYPE_CHECKING:
    from gate.bot.asked import Asked

_BINDING = ("sha", "repository", "environment", "run_id")
_LOG = logging.getLogger(__name__)


class Intake:
    """Enters what jobs ask for into `register`. `life` is how long a request waits, in seconds."""

    def __init__(
        self,
        *,
        register: Register,
        keyring: Keyring,
        policy: PolicySource,
        lookup: Lookup,
        herald: Herald,
        limits: Limits,
        life: int,
    ) -> None:
        self._register = register
        self._keyring = keyring
        self._policy = policy
        self._lookup = lookup
        self._herald = herald
        self._limits = limits
        self._life = life

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
        try:
            return self._enter(self._id(asked), asked, needed, held)
        except AnotherWorkflow:
            return self._enter(self._id(asked, asked.job.workflow), asked, needed, held)

    def _enter(self, key: str, asked: "Asked", needed: int, held: str) -> ApprovalRequest:
        new = False

        def change(before: ApprovalRequest | None) -> ApprovalRequest:
            nonlocal new
            check_workflow(before, asked)
            now = self._register.now
            new = before is None or is_over(self._register.standing(before).request, needed, asked, held, now)
            if before is not None and not new:
                more = joined(before, asked, held)
                return before if more == before else more
            if not held:  # GitHub holds jobs until they are answered: it is not told to come back
                self._limits.check("begin", asked.asker)
            request = begun(key, asked, before, held=held, now=now, life=self._life)
            self._herald.announce(request, "expired", due_at=request.expires_at)
            self._herald.announce(request, "asked")
            return request

        request = self._register.enter(key, change)
        if new:
            if not held:
                self._limits.allows("begin", asked.asker)  # here, as many may have asked for it at once
            self._herald.hurry(request, "asked")
        return request

    def _id(self, asked: "Asked", workflow: str = "") -> str:
        """The same for the same run; for a run without an id one that is never met again. A job that only says what
        another has proved, or of which another asker speaks, has a request of its own; so has one of another `workflow`
        than the first that asked, for that is what the page names, and one for another of the CI's own environments,
        which GitHub holds and starts by itself."""
        deployment = asked.deployment
        own = fold(deployment.environment)
        return self._keyring.derive(
            "request",
            asked.job.issuer,
            deployment.repository_id,
            deployment.repository,
            deployment.run_id or secrets.token_urlsafe(24),
            deployment.environment,
            deployment.sha,
            *(name for name in _BINDING if name in asked.said),
            *((f"workflow {workflow}",) if workflow else ()),
            *((f"environment {called}",) if (called := fold(asked.job.ci_environment)) not in ("", own) else ()),
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
        standing = self._register.find(key)
        request = standing.request
        if not self._keyring.matches(secret, "job", request.id, str(request.generation)):
            raise NotProved(
                "This is not the job that asked.", hint="Ask again: the answer has the secret of this request."
            )
        if standing.status == "approved" and request.handed_to < request.attempt:
            standing = self._register.change(key, lambda newest: _handed_over(newest, request.generation))
        return standing

    def can_look_up(self, request: ApprovalRequest) -> bool:
        """Whether asking the forge may tell more than is known."""
        return not request.is_known and self._lookup.covers(request.forge)

    def overtaken_by(self, request: ApprovalRequest) -> str:
        """The commit that was allowed last, where that was after the facts were looked up; "" otherwise."""
        facts = request.facts
        seen = facts and (facts.newest or facts.base)
        if not seen and not request.is_known:  # it could not be told then, so neither what came since
            return ""
        newest = self._lookup.newest(request.deployment, self._policy.current())
        return "" if newest == seen else newest

    def look_up(self, key: str) -> ApprovalRequest | None:
        """Ask the forge for the facts of a request, unless they are known as they are now; None if the request is gone
        by then."""
        try:
            request = self._register.find(key).request
            if request.is_known and not self.overtaken_by(request):
                return request
            facts = self._lookup.facts(request.deployment, request.forge, self._policy.current())
            return self._register.change(key, lambda newest: replace(newest.request, facts=facts)).request
        except (NotFound, Conflict):
            return None


def _handed_over(newest: Standing, generation: int) -> ApprovalRequest:
    """Only what is approved, and not a newer request, whose job has another secret."""
    request = newest.request
    if request.generation != generation or newest.status != "approved":
        raise Unavailable("The request changed just now.", hint="Ask again.")
    return replace(request, approvals=request.live(newest.now) or request.approvals, handed_to=request.attempt)
