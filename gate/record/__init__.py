"""The record: what the audit log says of one decision of the gate, or of one event on the deploy-bot (docs/audit.md).

Both join the same chains, in the same way; they differ in what they tell.
"""

from collections.abc import Mapping
from typing import Any

from gate.audit import MAX_RECORD
from gate.canonical import JsonError, canonical, parse_object
from gate.record.decision import DECISION_RULES, Entry, Record, read_decision
from gate.record.event import BOT_STREAM, EVENT_RULES, EventKind, Happened, Happening, read_event
from gate.record.shape import RecordError, digest

__all__ = [
    "BOT_STREAM",
    "DECISION_RULES",
    "EVENT_RULES",
    "START",
    "AnyEntry",
    "AnyRecord",
    "Entry",
    "EventKind",
    "Happened",
    "Happening",
    "Record",
    "RecordError",
    "compose",
    "digest",
    "last_allowed",
    "parse",
]

START = "0" * 64  # what the first record of a stream says of the one before it

AnyEntry = Entry | Happening
AnyRecord = Record | Happened


def compose(entry: AnyEntry, before: AnyRecord | None, previous: str = START) -> bytes:
    """The record of `entry` that follows the record `before`, whose digest is `previous`; None begins a stream.

    Raises:
        RecordError: the entry holds what a record can't.
    """
    place = {
        "seq": before.seq + 1 if before else 1,
        "previous": previous,
        "last_allowed_sha": last_allowed(before, entry),
    }
    record = _encode(entry.members() | place)
    parse(record)
    return record


def last_allowed(before: AnyRecord | None, entry: AnyEntry) -> str | None:
    """The newest allowed sha of a stream once `entry` follows the record `before`; an event carries it along."""
    return entry.allowed_sha or (before.last_allowed_sha if before else None)


def parse(data: bytes) -> AnyRecord:
    """Read a record, strictly: one shape for a decision, one for an event, each in one form (RFC 8785).

    Raises:
        RecordError: anything else.
    """
    if len(data) > MAX_RECORD:
        raise RecordError(f"it is larger than {MAX_RECORD:,} bytes")
    try:
        members = parse_object(data)
    except JsonError as error:
        raise RecordError(str(error)) from None
    record = read_event(members) if "event" in members else read_decision(members)
    if _encode(members) != data:
        raise RecordError("it is not in canonical form")
    return record


def _encode(members: Mapping[str, Any]) -> bytes:
    try:
        return canonical(members)
    except JsonError as error:
        raise RecordError(str(error)) from None
