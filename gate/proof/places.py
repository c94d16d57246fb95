"""Where records stand in a log, and what stands there."""

import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator

from gate.audit import PROBE, AuditLog, NotARecord, RecordPath, is_policy_path, parse_record_path
from gate.chain import Outdated, check_end
from gate.errors import AuditUnavailable
from gate.models import Head, Stream
from gate.proof.events import Event, Fault, Note
from gate.replay import ReplayStore
from gate.text import plural, printable

_PATIENCE = 10_000  # empty places in a row, after which no more are looked at
# What the desktops of macOS and Windows, NFS, and the doctor leave where they only looked or copied.
_LEFT_BEHIND = re.compile(
    rf"(?:.*/)?(?:\.DS_Store|\._[^/]*|\.nfs[0-9A-Fa-f]+|{re.escape(PROBE)}|(?i:thumbs\.db|desktop\.ini))", re.DOTALL
)


def survey(log: AuditLog, heads: ReplayStore | None, ends: dict[Stream, int]) -> Iterator[Event]:
    """Fill `ends` with every stream there is, and the number of its newest record; tell what has no place."""
    anchors = _Anchors(log, heads, ends) if heads else None
    left_behind, example = 0, ""
    for path in log.listing():
        place = parse_record_path(path)
        if is_policy_path(path):
            continue
        if place is None and _LEFT_BEHIND.fullmatch(path):
            left_behind, example = left_behind + 1, example or path
        elif place is None or place.seq == 0:
            yield Fault("stray", f"{printable(path)} is no record")
        elif place.seq > ends.get(place.stream, 0):
            if anchors:
                yield from anchors.beyond(*place)
            else:
                ends[place.stream] = place.seq
    if anchors:
        yield from anchors.inserted()
    if left_behind:
        yield Note(f"{plural(left_behind, 'file')} that desktops leave behind, and no record: {printable(example)}.")


class _Anchors:
    """The heads of the streams, against which a listing is held; `ends` follows them."""

    def __init__(self, log: AuditLog, heads: ReplayStore, ends: dict[Stream, int]) -> None:
        self._log = log
        self._heads = heads
        self._ends = ends
        self._ends |= dict.fromkeys(heads.heads(), 0)
        self._beyond: dict[Stream, array[int]] = {}
        self._unanchored: set[Stream] = set()

    def beyond(self, stream: Stream, seq: int) -> Iterator[Event]:
        """Take in a record that stands beyond what is known of its stream's end."""
        if stream in self._beyond:
            self._beyond[stream].append(seq)
        elif stream in self._unanchored:
            self._ends[stream] = seq
        elif head := self._heads.head(stream):
            self._ends[stream] = head.seq
            if seq > head.seq:
                self._beyond[stream] = array("q", [seq])
        else:
            self._unanchored.add(stream)
            self._ends[stream] = seq
            message = "the replay store has no head for these records: it was lost, or belongs to another log"
            yield Fault("unanchored", message, stream)

    def inserted(self) -> Iterator[Event]:
        """Which of these stand beyond the heads still, which are read again, for the log may have grown meanwhile."""
        for stream, found in sorted(self._beyond.items()):
            head = self._heads.head(stream)
            newest = head.seq if head else 0
            beyond = sorted(seq for seq in found if seq > newest)
            self._ends[stream] = newest
            known = self._known(stream, head) if beyond else None
            if known is not None:
                self._ends[stream] = beyond[-1]
                yield outdated(stream, known + 1, beyond[-1], self._log.uri(stream, known + 1))
                continue
            message = f"beyond record {newest:,}, the newest that the replay store anchors, and does not follow it"
            for seq in beyond:
                yield Fault("inserted", message, stream, seq, seq, self._log.uri(stream, seq), unread=True)

    def _known(self, stream: Stream, head: Head | None) -> int | None:
        """Up to which record an older replay store knows the stream; None where it is none, or that can't be told."""
        try:
            check_end(self._log, stream, head)
        except Outdated as error:
            return error.known
        except AuditUnavailable:
            return None
        return None


def outdated(stream: Stream, first: int, last: int, uri: str) -> Fault:
    """The replay store knows nothing of these records, which follow the newest that it knows."""
    known = f"record {first - 1:,} is the newest that it knows" if first > 1 else "it knows none of this stream"
    message = (
        f"the replay store is older than the log ({known}): it was lost, or restored from an older copy, unless others "
        "than gates wrote these records"
    )
    return Fault("unanchored", message, stream, first, last, uri)


class Places:
    """The places of several streams, each with the last that is of interest, and what stands there. They are read ahead
    across the streams' borders, so the streams are to be taken in the order in which they are given, each to its end.
    """

    def __init__(self, log: AuditLog, ends: Iterable[tuple[Stream, int]]) -> None:
        self._ends = ends
        self._asked: deque[RecordPath] = deque()  # and not taken yet
        self._given_up: Stream | None = None
        self._found = log.read(self._wanted())

    def along(self, stream: Stream, last: int) -> Iterator[tuple[int, bytes | NotARecord | None]]:
        """Every place of the next stream up to `last`, and what stands there; ends early where too many in a row are
        empty."""
        empty = 0
        for seq in range(1, last + 1):
            found = self._take()
            empty = empty + 1 if found is None else 0
            yield seq, found
            if empty == _PATIENCE:
                self._given_up = stream
                while self._asked and self._asked[0].stream == stream:
                    self._take()
                return

    def _take(self) -> bytes | NotARecord | None:
        found = next(self._found)
        self._asked.popleft()
        return found

    def _wanted(self) -> Iterator[RecordPath]:
        for stream, last in self._ends:
            for seq in range(1, last + 1):
                if stream == self._given_up:
                    break
                self._asked.append(RecordPath(stream, seq))
                yield self._asked[-1]
