"""The gate: checks, then consumes, then records, and only then allows (docs/reference.md, "Verification")."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gate.attempt import Attempt, internal_error
from gate.chain import append, check_next
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, Denied, ReplayUnavailable, UsageError
from gate.models import Decision
from gate.policy import Environment, Policy
from gate.text import plural
from gate.verification import check_age, check_anyone, check_deployment, check_passkeys, check_separation, verify
from gate.wiring import load_policy

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore


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
        attempt = self._attempt(deployment, tokens)
        return self._record(attempt, tokens)

    def preflight(self, deployment: Deployment, *, record: bool = False) -> Decision:
        """Make those checks of `check` that need no approval, before people are asked for one: it never allows, and
        consumes nothing. Where no fault is found the reason is `dry_run`. With `record` a denial is recorded."""
        attempt = self._attempt(deployment, (), is_dry=True)
        return self._record(attempt, ()) if record and attempt.denial else attempt.decision(record=None)

    def deny(self, denial: Denied, tokens: Sequence[str], deployment: Deployment) -> Decision:
        """Record that it came to nothing that could be checked: somebody declined, or nobody approved in time."""
        attempt = Attempt(self.policy, deployment, int(self._clock()), step="request")
        attempt.fail(denial)
        return self._record(attempt, tokens)

    def _attempt(self, deployment: Deployment, tokens: Sequence[str], *, is_dry: bool = False) -> Attempt:
        """All checks, up to the first that fails; in a dry run those that need no approval."""
        attempt = Attempt(self.policy, deployment, int(self._clock()), is_dry=is_dry)
        try:
            self._decide(attempt, tokens)
        except Denied as denial:
            attempt.fail(denial)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
            attempt.fail(internal_error(error))
        return attempt

    def _decide(self, attempt: Attempt, tokens: Sequence[str]) -> None:
        deployment = attempt.deployment
        if attempt.is_dry:
            attempt.awaited(check_deployment(deployment, self.policy))
        else:
            attempt.verified(verify(tokens, deployment, self.policy, attempt.now))
        environment = self.policy.environments[deployment.environment]
        if environment.separation_of_duties:
            attempt.step = "separation"
            self._separate(attempt)
        else:
            attempt.skip("separation", "the policy turns it off")
        if not attempt.is_dry:
            self._check_terms(attempt, environment)
        attempt.step = "checkout"
        from gate.checkout import check_checkout  # noqa: PLC0415 (paid for when used)

        attempt.add(check_checkout(self._checkout, deployment.sha, clean=environment.clean_checkout))
        attempt.step = "replay"
        if attempt.is_dry:
            return self._check_reach(attempt)
        self._replay.consume([attempt.consumption(approval) for approval in attempt.approvals])
        return attempt.ok("replay", "used now, once")

    def _check_terms(self, attempt: Attempt, environment: Environment) -> None:
        check_age(attempt.approvals, environment)
        attempt.ok("age", f"at most {environment.max_age} s")
        attempt.step = "passkey"
        if proved := check_passkeys(attempt.approvals, environment, self.policy):
            attempt.ok("passkey", f"of {', '.join(approval.approver for approval in proved)}")
        else:
            attempt.skip("passkey", "none asked for, none given")

    def _check_reach(self, attempt: Attempt) -> None:
        """Both stores answer these credentials, and agree on where the stream ends."""
        stream = attempt.deployment.stream
        self._replay.head(stream)
        attempt.skip("replay", "the store answers; nothing was used")
        attempt.step = "record"
        check_next(self._audit, self._replay, stream, attempt.now)
        attempt.skip("record", "the log answers; nothing was written")

    def _separate(self, attempt: Attempt) -> None:
        from gate.lineage import Lineage  # noqa: PLC0415 (paid for when used)
        from gate.rollback import rollback  # noqa: PLC0415 (as above)

        deployment, history = attempt.deployment, self._known_history()
        lineage = Lineage(self._audit, self._replay, deployment, self.policy)
        commits = tuple(history.commits(deployment.repository, lineage.shas(history), deployment.sha))
        try:
            if attempt.is_dry:
                check_anyone(deployment, self.policy, commits)
            else:
                attempt.counted = check_separation(attempt.approvals, deployment, self.policy, commits)
        except Denied as denial:
            if lineage.doubt:  # so more is new than what came since the newest allow
                denial.hint = f"{denial.hint} {lineage.doubt.message} {lineage.doubt.hint}".lstrip()
            raise
        attempt.rollback = rollback(history, deployment.repository, [*lineage.given], deployment.sha)
        attempt.ok("separation", ". ".join(filter(None, [plural(len(commits), "commit"), attempt.rollback])))

    def _known_history(self) -> "History":
        if self._history is None:
            from gate.forge import Unattributed  # noqa: PLC0415 (paid for when used)

            raise Unattributed(
                "Who wrote the commits can't be told: there is neither a checkout nor a forge to ask.",
                hint="Run the gate in a full clone (fetch-depth: 0), or give it a token for the forge's API.",
            )
        return self._history

    def _record(self, attempt: Attempt, tokens: Sequence[str]) -> Decision:
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
            return attempt.unrecorded(internal_error(error))
        attempt.ok("record", "written")
        return attempt.decision(record=uri)
