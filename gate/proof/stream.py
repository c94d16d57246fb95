"""The proof of one stream: its records from the first to the newest, each against its neighbours and its own tokens."""

from collections.abc import Iterator, MutableMapping

from gate.audit import AuditLog, NotARecord
from gate.chain import anchored
from gate.errors import AuditUnavailable, GateError
from gate.models import Consumption, Head, Stream
from gate.proof.events import Event, Fault, FaultKind, Note, Step
from gate.proof.evidence import Evidence, prove_allow
from gate.proof.links import Conviction, Links
from gate.proof.places import Places, outdated
from gate.proof.policies import Policies
from gate.proof.used import Used
from gate.record import START, AnyRecord, Record, RecordError, digest, last_allowed, parse
from gate.reverify import Unproved
from gate.text import legible, printable

_NOTHING = "no record stands here"
_OVERTAKEN = (
    "allowed under an archived policy, after one that replaced it had allowed something here: if it was put back on "
    "purpose, give it with --policy"
)


class Walk:
    """One walk along one stream, up to its head, or without one to record `last`.

    The JTIs of every allow that is met leave `unrecorded`.
    """

    def __init__(
        self,
        log: AuditLog,
        places: Places,
        stream: Stream,
        head: Head | None,
        policies: Policies,
        unrecorded: MutableMapping[str, Consumption],
    ) -> None:
        self._log = log
        self._places = places
        self._stream = stream
        self._head = head
        self._policies = policies
        self._unrecorded = unrecorded
        self._links = Links()
        self._used = Used()
        self._policy = ""  # of the newest allow so far, and those of the allows before it
        self._replaced: set[str] = set()
        self._before: AnyRecord | None = None
        self._digest: str | None = START  # of the record before; None where there is none to be had

    def events(self, last: int) -> Iterator[Event]:
        """Everything there is to tell."""
        if self._head is not None:
            try:
                anchored(self._stream, self._head)
            except AuditUnavailable as error:
                yield self._fault("unanchored", self._head.seq, error.message)
                self._head = None
        seq = 0
        for seq, found in self._places.along(self._stream, last):
            yield from self._place(seq, found)
        if seq < last:
            message = "not looked at: too many records before this are missing"
            yield self._fault("removed", seq + 1, message)._replace(last=last)
            return
        yield from self._end()

    def _place(self, seq: int, found: bytes | NotARecord | None) -> Iterator[Event]:
        if found is None and self._head and self._head.seq == seq:
            yield from self._missing(self._head)
        elif found is None:
            yield from self._unknown(self._fault("removed", seq, _NOTHING))
        elif isinstance(found, NotARecord):
            fault = self._fault("altered", seq, f"something else stands here: {found.message}")
            yield from self._unknown(fault._replace(unread=True))
        else:
            yield from self._bytes(seq, found)

    def _missing(self, head: Head) -> Iterator[Event]:
        """The newest record is not in the log, so it counts as no decision; the head has its bytes, which prove as much
        as if it were."""
        if head.written:
            yield self._fault("removed", head.seq, _NOTHING)
        else:
            uri = self._log.uri(self._stream, head.seq)
            yield Note(f"{uri} is still to be written, and is not counted; the replay store has its bytes.")
        yield from (event for event in self._bytes(head.seq, head.record) if not isinstance(event, Step))

    def _bytes(self, seq: int, data: bytes) -> Iterator[Event]:
        try:
            record = parse(data)
        except RecordError as error:
            fault = self._fault("altered", seq, f"not a record any more: {error}")
            yield from self._unknown(fault._replace(unread=True))
            return
        if (record.stream, record.seq) != (self._stream, seq):
            self._settle(record)
            fault = self._fault("misplaced", seq, _where(record, self._stream, seq))
            yield from self._unknown(fault._replace(unread=True))
            return
        broken = self._digest is not None and record.previous != self._digest
        yield from self._convict(self._links.add(broken=broken))
        if self._digest is not None and not broken and record.last_allowed_sha != last_allowed(self._before, record):
            yield self._fault("forged", seq, "its last_allowed_sha is wrong, as no gate would write it")
        self._before, self._digest = record, digest(data)
        yield from self._evidence(record)

    def _evidence(self, record: AnyRecord) -> Iterator[Event]:
        """A record in its place, and whether it proves itself, if it allows."""
        step = Step(record, self._log.uri(self._stream, record.seq))
        if not isinstance(record, Record) or not record.allowed:
            yield step
            return
        self._settle(record)
        yield from self._returned(record)
        try:
            evidence = prove_allow(record, self._policies)
        except AuditUnavailable:
            raise
        except Unproved as error:
            yield self._fault("unproved", record.seq, f"allowed, but can't be verified: {error.message}")
        except GateError as error:
            yield self._fault("forged", record.seq, f"allowed, but its tokens do not allow it: {error.message}")
        else:
            if evidence.strength == "archived" and self._is_overtaken():
                yield self._fault("unproved", record.seq, _OVERTAKEN)
            else:
                step = step._replace(evidence=evidence.strength)
            yield from self._reuse(record, evidence)
        yield step

    def _returned(self, record: Record) -> Iterator[Event]:
        """A policy that another one had replaced decides again: put back on purpose, or named by a forger who would
        rather be judged by an older one."""
        if record.policy_sha256 == self._policy:
            return
        if record.policy_sha256 in self._replaced:
            uri, name = self._log.uri(self._stream, record.seq), record.policy_sha256[:12]
            yield Note(f"{uri} was allowed under a policy that another one had replaced before, {name}: on purpose?")
        self._replaced.add(self._policy)
        self._policy = record.policy_sha256

    def _is_overtaken(self) -> bool:
        """True if a policy that replaced that of the newest allow had allowed something here before."""
        return any(self._policies.is_before(self._policy, other) for other in self._replaced)

    def _reuse(self, record: Record, evidence: Evidence) -> Iterator[Event]:
        for approval in evidence.approvals:
            self._unrecorded.pop(approval.jti, None)
        for complaint in self._used.take(record, evidence.approvals):
            yield self._fault("reused", record.seq, complaint)

    def _settle(self, record: AnyRecord) -> None:
        """What a record allowed was consumed for it, however wrong the rest of the record may be."""
        for approval in record.approvals if isinstance(record, Record) and record.allowed else ():
            self._unrecorded.pop(approval["jti"], None)

    def _unknown(self, fault: Fault) -> Iterator[Event]:
        """A place of which the neighbours can't be told anything."""
        yield from self._convict(self._links.add(broken=False))
        self._before = self._digest = None
        yield fault

    def _end(self) -> Iterator[Event]:
        if self._head is not None:
            broken = self._digest not in (None, digest(self._head.record))
            if broken and self._is_outdated(self._head):
                seq = self._head.seq
                yield outdated(self._stream, seq, seq, self._log.uri(self._stream, seq))
                broken = False
            yield from self._convict(self._links.add(broken=broken))
        yield from self._convict(self._links.close())

    def _is_outdated(self, head: Head) -> bool:
        """Whether another record that follows the same one was written in place of the head's, which never was."""
        follows = anchored(self._stream, head).previous
        return not head.written and self._before is not None and self._before.previous == follows

    def _convict(self, convictions: Iterator[Conviction]) -> Iterator[Event]:
        for seq, alone in convictions:
            if seq == 0:
                yield self._fault("altered", 1, "it follows another record, though it is the first")
            elif self._head and seq == self._head.seq:
                yield self._fault("altered", seq, "not the record that the replay store anchors here")
            else:
                also = "" if alone else f"; and it names another for record {seq - 1}, so nothing vouches for that one"
                message = f"its SHA-256 is not the one that record {seq + 1} names{also}"
                yield self._fault("altered", seq, message)

    def _fault(self, kind: FaultKind, seq: int, message: str) -> Fault:
        return Fault(kind, legible(message), self._stream, seq, seq, self._log.uri(self._stream, seq))


def _where(record: AnyRecord, stream: Stream, seq: int) -> str:
    if record.stream != stream:
        return f"this is a record of another stream, {printable(record.stream.path)}"
    places = abs(record.seq - seq)
    return f"this belongs {places:,} place{'s'[: places > 1]} {'later' if record.seq > seq else 'earlier'}"
