"""Where records stand in a log, and what stands there."""

from array import array
from collections.abc import Iterable, Iterator

from gate.audit import AuditLog, NotARecord, parse_record_path
from gate.models import Stream
from gate.proof.events import Event, Fault
from gate.replay import ReplayStore
from gate.text import printable

_PATIENCE = 10_000  # empty places in a row, after which no more are looked at


def survey(log: AuditLog, heads: ReplayStore | None, ends: dict[Stream, int]) -> Iterator[Event]:
    """Fill `ends` with every stream there is, and the number of its newest record; tell what has no place."""
    if heads:
        ends |= dict.fromkeys(heads.heads(), 0)
    beyond: dict[Stream, array[int]] = {}
    unanchored: set[Stream] = set()
    for path in log.listing():
        place = parse_record_path(path)
        if place is None or place.seq == 0:
            yield Fault("stray", f"{printable(path)} is no record")
            continue
        stream, seq = place
        if seq <= ends.get(stream, 0):
            continue
        if heads is None or stream in unanchored:
            ends[stream] = seq
        elif stream in beyond:
            beyond[stream].append(seq)
        elif head := heads.head(stream):
            ends[stream] = head.seq
            if seq > head.seq:
                beyond[stream] = array("q", [seq])
        else:
            unanchored.add(stream)
            ends[stream] = seq
            message = "the replay store has no head for these records: it was lost, or belongs to another log"
            yield Fault("unanchored", message, stream)
    if heads:
        for stream, found in sorted(beyond.items()):
            yield from _inserted(log, heads, stream, found, ends)


def _inserted(
    log: AuditLog, heads: ReplayStore, stream: Stream, found: Iterable[int], ends: dict[Stream, int]
) -> Iterator[Fault]:
    """Which of the records that were `found` stand beyond the head, read again, for the log may have grown."""
    head = heads.head(stream)
    ends[stream] = newest = head.seq if head else 0
    message = f"beyond record {newest:,}, the newest that the replay store anchors"
    for seq in sorted(found):
        if seq > newest:
            yield Fault("inserted", message, stream, seq, seq, log.uri(stream, seq), unread=True)


def places(log: AuditLog, stream: Stream, last: int) -> Iterator[tuple[int, bytes | NotARecord | None]]:
    """Every place up to `last` and what stands there; ends early where too many in a row are empty."""
    seq = empty = 0
    while seq < last and empty < _PATIENCE:
        for found in _stretch(log, stream, seq + 1, last):
            seq += 1
            empty = empty + 1 if found is None else 0
            yield seq, found
            if empty == _PATIENCE:
                break


def _stretch(log: AuditLog, stream: Stream, first: int, last: int) -> Iterator[bytes | NotARecord | None]:
    """What stands from `first` on, as far as the first place that can't hold a record: there the reader ends."""
    try:
        yield from log.read(stream, first, last)
    except NotARecord as error:
        yield error
