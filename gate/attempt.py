"""One run of the gate: what is known so far, and what it comes to."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from gate import __version__
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, Denied, ReasonCode, ReplayUnavailable, Undecided
from gate.models import Commit, Consumption, Decision
from gate.policy import Policy
from gate.record import Entry
from gate.steps import LEEWAY
from gate.tokens import Approval
from gate.trace import EXPECTED, CheckName, Trace

WITHOUT_APPROVAL = {
    CheckName.DEPLOYMENT,
    CheckName.SEPARATION,
    CheckName.CHECKOUT,
    CheckName.REPLAY,
    CheckName.RECORD,
}  # what of a decision a dry run looks at
_TTL_MARGIN = 24 * 3600  # seconds that a consumed JTI is remembered after its token has expired


def internal_error(error: Exception) -> Undecided:
    """The denial that a bug comes to. Of the exception only the class is told."""
    return Undecided(
        "internal.error",
        f"The gate met a bug of its own ({type(error).__name__}), so it blocks.",
        hint="Please report it, with the version and what you ran. Nothing was allowed.",
    )


class News(NamedTuple):
    """What a deployment brings: its new `commits`, the commits that were `allowed` before and looked at for them,
    newest first, and the `doubt` about an allow that does not count."""

    commits: tuple[Commit, ...]
    allowed: tuple[str, ...]
    doubt: Denied | None


class Attempt:
    """One run of the gate: what is known so far, and what it comes to."""

    def __init__(self, policy: Policy, deployment: Deployment, now: int, *, is_dry: bool = False) -> None:
        self.policy = policy
        self.deployment = deployment
        self.now = now
        self.nonce = secrets.token_urlsafe(16)
        self.trace = Trace()
        self.denial: Denied | None = None
        self.is_dry = is_dry
        self.news: News | None = None
        self.rollback = ""  # a sentence that tells of one

    def awaited(self) -> None:
        """In a dry run: the policy would take an approval, and there is none yet."""
        for name in CheckName:
            if name not in WITHOUT_APPROVAL:
                self.trace.skip(name, "needs an approval")

    def fail(self, denial: Denied) -> None:
        """It ends with `denial`, of its own step or of the one that is under way."""
        self.denial = denial
        self.trace.fail(denial.step or self.trace.step.value, denial.expected, denial.actual or denial.message)

    def unrecorded(self, error: Denied) -> Decision:
        """Without its record an allow is none; a denial stays what it is."""
        self.trace.fail(CheckName.RECORD.value, EXPECTED[CheckName.RECORD], error.message)
        if self.denial is None:  # so the approvals were consumed
            error.hint = f"{error.hint} The approval is used up: ask for a new one for the next run.".lstrip()
            self.denial = error
        return self.decision(record=None)

    @property
    def store_is_down(self) -> bool:
        """Whether a store is why there is no decision."""
        return isinstance(self.denial, (AuditUnavailable, ReplayUnavailable))

    @property
    def reason(self) -> ReasonCode:
        """What it comes to."""
        if self.denial:
            return self.denial.reason
        return "dry_run" if self.is_dry else "allowed"

    @property
    def message(self) -> str:
        """The same in a sentence."""
        if self.denial:
            return self.denial.message
        if self.is_dry:
            return "A dry run decides nothing. All that can be checked without an approval is in order."
        return (
            f"Approved by {', '.join(approval.approver for approval in self.trace.counted)}. {self.rollback}".rstrip()
        )

    def consumption(self, approval: Approval) -> Consumption:
        """The use of `approval` that the replay store keeps."""
        deployment = self.deployment
        return Consumption(
            jti=approval.jti,
            nonce=self.nonce,
            expires_at=approval.expires_at + LEEWAY + _TTL_MARGIN,
            used_at=self.now,
            stream=deployment.stream,
            sha=deployment.sha,
            approver=approval.approver,
            run_id=deployment.run_id,
        )

    def entry(self, tokens: Sequence[str]) -> Entry:
        """What is recorded of it."""
        return Entry(
            invocation=self.nonce,
            decided_at=self.now,
            reason=self.reason,
            message=self.message,
            deployment=self.deployment,
            approvals=tuple(approval.summary() for approval in self.trace.counted),
            tokens=tuple(dict.fromkeys(tokens)),
            policy_sha256=self.policy.sha256,
            gate=__version__,
        )

    def decision(self, record: str | None) -> Decision:
        """The answer, `record` being where it was recorded."""
        return Decision(
            reason=self.reason,
            message=self.message,
            hint=self.denial.hint if self.denial else "",
            deployment=self.deployment.as_json(),
            approvals=tuple(approval.summary() for approval in self.trace.counted),
            record=record,
            checks=self.trace.checks(),
        )
