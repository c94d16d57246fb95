"""The history page's reading of the audit log: the newest records of a stream, back from the one that is anchored."""

from collections.abc import Callable
from typing import NamedTuple

from gate.audit import AuditLog
from gate.chain import MOST_RECORDS, newest
from gate.errors import verdict
from gate.models import Stream
from gate.record import BOT_STREAM, AnyRecord, Happened
from gate.replay import ReplayStore

SHOWN = 30  # on one page

LOOKED_AT = MOST_RECORDS  # that one look goes back over; gate audit show has all

_WORDS = {"allow": "Allowed", "deny": "Denied", "error": "Blocked"}
_EVENTS = {
    "approval": ("approved", "Approved on the page"),
    "refusal": ("declined", "Declined on the page"),
    "enrolment": ("open", "Passkey enrolled"),
    "sign_in_failure": ("error", "Sign-in failed"),
}


class Entry(NamedTuple):
    """One record as the page shows it; `tone` colours its `word`. `who` is "" where the
    message names them. `at` is in epoch seconds."""

    seq: int
    at: int
    tone: str
    word: str
    sha: str
    who: str
    message: str
    reason: str
    run_id: str


class Selected(NamedTuple):
    """What the page shows, and from which record on older ones stand; 0 where there are none."""

    entries: list[Entry]
    older: int


class History:
    """Reads the log, and the heads that anchor it, that `stores` gives."""

    def __init__(self, stores: Callable[[], tuple[AuditLog, ReplayStore]]) -> None:
        self._stores = stores

    def streams(self) -> list[str]:
        """Every stream's path, those of deployments first.

        Raises:
            ReplayUnavailable: the heads can't be read.
        """
        _, heads = self._stores()
        return sorted((stream.path for stream in heads.heads()), key=lambda path: (path == BOT_STREAM.path, path))

    def select(self, path: str, sha: str, before: int) -> Selected:
        """The newest records of a stream; with `sha` only those on a commit that starts so, with `before` only those
        of lower numbers.

        Raises:
            AuditUnavailable, ReplayUnavailable: they can't be read, or are not those that were chained.
        """
        repository, _, environment = path.rpartition("/")
        entries: list[Entry] = []
        seq = 0
        for record in newest(*self._stores(), Stream(repository, environment)):
            seq = record.seq
            if before and seq >= before:
                continue
            entry = _entry(record)
            if entry.sha.startswith(sha):
                entries.append(entry)
            if len(entries) == SHOWN:
                break
        return Selected(entries, seq if len(entries) == SHOWN and seq > 1 else 0)


def _entry(record: AnyRecord) -> Entry:
    deployment = record.deployment
    sha, run_id = (deployment.sha, deployment.run_id) if deployment else ("", "")
    if isinstance(record, Happened):
        tone, word = _EVENTS[record.event]
        return Entry(record.seq, record.at, tone, word, sha, record.who, record.message, "", run_id)
    decision = verdict(record.reason)
    reasons = [str(approval["reason"]) for approval in record.approvals if approval.get("reason")]
    return Entry(record.seq, record.at, decision, _WORDS[decision], sha, "", record.message, "; ".join(reasons), run_id)
