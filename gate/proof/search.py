"""Who approved this? The decisions on one commit."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gate.audit import AuditLog
from gate.errors import GateError
from gate.models import Stream
from gate.policy import Policy
from gate.proof.evidence import prove_allow
from gate.proof.places import places, survey
from gate.record import Record, RecordError, parse


class Answer(NamedTuple):
    """A decision on the commit. `doubt` says why it does not prove itself, "" where it does."""

    record: Record
    uri: str
    doubt: str


def decisions_on(
    log: AuditLog, sha: str, wanted: Callable[[Stream], bool], policies: Sequence[Policy]
) -> Iterator[Answer]:
    """Every decision in the `wanted` streams on a commit whose id starts with `sha`, stream by stream, in order.

    It proves each allow by its own tokens, but not the chain.

    Raises:
        AuditUnavailable: the log can't be read.
    """
    ends: dict[Stream, int] = {}
    for _ in survey(log, None, ends):
        pass  # what does not belong in the log is for the proof to tell
    for stream in sorted(filter(wanted, ends)):
        for seq, found in places(log, stream, ends[stream]):
            if isinstance(found, bytes) and sha.encode() in found:
                record = _parsed(found)
                if record and record.deployment.sha.startswith(sha):
                    moved = (record.stream, record.seq) != (stream, seq)
                    doubt = "It stands in another record's place." if moved else _doubt(record, policies)
                    yield Answer(record, log.uri(stream, seq), doubt)


def _parsed(data: bytes) -> Record | None:
    try:
        return parse(data)
    except RecordError:
        return None


def _doubt(record: Record, policies: Sequence[Policy]) -> str:
    if not record.allowed:
        return ""
    try:
        prove_allow(record, policies)
    except GateError as error:
        return error.message
    return ""
