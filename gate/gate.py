"""The gate: checks, then consumes, then records, and only then allows (docs/reference.md, "Verification")."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gate.attempt import Attempt, News, internal_error
from gate.chain import append, check_next
from gate.deadline import deadline
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, Denied, ReplayUnavailable, UsageError
from gate.models import Commit, Decision
from gate.policy import Policy
from gate.text import plural
from gate.tokens import Approval
from gate.trace import CheckName
from gate.verification import check_anyone, judge
from gate.wiring import load_policy

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore

DECIDE_SECONDS = 180.0  # for whatever the checks ask of others, the use of the approvals included
RECORD_SECONDS = 60.0


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
        attempt = Attempt(self.policy, deployment, int(self._clock()))
        denial.step = "request"
        attempt.fail(denial)
        return self._record(attempt, tokens)

    def _attempt(self, deployment: Deployment, tokens: Sequence[str], *, is_dry: bool = False) -> Attempt:
        """All checks, up to the first that fails; in a dry run those that need no approval."""
        attempt = Attempt(self.policy, deployment, int(self._clock()), is_dry=is_dry)
        try:
            with deadline(DECIDE_SECONDS):
                self._decide(attempt, tokens)
        except Denied as denial:
            attempt.fail(denial)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
            attempt.fail(internal_error(error))
        return attempt

    def _decide(self, attempt: Attempt, tokens: Sequence[str]) -> None:
        trace, deployment = attempt.trace, attempt.deployment
        approvals = self._expect(attempt) if attempt.is_dry else self._judge(attempt, tokens)
        trace.step = CheckName.CHECKOUT
        from gate.checkout import check_checkout  # noqa: PLC0415 (paid for when used)

        clean = self.policy.environments[deployment.environment].clean_checkout
        trace.add(check_checkout(self._checkout, deployment.sha, clean=clean))
        trace.step = CheckName.REPLAY
        doubt = self._check_durability()
        if attempt.is_dry:
            return self._check_reach(attempt)
        self._replay.consume([attempt.consumption(approval) for approval in approvals])
        return trace.ok(CheckName.REPLAY, "used now, once", doubt)

    def _judge(self, attempt: Attempt, tokens: Sequence[str]) -> tuple[Approval, ...]:
        """The approvals, every check of which passed."""
        commits = partial(self._commits, attempt)
        with _doubted(attempt):
            approvals = judge(
                tokens, attempt.deployment, self.policy, attempt.now, commits=commits, trace=attempt.trace
            )
        self._look_back(attempt)
        return approvals

    def _expect(self, attempt: Attempt) -> tuple[Approval, ...]:
        """No approvals, once it is seen that the policy would take some."""
        deployment, trace = attempt.deployment, attempt.trace
        judge((), deployment, self.policy, attempt.now, only=[CheckName.DEPLOYMENT], trace=trace)
        attempt.awaited()
        trace.step = CheckName.SEPARATION
        if self.policy.environments[deployment.environment].separation_of_duties:
            commits = self._commits(attempt)
            with _doubted(attempt):
                check_anyone(deployment, self.policy, commits)
            self._look_back(attempt)
        else:
            trace.skip(CheckName.SEPARATION, "the policy turns it off")
        return ()

    def _commits(self, attempt: Attempt) -> tuple[Commit, ...]:
        """The commits that are new since what was allowed before."""
        from gate.lineage import Lineage  # noqa: PLC0415 (paid for when used)

        deployment, history = attempt.deployment, self._known_history()
        lineage = Lineage(self._audit, self._replay, deployment, self.policy)
        commits = tuple(history.commits(deployment.repository, lineage.shas(history), deployment.sha))
        attempt.news = News(commits, tuple(lineage.given), lineage.doubt)
        return commits

    def _look_back(self, attempt: Attempt) -> None:
        """Tell where it goes back from what was allowed last."""
        if attempt.news is None:
            return
        from gate.rollback import rollback  # noqa: PLC0415 (paid for when used)

        commits, allowed, _ = attempt.news
        deployment = attempt.deployment
        attempt.rollback = rollback(self._known_history(), deployment.repository, allowed, deployment.sha)
        told = ". ".join(filter(None, [plural(len(commits), "commit"), attempt.rollback]))
        attempt.trace.ok(CheckName.SEPARATION, told)

    def _check_durability(self) -> str:
        """Why the store may lose a use, where the policy lets it pass."""
        doubt = self._replay.doubt()
        if doubt and self.policy.durable:
            raise ReplayUnavailable(
                f"The policy requires that a use of an approval lasts. The {doubt}.",
                hint="gate doctor says what to do. Or take replay_durability out of the policy (docs/policy.md).",
            )
        return doubt

    def _check_reach(self, attempt: Attempt) -> None:
        """Both stores answer these credentials, and agree on where the stream ends."""
        stream = attempt.deployment.stream
        self._replay.head(stream)
        attempt.trace.skip(CheckName.REPLAY, "the store answers; nothing was used")
        attempt.trace.step = CheckName.RECORD
        check_next(self._audit, self._replay, stream, attempt.now)
        attempt.trace.skip(CheckName.RECORD, "the log answers; nothing was written")

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
            attempt.trace.skip(CheckName.RECORD, "the policy does not list the environment, so it has no stream")
            return attempt.decision(record=None)
        try:
            with deadline(RECORD_SECONDS):  # of its own: what was consumed late is recorded all the same
                uri = append(self._audit, self._replay, attempt.entry(tokens))
        except (AuditUnavailable, ReplayUnavailable) as error:
            return attempt.unrecorded(error)
        except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
            return attempt.unrecorded(internal_error(error))
        attempt.trace.ok(CheckName.RECORD, "written")
        return attempt.decision(record=uri)


@contextmanager
def _doubted(attempt: Attempt) -> Iterator[None]:
    """Where an allow does not count, more is new than what came since the newest: a denial for that says so."""
    try:
        yield
    except Denied as denial:
        doubt = attempt.news and attempt.news.doubt
        if doubt and denial.reason in ("approver.is_actor", "approver.is_author"):
            denial.hint = f"{denial.hint} {doubt.message} {doubt.hint}".lstrip()
        raise
