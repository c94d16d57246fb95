"""The history page's reading of the audit log: the newest records of a stream, back from the one that is anchored."""

from collections.abc import Callable, Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from gate.audit import AuditLog
from gate.chain import MOST_RECORDS, newest
from gate.errors import verdict
from gate.models import Stream
from gate.record import BOT_STREAM, AnyRecord, Happened
from gate.replay import ReplayStore

SHOWN = 10  # on one page

LOOKED_AT = MOST_RECORDS  # that one look goes back over; gate audit show has all

_WORDS = {"allow": "Allowed", "deny": "Denied", "error": "Blocked"}
_EVENTS = {
    "approval": ("approved", "Approved on the page"),
    "refusal": ("declined", "Declined on the page"),
    "enrolment": ("open", "Passkey enrolled"),
    "sign_in_failure": ("error", "Sign-in failed"),
}


class Entry(NamedTuple):
    """One record as the page shows it; `tone` colours its `word`. `who` is "" where the message names them, `reason` is
    what people said, `place` says which number of which log it is. `at` is in epoch seconds."""

    place: str
    at: int
    tone: str
    word: str
    sha: str
    who: str
    message: str
    reason: str
    run_id: str


class Selected(NamedTuple):
    """What the page shows, and after how many records the older ones begin, 0 where there are none."""

    entries: list[Entry]
    older: int


Stores = tuple[AuditLog, ReplayStore]


class History:
    """Reads the logs, each with the heads that anchor it, that `stores` gives: the gate's and the bot's."""

    def __init__(self, stores: Callable[[], Sequence[Stores]]) -> None:
        self._stores = stores

    def streams(self) -> list[str]:
        """Every stream's path, those of deployments first.

        Raises:
            ReplayUnavailable: the heads can't be read.
        """
        paths = {stream.path for _, heads in self._stores() for stream in heads.heads()}
        return sorted(paths, key=lambda path: (path == BOT_STREAM.path, path))

    def select(self, path: str, sha: str, skip: int) -> Selected:
        """The newest records of a stream, of all logs together, but for the `skip` newest; with `sha` only those on a
        commit that starts so. (Told apart by their times alone, some would be on no page: clocks differ.)

        Raises:
            AuditUnavailable, ReplayUnavailable: they can't be read, or are not those that were chained.
        """
        repository, _, environment = path.rpartition("/")
        stream = Stream(repository, environment)
        records = merge(*(newest(*stores, stream) for stores in self._stores()), key=lambda record: -record.at)
        entries: list[Entry] = []
        for number, record in enumerate(islice(records, skip, None), skip):
            if len(entries) == SHOWN:
                return Selected(entries, number)
            entry = _entry(record)
            if entry.sha.startswith(sha):
                entries.append(entry)
        return Selected(entries, 0)


def _told(event: Happened) -> tuple[str, str]:
    """What the bot says of the event, and what people said in it (gate.bot.logbook)."""
    if event.event == "refusal":
        return "", event.message
    if event.event == "approval":
        how, _, why = event.message.partition(": ")
        return how, why
    return event.message, ""


def _entry(record: AnyRecord) -> Entry:
    deployment = record.deployment
    sha, run_id = (deployment.sha, deployment.run_id) if deployment else ("", "")
    if isinstance(record, Happened):
        tone, word = _EVENTS[record.event]
        place, who, (message, reason) = f"Event {record.seq}", record.who, _told(record)
    else:
        tone = verdict(record.reason)
        word, place, who, message = _WORDS[tone], f"Record {record.seq}", "", record.message
        reason = "; ".join(str(approval["reason"]) for approval in record.approvals if approval.get("reason"))
    return Entry(
        place=place,
        at=record.at,
        tone=tone,
        word=word,
        sha=sha,
        who=who,
        message=message,
        reason=reason,
        run_id=run_id,
    )
