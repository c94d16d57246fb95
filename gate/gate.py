"""The gate: checks, then consumes, then records, and only then allows (docs/reference.md, "Verification")."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gate import __version__
from gate.chain import append
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, Denied, ReasonCode, ReplayUnavailable, Undecided, UsageError
from gate.models import Check, Consumption, Decision
from gate.policy import Policy
from gate.record import Entry
from gate.steps import LEEWAY
from gate.text import plural
from gate.tokens import Approval
from gate.verification import CHECKS, check_age, check_passkeys, check_separation, passed, verify
from gate.wiring import load_policy

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore

_TTL_MARGIN = 24 * 3600  # seconds that a consumed JTI is remembered after its token has expired


class Gate:
    """Decides whether a deployment is approved. One object may decide many times, from any thread.

    `history` tells who wrote the commits, where the policy asks for separation of duties. `checkout`, where there is
    one, must stand at the approved commit. `clock` gives epoch seconds, and is read once per decision.
    """

    def __init__(
        self,
        policy: Policy,
        replay: "ReplayStore",
        audit: "AuditLog",
        *,
        history: "History | None" = None,
        checkout: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self._replay = replay
        self._audit = audit
        self._history = history
        self._checkout = checkout
        self._clock = clock

    @classmethod
    def from_policy(
        cls,
        location: str,
        *,
        policy_sha256: str = "",
        history: "History | None" = None,
        checkout: Path | None = None,
    ) -> "Gate":
        """The gate that the policy at `location` (a path, or `s3://`) describes.

        Raises:
            PolicyError: the policy can't be read, does not compile, or is not the one with that SHA-256.
        """
        loaded = load_policy(location, pin=policy_sha256, untrusted=[checkout] if checkout else [])
        return cls(loaded.policy, loaded.replay_store(), loaded.audit_log(), history=history, checkout=checkout)

    def check(self, tokens: Sequence[str], deployment: Deployment) -> Decision:
        """Decide, consume and record.

        Raises:
            UsageError: it was called with something that makes no sense; a denial is an answer, not an error.
        """
        attempt = _Attempt(self.policy, deployment, int(self._clock()))
        try:
            self._decide(attempt, tokens)
        except Denied as denial:
            attempt.fail(denial)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
            attempt.fail(_internal(error))
        return self._record(attempt, tokens)

    def deny(self, denial: Denied, tokens: Sequence[str], deployment: Deployment) -> Decision:
        """Record that it came to nothing that could be checked: somebody declined, or nobody approved in time."""
        attempt = _Attempt(self.policy, deployment, int(self._clock()), step="request")
        attempt.fail(denial)
        return self._record(attempt, tokens)

    def _decide(self, attempt: "_Attempt", tokens: Sequence[str]) -> None:
        deployment = attempt.deployment
        attempt.verified(verify(tokens, deployment, self.policy, attempt.now))
        environment = self.policy.environments[deployment.environment]
        if environment.separation_of_duties:
            attempt.step = "separation"
            self._separate(attempt)
        else:
            attempt.skip("separation", "the policy turns it off")
        check_age(attempt.approvals, environment)
        attempt.ok("age", f"at most {environment.max_age} s")
        attempt.step = "passkey"
        if proved := check_passkeys(attempt.approvals, environment, self.policy):
            attempt.ok("passkey", f"of {', '.join(approval.approver for approval in proved)}")
        else:
            attempt.skip("passkey", "none asked for, none given")
        attempt.step = "checkout"
        from gate.checkout import check_checkout  # noqa: PLC0415 (paid for when used)

        attempt.add(check_checkout(self._checkout, deployment.sha, clean=environment.clean_checkout))
        attempt.step = "replay"
        self._replay.consume([attempt.consumption(approval) for approval in attempt.approvals])
        attempt.ok("replay", "used now, once")

    def _separate(self, attempt: "_Attempt") -> None:
        from gate.lineage import Lineage  # noqa: PLC0415 (paid for when used)

        deployment, history = attempt.deployment, self._known_history()
        lineage = Lineage(self._audit, self._replay, deployment, self.policy)
        commits = tuple(history.commits(deployment.repository, lineage.shas(history), deployment.sha))
        try:
            attempt.counted = check_separation(attempt.approvals, deployment, self.policy, commits)
        except Denied as denial:
            if lineage.doubt:  # so more is new than what came since the newest allow
                denial.hint = f"{denial.hint} {lineage.doubt.message} {lineage.doubt.hint}".lstrip()
            raise
        attempt.ok("separation", plural(len(commits), "commit"))

    def _known_history(self) -> "History":
        if self._history is None:
            from gate.forge import Unattributed  # noqa: PLC0415 (paid for when used)

            raise Unattributed(
                "Who wrote the commits can't be told: there is neither a checkout nor a forge to ask.",
                hint="Run the gate in a full clone (fetch-depth: 0), or give it a token for the forge's API.",
            )
        return self._history

    def _record(self, attempt: "_Attempt", tokens: Sequence[str]) -> Decision:
        if attempt.store_is_down:
            return attempt.decision(record=None)  # asking the same store again would only take time
        if attempt.deployment.environment not in self.policy.environments:
            attempt.skip("record", "the policy does not list the environment, so it has no stream")
            return attempt.decision(record=None)
        try:
            uri = append(self._audit, self._replay, attempt.entry(tokens))
        except (AuditUnavailable, ReplayUnavailable) as error:
            return attempt.unrecorded(error)
        except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
            return attempt.unrecorded(_internal(error))
        attempt.ok("record", "written")
        return attempt.decision(record=uri)


def _internal(error: Exception) -> Undecided:
    return Undecided(
        "internal.error",
        f"The gate met a bug of its own ({type(error).__name__}), so it blocks.",
        hint="Please report it, with the version and what you ran. Nothing was allowed.",
    )


class _Attempt:
    """One run of the gate: what is known so far, and what it comes to."""

    def __init__(self, policy: Policy, deployment: Deployment, now: int, *, step: str = "parse") -> None:
        self.policy = policy
        self.deployment = deployment
        self.now = now
        self.nonce = secrets.token_urlsafe(16)
        self.step = step  # where a failure belongs that does not say so itself
        self.approvals: tuple[Approval, ...] = ()
        self.counted: tuple[Approval, ...] = ()
        self.denial: Denied | None = None
        self._checks: dict[str, Check] = {}

    def ok(self, name: str, actual: str) -> None:
        self.add(Check(name, "pass", CHECKS[name], actual))

    def skip(self, name: str, why: str) -> None:
        self.add(Check(name, "skip", "", why))

    def add(self, check: Check) -> None:
        self._checks[check.name] = check

    def verified(self, approvals: tuple[Approval, ...]) -> None:
        self.approvals = self.counted = approvals
        self.ok("deployment", f"{self.deployment.repository} into {self.deployment.environment}")
        self.ok("parse", plural(len(approvals), "token"))
        self._checks |= {check.name: check for check in passed(approvals)}
        self.ok("quorum", ", ".join(approval.approver for approval in approvals))

    def fail(self, denial: Denied) -> None:
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
        return isinstance(self.denial, (AuditUnavailable, ReplayUnavailable))

    @property
    def reason(self) -> ReasonCode:
        return self.denial.reason if self.denial else "allowed"

    @property
    def message(self) -> str:
        if self.denial:
            return self.denial.message
        return f"Approved by {', '.join(approval.approver for approval in self.counted)}."

    def consumption(self, approval: Approval) -> Consumption:
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
