"""The lineage of a deployment: what was allowed before it of the same repository, under whatever name it had then
(docs/policy.md, "Names that change")."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gate.chain import newest
from gate.deployment import Deployment
from gate.errors import Denied, ReplayUnavailable
from gate.forge import Unattributed
from gate.models import Stream
from gate.policy import Policy
from gate.record import Record
from gate.reverify import Unlisted, reverify
from gate.text import printable

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore

MOST_ELSEWHERE = 5_000  # records of other streams that one decision looks at
_ONCE = "let one deployment through under a policy with separation_of_duties: false, which its record shows"


class NoBase(Denied):
    """What was allowed before can't be told, so neither can what is new. No other history can make up for it."""

    def __init__(self, message: str, *, hint: str, actual: str = "") -> None:
        expected = "a commit that was surely allowed before"
        super().__init__("approver.is_author", message, hint=hint, expected=expected, actual=actual)


class Lineage:
    """What `deployment` goes back to, by `log` and `heads`, as far as `policy` vouches for it. Good for one search."""

    def __init__(self, log: "AuditLog", heads: "ReplayStore", deployment: Deployment, policy: Policy) -> None:
        self._log = log
        self._heads = heads
        self._deployment = deployment
        self._policy = policy
        self._foreign: dict[str, Stream] = {}  # what was allowed of other repositories, as far as was looked
        self._cut: Stream | None = None  # of which there is more than was looked at
        self.doubt: NoBase | None = None  # why the newest allow that does not count does not
        self.given: dict[str, None] = {}  # the shas that were asked for, as an ordered set

    def shas(self, history: "History") -> Iterator[str]:
        """The shas that were allowed, newest first under each name, each once: of allows alone whose tokens verify.

        The log is read backwards, as far as they are asked for. `history` is asked where there is none of them, so that
        a repository under a new name, or a copy of it, is not taken for one that was never deployed.

        Raises:
            NoBase: they are all given, or there are none, and there may be more than can be told.
            AuditUnavailable, ReplayUnavailable: as `gate.chain.newest`.
        """
        for record in self._allows():
            sha = record.deployment.sha
            if sha not in self.given and self._is_vouched_for(record):
                self.given[sha] = None
                yield sha
        if self.doubt:
            raise self.doubt
        if not self.given:
            self._check_first(history)

    def newest(self) -> str:
        """The commit that was allowed last, "" where none is known.

        Raises:
            AuditUnavailable, ReplayUnavailable: as `gate.chain.newest`.
        """
        return next((record.deployment.sha for record in self._allows() if self._is_vouched_for(record)), "")

    def _is_vouched_for(self, record: Record) -> bool:
        try:
            reverify(record, [self._policy])
        except Denied as denial:
            self.doubt = self.doubt or _unproved(record, denial)
            return False
        return True

    def _allows(self) -> Iterator[Record]:
        """The allows of this repository: under its name, then under those that it had before."""
        own, renamed = self._deployment.stream, self._policy.renamed
        surely = renamed.get(own.repository) == own.repository
        for record in self._allowed_in(own):
            if surely or not self._has_other_id(record):
                yield record
            else:
                self._foreign.setdefault(record.deployment.sha, own)
        if self._cut:  # not yet past its start
            return
        if own.repository not in renamed:
            yield from self._elsewhere(own)
        seen, former = {own.repository, ""}, renamed.get(own.repository, "")
        while former not in seen:
            seen.add(former)
            for record in self._allowed_in(Stream(former, own.environment)):
                # A name that the policy knows as that of a repository of today may be another's by now.
                if former not in renamed or not self._has_other_id(record):
                    yield record
            former = renamed.get(former, "")

    def _elsewhere(self, own: Stream) -> Iterator[Record]:
        """The allows of this environment that bear this repository's id under another name."""
        left = MOST_ELSEWHERE
        for stream in self._others(own):
            for record in self._allowed_in(stream, left):
                if self._deployment.repository_id and not self._has_other_id(record, unknown=True):
                    yield record
                else:
                    self._foreign.setdefault(record.deployment.sha, stream)
            left -= self._looked_at
            if left <= 0:
                self._cut = self._cut or stream
                return

    def _others(self, own: Stream) -> list[Stream]:
        try:
            found = sorted(self._heads.heads())
        except ReplayUnavailable as error:
            raise ReplayUnavailable(
                f"Whether {own.repository} had another name before can't be told: {error.message}",
                hint=f"{error.hint} It takes the right to list the heads (dynamodb:Scan; SCAN). {_say_new(own)}",
            ) from None
        return [stream for stream in found if stream.environment == own.environment and stream != own]

    def _allowed_in(self, stream: Stream, most: int = MOST_ELSEWHERE) -> Iterator[Record]:
        self._looked_at, last = 0, 1
        for record in newest(self._log, self._heads, stream):
            self._looked_at, last = self._looked_at + 1, record.seq
            if isinstance(record, Record) and record.allowed:
                yield record
            if self._looked_at >= most:
                break
        if last > 1:
            self._cut = self._cut or stream

    def _has_other_id(self, record: Record, *, unknown: bool = False) -> bool:
        """Whether the record is of a repository with another id; `unknown` where one of the two has none."""
        mine, theirs = self._deployment.repository_id, record.deployment.repository_id
        return mine != theirs if mine and theirs else unknown

    def _check_first(self, history: "History") -> None:
        """Check that nothing of this repository was ever allowed in this environment, whatever it was called."""
        own = self._deployment.stream
        if self._cut:
            raise NoBase(
                f"What was allowed of {own.repository} before can't be told: {printable(self._cut.path)} has more "
                "records than one decision looks at, and none of the newest tells.",
                hint=f"{_ONCE[0].upper()}{_ONCE[1:]}." if self._cut == own else _say_new(own),
            )
        if own.repository in self._policy.renamed or not self._foreign:
            return
        try:
            known = history.holds(own.repository, self._foreign)
        except Unattributed as error:  # which another history would be asked to make up for
            raise NoBase(
                f"Whether {own.repository} had another name before can't be told: {error.message}",
                hint=f"{error.hint} {_say_new(own)}",
                actual=error.actual,
            ) from None
        if known is not None:
            raise _looks_renamed(own, self._foreign[known], known)


def _say_new(own: Stream) -> str:
    return f"If it is new, say so in the policy: renamed: {{{own.repository}: none}} (docs/policy.md)."


def _looks_renamed(own: Stream, other: Stream, sha: str) -> NoBase:
    was = f"as {other.repository}" if other != own else "under the same name as a repository with another id"
    return NoBase(
        f"{own.repository} looks like one that was renamed, moved or copied: commit {sha[:12]} in it was allowed into "
        f"{own.environment} {was}.",
        hint=f"If it is the same repository, say so in the policy: renamed: {{{own.repository}: {other.repository}}}. "
        f"If it is another: renamed: {{{own.repository}: none}} (docs/policy.md).",
        actual=other.path,
    )


def _unproved(record: Record, denial: Denied) -> NoBase:
    what, mend = denial.message, f"If that was as it should be, {_ONCE}"
    if isinstance(denial, Unlisted):
        what = f"The policy does not list its key, {denial.kid}, any more."
        mend = f"List that key again, with its not_after; or {_ONCE}"
    return NoBase(
        f"Record {record.seq} of {record.stream.path} allowed {record.deployment.sha[:12]}, and does not count: {what}",
        hint=f"{mend} (docs/policy.md, Keys).",
        actual=denial.reason,
    )
