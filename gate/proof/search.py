"""Who approved this? The decisions, and the events on the deploy-bot, on one commit."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gate.audit import AuditLog
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, GateError
from gate.models import Stream
from gate.policy import Policy
from gate.proof.evidence import prove_allow
from gate.proof.places import Places, survey
from gate.proof.policies import Policies
from gate.record import AnyRecord, Happened, RecordError, parse


class Answer(NamedTuple):
    """A record on the commit, and its deployment. `doubt` says why it does not prove itself, "" where it does; all but
    an allow has nothing to prove but its place."""

    record: AnyRecord
    deployment: Deployment
    uri: str
    doubt: str


def records_on(
    log: AuditLog, sha: str, wanted: Callable[[Stream], bool], policies: Sequence[Policy]
) -> Iterator[Answer]:
    """Every record in the `wanted` streams on a commit whose id starts with `sha`, stream by stream, in order.

    It proves each allow by its own tokens, but not the chain.

    Raises:
        AuditUnavailable: the log can't be read.
    """
    ends: dict[Stream, int] = {}
    for _ in survey(log, None, ends):
        pass  # what does not belong in the log is for the proof to tell
    known = Policies(policies, log)
    chosen = [(stream, ends[stream]) for stream in sorted(filter(wanted, ends))]
    places = Places(log, chosen)
    for stream, end in chosen:
        for seq, found in places.along(stream, end):
            if isinstance(found, bytes) and sha.encode() in found:
                record = _parsed(found)
                if record and record.deployment and record.deployment.sha.startswith(sha):
                    moved = (record.stream, record.seq) != (stream, seq)
                    doubt = "It stands in another record's place." if moved else _doubt(record, known)
                    yield Answer(record, record.deployment, log.uri(stream, seq), doubt)


def _parsed(data: bytes) -> AnyRecord | None:
    try:
        return parse(data)
    except RecordError:
        return None


def _doubt(record: AnyRecord, policies: Policies) -> str:
    if isinstance(record, Happened) or not record.allowed:
        return ""
    try:
        prove_allow(record, policies)
    except AuditUnavailable:
        raise
    except GateError as error:
        return error.message
    return ""
