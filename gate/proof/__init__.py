"""The proof of an audit log: every record in its place, every link whole, every allow verified again (docs/audit.md).

It streams: memory grows with the number of streams and of approvals that have not expired, not with the log.
"""

from collections.abc import Iterator, Sequence

from gate.audit import AuditLog
from gate.models import Consumption, Head, Stream
from gate.policy import Policy
from gate.proof.events import Event, Fault, FaultKind, Note, Step
from gate.proof.places import Places, survey
from gate.proof.policies import Policies
from gate.proof.stream import Walk
from gate.replay import ReplayStore
from gate.text import printable, utc

__all__ = ["Event", "Fault", "FaultKind", "Note", "Step", "prove"]

_UNDER_WAY = 120  # seconds in which a gate that consumed an approval has written its record, or died
_LAG = 2  # records by which the verdict on one may come late


def prove(log: AuditLog, heads: ReplayStore | None, policies: Sequence[Policy], now: int) -> Iterator[Event]:
    """Prove the whole log, and tell what comes up. `now` is in epoch seconds.

    Without `heads` records cut from the end and approvals consumed without a record can't be seen.

    Raises:
        AuditUnavailable, ReplayUnavailable: the log, or the heads, can't be read; what was told until then holds.
    """
    return _merged(_events(log, heads, policies, now))


def _events(log: AuditLog, heads: ReplayStore | None, policies: Sequence[Policy], now: int) -> Iterator[Event]:
    # Consumptions first: whatever is consumed later has its record, if any, in what is read after this.
    # What has expired is forgotten, whether the store has deleted it by now or not.
    unrecorded = {use.jti: use for use in heads.consumed() if use.expires_at > now} if heads else {}
    if heads is None:
        yield Note(
            "OFFLINE: the replay store was not asked. Records cut from the end of a stream, and approvals that were "
            "consumed without a record, can't be seen this way."
        )
    ends: dict[Stream, int] = {}
    yield from survey(log, heads, ends)
    gaps: set[Stream | None] = set()
    anchors = {stream: _anchor(heads, stream, ends[stream]) for stream in sorted(ends)}
    lasts = {stream: head.seq if head else ends[stream] for stream, head in anchors.items()}
    places, known = Places(log, lasts.items()), Policies(policies, log)
    for stream, head in anchors.items():
        for event in Walk(log, places, stream, head, known, unrecorded).events(lasts[stream]):
            if isinstance(event, Fault):
                gaps.add(event.stream)
            yield event
    yield from known.troubles()
    for use in unrecorded.values():
        yield _unrecorded(use, now, may_be_removed=use.stream in gaps)


def _anchor(heads: ReplayStore | None, stream: Stream, end: int) -> Head | None:
    """The head of a stream whose last record of interest is number `end`, unless it is an older one."""
    head = heads.head(stream) if heads else None
    return head if head and head.seq >= end else None


def _unrecorded(use: Consumption, now: int, *, may_be_removed: bool) -> Event:
    run = f" in run {printable(use.run_id)}" if use.run_id else ""
    what = (
        f"an approval by {printable(use.approver)} of {printable(use.sha)[:12]} was consumed at {utc(use.used_at)}{run}"
    )
    if abs(now - use.used_at) < _UNDER_WAY:
        return Note(f"{printable(use.stream.path)}: {what}, and has no record yet; its gate may still be at work.")
    why = "its record is among those that are missing or wrong" if may_be_removed else ""
    died = "a gate died in between, and nothing was allowed"
    message = f"{what}, but no record allows it: {f'{died}, or {why}' if why else died} (JTI {printable(use.jti)})"
    return Fault("unrecorded", message, use.stream)


def _merged(events: Iterator[Event]) -> Iterator[Event]:
    """Faults that say the same of records next to each other, as one."""
    held: Fault | None = None
    for event in events:
        if isinstance(event, Note) or (isinstance(event, Step) and held and event.record.seq <= held.last + _LAG):
            yield event
            continue
        if isinstance(event, Fault) and held and _joins(held, event):
            held = held._replace(last=event.last)
            continue
        if held:
            yield held
        held = event if isinstance(event, Fault) else None
        if held is None:
            yield event
    if held:
        yield held


def _joins(held: Fault, fault: Fault) -> bool:
    return fault[:3] == held[:3] and 0 < fault.first == held.last + 1
