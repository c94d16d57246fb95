"""The trace of a decision: every check by its name, what it expects, and what became of it."""

from collections.abc import Sequence
from enum import Enum

from gate.models import Check
from gate.tokens import Approval


class CheckName(str, Enum):
    """Every check of a decision, in the order in which they are made."""

    DEPLOYMENT = "deployment"
    PARSE = "parse"
    KEY = "key"
    SIGNATURE = "signature"
    TIME = "time"
    AUDIENCE = "audience"
    SCOPE = "scope"
    ENVIRONMENT = "environment"
    RUN = "run"
    AUTHORITY = "authority"
    APPROVER = "approver"
    QUORUM = "quorum"
    SEPARATION = "separation"
    AGE = "age"
    PASSKEY = "passkey"
    CHECKOUT = "checkout"
    REPLAY = "replay"
    RECORD = "record"


EXPECTED = {
    CheckName.DEPLOYMENT: "an environment that the policy lists, and a repository that it lets in",
    CheckName.PARSE: "approval tokens",
    CheckName.KEY: "a key that the policy trusts",
    CheckName.SIGNATURE: "a signature by that key",
    CheckName.TIME: "within the approval's life",
    CheckName.AUDIENCE: "this gate's audience",
    CheckName.SCOPE: "this repository and commit",
    CheckName.ENVIRONMENT: "this environment",
    CheckName.RUN: "bound to this run, or to none",
    CheckName.AUTHORITY: "an approver the key may speak for",
    CheckName.APPROVER: "an approver the policy lists",
    CheckName.QUORUM: "enough distinct approvers",
    CheckName.SEPARATION: "approvers who neither triggered nor wrote it",
    CheckName.AGE: "a life that the policy allows",
    CheckName.PASSKEY: "an assertion where the policy asks for one",
    CheckName.CHECKOUT: "a checkout of this commit",
    CheckName.REPLAY: "never used before",
    CheckName.RECORD: "written before anything is allowed",
}


class Trace:
    """What became of each check so far. `step` is the check that is under way. `counted` are the approvals that count,
    as far as that is known: all once enough were found valid, then those of who neither triggered nor wrote it."""

    def __init__(self, step: CheckName = CheckName.DEPLOYMENT) -> None:
        self.step = step
        self.counted: tuple[Approval, ...] = ()
        self._checks: dict[str, Check] = {}

    def ok(self, name: CheckName, actual: str, doubt: str = "") -> None:
        """The check passed, though a `doubt` is left to warn of."""
        told = f"{actual}; {doubt}" if doubt else actual
        self.add(Check(name.value, "warn" if doubt else "pass", EXPECTED[name], told))

    def skip(self, name: CheckName, why: str) -> None:
        """The check was not made."""
        self.add(Check(name.value, "skip", "", why))

    def fail(self, name: str, expected: str, actual: str) -> None:
        """The check failed."""
        self.add(Check(name, "fail", expected, actual))

    def add(self, check: Check) -> None:
        """What became of a check."""
        self._checks[check.name] = check

    def checks(self) -> tuple[Check, ...]:
        """All checks of a decision, in their order; what comes after one that failed was not reached."""
        failed = next((name for name, check in self._checks.items() if check.status == "fail"), None)
        if failed is not None and failed not in EXPECTED:  # before all of these
            return tuple(self._checks.values())
        names = [name.value for name in CheckName]
        reached = names[: names.index(failed)] if failed else names
        return tuple(self._checks.get(name) or _unmade(name, reached) for name in names)


def _unmade(name: str, reached: Sequence[str]) -> Check:
    if name in reached:
        return Check(name, "pass", EXPECTED[CheckName(name)])
    return Check(name, "skip", "", "not reached")
