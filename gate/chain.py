"""The chain: how a record joins its stream, so that concurrent writers leave neither a gap nor a fork.

The head that the replay store anchors is where writers queue: whoever advances it by one owns that place, and the next
writer first writes the head's record to the log if its owner died before doing so. So the log never holds more than
the head says, and what the head says is never lost. Where it does hold more, the replay store is an older one, and
neither is written to.
"""

import random
import time
from collections.abc import Iterator
from contextlib import suppress

from gate.audit import START_ANEW, AuditLog, NotARecord, RecordPath
from gate.clocks import FAR_OFF
from gate.errors import AuditUnavailable, ClockMismatch, ReplayUnavailable
from gate.models import Head, Stream
from gate.record import START, AnyEntry, AnyRecord, RecordError, compose, digest, last_allowed, parse
from gate.replay import ReplayStore
from gate.text import printable

MOST_RECORDS = 1_000  # that one decision looks back over, the head and the events included
_BLOCK = 32  # records read at once: a round trip or two to S3
_TRIES = 100
_LONGEST_PAUSE = 0.2  # seconds
WRONG_CLOCK = "Synchronise the clock (NTP). If it is right, another gate's was ahead (docs/operations.md, Clocks)."
_jitter = random.SystemRandom()


class Outdated(AuditUnavailable):
    """The log goes on after record `known`, the newest that the replay store knows: that was lost, or is older."""

    def __init__(self, stream: Stream, known: int) -> None:
        ends = f"ends at record {known:,}" if known else "has no record"
        super().__init__(
            f"The replay store is older than the audit log: in it {printable(stream.path)} {ends}; the log goes on.",
            hint=f"It was lost, restored from an older copy, or belongs to another log. {START_ANEW}",
        )
        self.known = known


class Inserted(AuditUnavailable):
    """A record stands beyond the head, and does not follow it."""

    def __init__(self, stream: Stream, seq: int) -> None:
        super().__init__(
            f"Record {seq:,} of {printable(stream.path)} stands in the audit log, and does not follow what the replay "
            "store knows as the newest.",
            hint="Was it put there, or does the store belong to another log? Run gate audit verify (docs/audit.md).",
        )


def append(log: AuditLog, heads: ReplayStore, entry: AnyEntry) -> str:
    """Record `entry` durably as the newest of its stream, and return the record's URI.

    Raises:
        AuditUnavailable: the log can't be written, does not continue from its anchored head, or is too busy.
        ClockMismatch: the newest record is of a time to come, so the lives of approvals can't be told.
        ReplayUnavailable: the head can't be had.
        RecordError: the entry holds what a record can't.
    """
    stream = entry.stream
    tried: Head | None = None
    for attempt in range(_TRIES):
        head = end(log, heads, stream)
        if head is not None:
            _finish(log, stream, head)
        # Our own advance may have worked although its answer was lost, and another writer finished it for us.
        if tried is not None and log.get(stream, tried.seq) == tried.record:
            return log.uri(stream, tried.seq)
        tried = _next(entry, head)
        if heads.advance(stream, tried, expected=tried.seq - 1):
            uri = log.put(stream, tried.seq, tried.record)
            with suppress(ReplayUnavailable):  # the record stands; the next writer only looks once more
                heads.settle(stream, tried.seq)
            return uri
        time.sleep(_jitter.uniform(0, min(_LONGEST_PAUSE, 0.002 * 2 ** min(attempt, 10))))
    raise _too_busy(stream)


def check_next(log: AuditLog, heads: ReplayStore, stream: Stream, now: int) -> None:
    """Check that a record of the time `now` (epoch seconds) could be appended, as far as that is seen without writing.

    Raises:
        AuditUnavailable, ClockMismatch, ReplayUnavailable: as `append`.
    """
    head = end(log, heads, stream)
    if head is not None:
        _check_clock(anchored(stream, head), now)


def end(log: AuditLog, heads: ReplayStore, stream: Stream) -> Head | None:
    """The head of `stream`, at which the log ends, or will once that is written; None where there is no record.

    Raises:
        Outdated, Inserted: the log does not end there.
        AuditUnavailable: it can't be read, or the head is unusable.
        ReplayUnavailable: the head can't be had.
    """
    for _ in range(_TRIES):
        head = heads.head(stream)
        try:
            check_end(log, stream, head)
        except (Outdated, Inserted):
            if heads.head(stream) == head:
                raise
            continue  # another writer has gone on meanwhile
        return head
    raise _too_busy(stream)


def check_end(log: AuditLog, stream: Stream, head: Head | None) -> None:
    """Check that the log ends at `head`. What stands beyond names the record that it follows, which tells a replay
    store that is older from a log that something was put into.

    Raises:
        Outdated, Inserted, AuditUnavailable: as `end`.
    """
    if head is not None and not head.written:
        _check_logged(stream, head, log.get(stream, head.seq))
    known, newest = (head.seq, digest(head.record)) if head else (0, START)
    beyond = log.get(stream, known + 1)
    if beyond is not None:
        follows = _follows(beyond, stream, known + 1, newest)
        raise Outdated(stream, known) if follows else Inserted(stream, known + 1)


