"""The report: what happened, for a manager and an auditor. One pass over the log; memory does not grow with it."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from gate.errors import ReasonCode, Verdict, verdict
from gate.record import AnyRecord, EventKind, Happened, Record

NEWEST = 1000  # rows on the page; the CSV has all of them
_WORST = 50  # findings on the page
DAY = 86400


class Selection(NamedTuple):
    """Which records to report. `since` and `until` are epoch seconds, `until` excluded; None and "" stand for all."""

    since: int | None = None
    until: int | None = None
    repository: str = ""
    environment: str = ""

    def takes(self, record: AnyRecord) -> bool:
        """True if the record is one of them."""
        return (
            (self.since is None or self.since <= record.at)
            and (self.until is None or record.at < self.until)
            and self.repository in ("", record.stream.repository)
            and self.environment in ("", record.stream.environment)
        )


class Row(NamedTuple):
    """One decision; rows sort by time. `proof` is as `evidence` in a `Step` of the proof."""

    decided_at: int
    uri: str
    record: Record
    proof: str

    @property
    def verdict(self) -> Verdict:
        """What was decided."""
        return verdict(self.record.reason)


@dataclass
class Report:
    """Counts, and the newest rows, of the decisions that were added and selected.

    `records` counts all that were added, `decisions` those of them that are no events, `left_out` the records of the
    log that can't be told as either. `events` counts those on the deploy-bot that were selected, by kind: nothing
    else here does.
    """

    selection: Selection
    offline: bool
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    reasons: Counter[ReasonCode] = field(default_factory=Counter)
    approvers: Counter[str] = field(default_factory=Counter)
    targets: Counter[tuple[str, str, Verdict]] = field(default_factory=Counter)
    days: Counter[tuple[int, Verdict]] = field(default_factory=Counter)
    proofs: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    finding_count: int = 0
    left_out: int = 0
    records: int = 0
    decisions: int = 0
    events: Counter[EventKind] = field(default_factory=Counter)
    _newest: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> bool:
        """Count a decision if the selection takes it; True if it does."""
        self.records += 1
        self.decisions += 1
        if not self.selection.takes(row.record):
            return False
        record, outcome = row.record, row.verdict
        self.verdicts[outcome] += 1
        self.days[row.decided_at // DAY, outcome] += 1
        self.targets[record.stream.repository, record.stream.environment, outcome] += 1
        if record.allowed:
            self.proofs[row.proof] += 1
            self.approvers.update({approval["approver"] for approval in record.approvals})
        else:
            self.reasons[record.reason] += 1
        (heapq.heappush if len(self._newest) < NEWEST else heapq.heappushpop)(self._newest, row)
        return True

    def happen(self, record: Happened) -> None:
        """Count an event if the selection takes it."""
        self.records += 1
        if self.selection.takes(record):
            self.events[record.event] += 1

    def find(self, finding: str, left_out: int) -> None:
        """Count something that the proof found wrong, anywhere in the log; the page shows the first ones.

        `left_out` is how many records count as nothing because of it.
        """
        self.finding_count += 1
        self.left_out += left_out
        if len(self.findings) < _WORST:
            self.findings.append(finding)

    @property
    def total(self) -> int:
        """How many decisions were selected."""
        return self.verdicts.total()

    @property
    def is_blank(self) -> bool:
        """True where the log holds nothing at all, good or bad."""
        return not self.records and not self.finding_count

    def newest(self) -> list[Row]:
        """The newest rows, newest first."""
        return sorted(self._newest, reverse=True)
