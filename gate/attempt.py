"""One run of the gate: what is known so far, and what it comes to."""

import secrets
from collections.abc import Iterator, Sequence

from gate import __version__
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, Denied, ReasonCode, ReplayUnavailable, Undecided
from gate.models import Check, Consumption, Decision
from gate.policy import Environment, Policy
from gate.record import Entry
from gate.steps import LEEWAY
from gate.text import plural
from gate.tokens import Approval
from gate.verification import CHECKS, WITHOUT_APPROVAL, passed

_TTL_MARGIN = 24 * 3600  # seconds that a consumed JTI is remembered after its token has expired


def internal_error(error: Exception) -> Undecided:
    """The denial that a bug comes to. Of the exception only the class is told."""
    return Undecided(
        "internal.error",
        f"The gate met a bug of its own ({type(error).__name__}), so it blocks.",
        hint="Please report it, with the version and what you ran. Nothing was allowed.",
    )


class Attempt:
    """One run of the gate: what is known so far, and what it comes to."""

    def __init__(
        self, policy: Policy, deployment: Deployment, now: int, *, step: str = "parse", is_dry: bool = False
    ) -> None:
        self.policy = policy
        self.deployment = deployment
        self.now = now
        self.nonce = secrets.token_urlsafe(16)
        self.step = step  # where a failure belongs that does not say so itself
        self.approvals: tuple[Approval, ...] = ()
        self.counted: tuple[Approval, ...] = ()
        self.denial: Denied | None = None
        self.is_dry = is_dry
        self.rollback = ""  # a sentence that tells of one
        self._checks: dict[str, Check] = {}

    def ok(self, name: str, actual: str) -> None:
        """The check `name` passed."""
        self.add(Check(name, "pass", CHECKS[name], actual))

    def skip(self, name: str, why: str) -> None:
        """The check `name` was not made."""
        self.add(Check(name, "skip", "", why))

    def add(self, check: Check) -> None:
        """What became of a check."""
        self._checks[check.name] = check

    def awaited(self, environment: Environment) -> None:
        """In a dry run: the policy would take an approval for `environment`, and there is none yet."""
        self.ok("deployment", f"{self.deployment.repository} into {environment.name}")
        for name in CHECKS.keys() - WITHOUT_APPROVAL:
            self.skip(name, "needs an approval")

    def verified(self, approvals: tuple[Approval, ...]) -> None:
        """All that looks at one approval at a time passed."""
        self.approvals = self.counted = approvals
        self.ok("deployment", f"{self.deployment.repository} into {self.deployment.environment}")
        self.ok("parse", plural(len(approvals), "token"))
        self._checks |= {check.name: check for check in passed(approvals)}
        self.ok("quorum", ", ".join(approval.approver for approval in approvals))

    def fail(self, denial: Denied) -> None:
        """It ends with `denial`, of its own step or of the one that is under way."""
        self.denial = denial
        name = denial.step or self.step
        self._checks[name] = Check(name, "fail", denial.expected, denial.actual or denial.message)

    def unrecorded(self, error: Denied) -> Decision:
        """Without its record an allow is none; a denial stays what it is."""
        self._checks["record"] = Check("record", "fail", CHECKS["record"], error.message)
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
        return f"Approved by {', '.join(approval.approver for approval in self.counted)}. {self.rollback}".rstrip()

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
            approvals=tuple(approval.summary() for approval in self.counted),
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
            approvals=tuple(approval.summary() for approval in self.counted),
            record=record,
            checks=tuple(self._all_checks()),
        )

    def _all_checks(self) -> Iterator[Check]:
        failed = next((name for name, check in self._checks.items() if check.status == "fail"), None)
        if failed == "request":  # before all of these
            yield from self._checks.values()
            return
        reached = True
        for name, expected in CHECKS.items():
            reached = reached and name != failed
            unknown = Check(name, "pass", expected) if reached else Check(name, "skip", "", "not reached")
            yield self._checks.get(name, unknown)