def newest(log: AuditLog, heads: ReplayStore, stream: Stream) -> Iterator[AnyRecord]:
    """The anchored record, then those before it, each proved by the digest that the one after it holds, and by what
    that one says was allowed; at most `MOST_RECORDS`, read as far as they are asked for. The first needs no log.

    Raises:
        AuditUnavailable: the head is no record of this stream, or a record in the log is not the one that was chained.
        ReplayUnavailable: the head can't be had.
    """
    head = heads.head(stream)
    if head is None:
        return
    record = anchored(stream, head)
    yield record
    oldest = max(1, head.seq - MOST_RECORDS + 1)
    for last in range(head.seq, oldest - 1, -_BLOCK):
        first = max(oldest, last - _BLOCK + 1)
        for seq, data in _backwards(log, stream, first, last):
            if seq == head.seq:
                _check_logged(stream, head, data)
                continue
            before = _chained(stream, seq, data, record.previous)
            _check_carried(stream, before, record)
            record = before
            yield record
    if record.seq == 1:
        _check_carried(stream, None, record)


def _backwards(log: AuditLog, stream: Stream, first: int, last: int) -> Iterator[tuple[int, bytes | None]]:
    places = [RecordPath(stream, seq) for seq in range(first, last + 1)]
    for place, found in zip(reversed(places), reversed([*log.read(places)]), strict=True):
        if isinstance(found, NotARecord):
            raise found
        yield place.seq, found


def _check_logged(stream: Stream, head: Head, data: bytes | None) -> None:
    """The head stands in the log as well, unless its writer has yet to write it. In place of one that was never
    written, another record that follows the same one is that of a gate with a newer replay store."""
    if data == head.record or (data is None and not head.written):
        return
    if data is not None and not head.written and _follows(data, stream, head.seq, anchored(stream, head).previous):
        raise Outdated(stream, head.seq - 1)
    raise _broken(stream, head.seq, "gone" if data is None else "not the one that was written")


def _check_carried(stream: Stream, before: AnyRecord | None, record: AnyRecord) -> None:
    """What a record says was allowed last is what it allowed itself, or what the one before it says."""
    if record.last_allowed_sha != last_allowed(before, record):
        raise _broken(stream, record.seq, "not one that a gate wrote: it claims another allowed commit")


def _chained(stream: Stream, seq: int, data: bytes | None, expected: str) -> AnyRecord:
    """Record number `seq`, whose digest must be the expected one."""
    record = _parsed(stream, seq, data) if data is not None and digest(data) == expected else None
    if record is None:
        raise _broken(stream, seq, "gone" if data is None else "not the one that was written")
    return record


def _follows(data: bytes, stream: Stream, seq: int, previous: str) -> bool:
    """Whether `data` is record number `seq`, written on top of the one with the digest `previous`."""
    record = _parsed(stream, seq, data)
    return record is not None and record.previous == previous


def _parsed(stream: Stream, seq: int, data: bytes) -> AnyRecord | None:
    with suppress(RecordError):
        record = parse(data)
        if (record.stream, record.seq) == (stream, seq):
            return record
    return None


def _broken(stream: Stream, seq: int, what: str) -> AuditUnavailable:
    where = f"Record {seq} of {printable(stream.path)} in the audit log"
    return AuditUnavailable(
        f"{where} is {what}, so what was allowed before can't be told.",
        hint="Run gate audit verify: it names every record that was altered or removed (docs/audit.md).",
    )


def anchored(stream: Stream, head: Head) -> AnyRecord:
    """The record that a head anchors.

    Raises:
        AuditUnavailable: it is none, or one of another place; nothing can follow it.
    """
    try:
        record = parse(head.record)
    except RecordError as error:
        raise _bad_anchor(stream, str(error)) from None
    if (record.stream, record.seq) != (stream, head.seq):
        raise _bad_anchor(stream, "it is a record of another place")
    return record


def _next(entry: AnyEntry, head: Head | None) -> Head:
    if head is None:
        return Head(1, compose(entry, None), written=False)
    before = anchored(entry.stream, head)
    _check_clock(before, entry.at)
    return Head(head.seq + 1, compose(entry, before, digest(head.record)), written=False)


def _check_clock(newest: AnyRecord, now: int) -> None:
    """Check that a record of the time `now` (epoch seconds) may follow the newest one. A clock that is ahead can't be
    told from a stream that was quiet; it makes no store forget anything.

    Raises:
        ClockMismatch: it would be far before that.
    """
    if newest.at - now > FAR_OFF:
        where = f"record {newest.seq:,} of {printable(newest.stream.path)}, the newest in its audit stream"
        raise ClockMismatch(now - newest.at, where, hint=WRONG_CLOCK)


def _finish(log: AuditLog, stream: Stream, head: Head) -> None:
    """Write the head's record, if its owner may have died before it could."""
    if not head.written:
        log.put(stream, head.seq, head.record)


def _too_busy(stream: Stream) -> AuditUnavailable:
    return AuditUnavailable(
        f"The audit stream {printable(stream.path)} is too busy: {_TRIES} tries to extend it were overtaken.",
        hint="Run fewer deployments of one repository and environment at the same time, or try again.",
    )


def _bad_anchor(stream: Stream, why: str) -> AuditUnavailable:
    return AuditUnavailable(
        f"The newest record of {printable(stream.path)} in the replay store is unusable: {why}.",
        hint="Was the store edited, or written by a newer gate? Run gate audit verify (docs/operations.md).",
    )
