"""One tree of errors, the reason codes, and the exit code that follows from each.

"Could not check" (`Undecided`) is a kind of "not allowed" (`Denied`), so that whoever catches the parent fails closed.
"""

from typing import Literal

Verdict = Literal["allow", "deny", "error", "none"]

ReasonCode = Literal[
    "allowed",
    "token.missing",
    "token.malformed",
    "token.too_large",
    "key.unknown",
    "key.outside_window",
    "key.not_authorized",
    "signature.invalid",
    "token.expired",
    "token.not_yet_valid",
    "token.too_long_lived",
    "audience.mismatch",
    "repository.mismatch",
    "repository.not_allowed",
    "sha.mismatch",
    "environment.mismatch",
    "environment.unknown",
    "run.mismatch",
    "approver.not_allowed",
    "approver.is_author",
    "approver.is_actor",
    "approvals.insufficient",
    "approval.declined",
    "passkey.missing",
    "passkey.invalid",
    "replay.used",
    "replay.unavailable",
    "audit.unavailable",
    "clock.mismatch",
    "checkout.mismatch",
    "bot.unavailable",
    "policy.invalid",
    "usage.invalid",
    "internal.error",
    "dry_run",
]

_CONFIGURATION = {"policy.invalid", "usage.invalid"}
_UNDECIDED = {"replay.unavailable", "audit.unavailable", "clock.mismatch", "bot.unavailable", "internal.error"}


def verdict(reason: ReasonCode) -> Verdict:
    """The verdict that a reason code stands for: only `allowed` allows, and a dry run that found no fault is none."""
    if reason in ("allowed", "dry_run"):
        return "allow" if reason == "allowed" else "none"
    return "error" if reason in _CONFIGURATION or reason in _UNDECIDED else "deny"


def exit_code(reason: ReasonCode) -> int:
    """The process exit code for a reason: 0 allowed, 1 denied, 2 usage or configuration, 3 could not decide, 4 nothing
    to decide. A dry run never ends with 0: a pipeline takes that for an allow."""
    if reason in _CONFIGURATION:
        return 2
    return {"allow": 0, "deny": 1, "error": 3, "none": 4}[verdict(reason)]


class GateError(Exception):
    """Base of every error that this project raises on purpose.

    `reason` is its stable code, `str(error)` one plain sentence, `expected` and `actual` the two values that
    disagree ("" where there are none), `hint` what to do next. All are safe to show: no token, PIN, ARN or account id.
    """

    reason: ReasonCode = "internal.error"

    def __init__(self, message: str, *, hint: str = "", expected: str = "", actual: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.expected = expected
        self.actual = actual


class UsageError(GateError):
    """A command or a call was given something that makes no sense. Exit code 2."""

    reason: ReasonCode = "usage.invalid"


class PolicyError(GateError):
    """The policy can't be read, or is ambiguous, or asks for what is not there. Exit code 2."""

    reason: ReasonCode = "policy.invalid"


class SignerError(GateError):
    """A signer can't be opened, or can't sign. Exit code 2: approving is not deciding."""

    reason: ReasonCode = "usage.invalid"


class Denied(GateError):
    """A check failed; the deployment is not allowed. `step` is that check's name, "" where whoever catches it knows."""

    def __init__(
        self,
        reason: ReasonCode,
        message: str,
        *,
        hint: str = "",
        expected: str = "",
        actual: str = "",
        step: str = "",
    ) -> None:
        super().__init__(message, hint=hint, expected=expected, actual=actual)
        self.reason = reason
        self.step = step


class Undecided(Denied):
    """A check could not be made, because a store or a service did not answer as it must. Exit code 3."""


class ReplayUnavailable(Undecided):
    """The replay store is down, slow, throttled or misconfigured."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("replay.unavailable", message, hint=hint)


class ClockMismatch(ReplayUnavailable):
    """This machine's clock is far `ahead` (in seconds; negative: behind) of what the replay store goes by."""

    def __init__(self, ahead: int, of: str, *, hint: str = "Synchronise both clocks (NTP), and try again.") -> None:
        side = "ahead of" if ahead > 0 else "behind"
        super().__init__(f"This machine's clock is {abs(ahead):,} s {side} {of}.", hint=hint)
        self.reason = "clock.mismatch"


class AuditUnavailable(Undecided):
    """The audit log can't be written or read, or does not continue from its anchored head."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("audit.unavailable", message, hint=hint)


class BotUnavailable(Undecided):
    """The deploy-bot, or whoever proves to it which job asks, can't be reached or does not answer as it must."""

    def __init__(self, message: str, *, hint: str = "", expected: str = "", actual: str = "") -> None:
        super().__init__("bot.unavailable", message, hint=hint, expected=expected, actual=actual)
