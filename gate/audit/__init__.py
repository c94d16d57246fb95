"""The audit log: immutable records, one object each, at `<prefix>/<repository>/<environment>/seq=<12 digits>.json`.

Beside them it keeps policies, byte for byte, at `<prefix>/policy=<sha256>.yaml`. `=` can't occur in a repository or an
environment (scope.py), so no stream can stand where a record or a policy belongs.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from gate.errors import AuditUnavailable, UsageError
from gate.models import Finding, Stream
from gate.text import printable
from gate.uris import parse_uri

PROBE = ".gate-doctor"  # what the doctor may leave in a log, and no record
MAX_RECORD = 256 * 1024  # bytes: a head has to fit into one DynamoDB item, which ends at 400 KB


# What to do once the replay store is lost, or is an older copy. Both at once: a new store can't go on from the old log,
# and an older one would begin a new log in the middle.
START_ANEW = (
    "Wait until every approval has expired (the longest max_age). Then, in one change, give the policy a new replay "
    "store (for SQLite: another file, or remove replay.db, for blocked runs have made a new one) and a new audit "
    "prefix; keep the old log as it is (docs/operations.md)."
)


class NotARecord(AuditUnavailable):
    """Something that can't be a record stands where one belongs: a symbolic link, a folder, a delete marker."""


class Occupied(AuditUnavailable):
    """Another record stands where one was to be written: the log is ahead of the replay store's head."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"Another record already stands at {uri}.",
            hint=f"The replay store has lost its state, or belongs to another log. {START_ANEW}",
        )


class AuditLog(Protocol):
    """What a backend does. Every method answers in bounded time or raises AuditUnavailable."""

    def put(self, stream: Stream, seq: int, record: bytes) -> str:
        """Write record number `seq` durably if there is none, and return its URI.

        Finding these very bytes there is success: an earlier try, or a helper, wrote them.

        Raises:
            Occupied: other bytes stand there.
            AuditUnavailable: the log can't be written.
        """
        ...

    def get(self, stream: Stream, seq: int) -> bytes | None:
        """Record number `seq`, None where there is none; of one that is too large the first `MAX_RECORD + 1` bytes.

        Raises:
            NotARecord: what stands there can't be one.
            AuditUnavailable: the log can't be read.
        """
        ...

    def read(self, places: "Iterable[RecordPath]") -> "Iterator[bytes | NotARecord | None]":
        """What stands at each of `places`, in their order, as `get` gives it, or NotARecord where that raises it.

        May read ahead, and ask for places ahead, within a bound.

        Raises:
            AuditUnavailable: the log can't be read.
        """
        ...

    def archive(self, policy: bytes) -> str:
        """Keep a policy durably under its SHA-256, and return its URI; where it is kept already, do nothing.

        Raises:
            AuditUnavailable: the log can't be written, or other bytes stand there.
        """
        ...

    def archived(self, sha256: str) -> bytes | None:
        """The bytes that are kept under a policy's SHA-256, unchecked; None where there are none.

        Raises:
            NotARecord: what stands there can't be a policy.
            AuditUnavailable: the log can't be read.
        """
        ...

    def listing(self) -> Iterator[str]:
        """The path below the prefix of every object in the log, in no order; memory does not grow with the log."""
        ...

    def uri(self, stream: Stream, seq: int) -> str:
        """Where record number `seq` stands."""
        ...

    def policy_uri(self, sha256: str) -> str:
        """Where the policy with this SHA-256 is kept, if it is."""
        ...

    def diagnose(self) -> Iterator[Finding]:
        """What `gate doctor` should say about this log; never raises for a log that is merely broken."""
        ...


class RecordPath(NamedTuple):
    """Where a record stands, below the log's prefix."""

    stream: Stream
    seq: int

    def __str__(self) -> str:
        return f"{self.stream.path}/seq={self.seq:012d}.json"


_RECORD_PATH = re.compile(r"((?:[A-Za-z0-9._-]+/)+[A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)/seq=([0-9]{12})\.json")


def parse_record_path(path: str) -> RecordPath | None:
    """The stream and number that a path names, None where it is no record's path."""
    match = _RECORD_PATH.fullmatch(path)
    return RecordPath(Stream(match[1], match[2]), int(match[3])) if match else None


_POLICY_PATH = re.compile(r"policy=[0-9a-f]{64}\.yaml")


def policy_path(sha256: str) -> str:
    """Where a policy is kept, below the log's prefix."""
    return f"policy={sha256}.yaml"


def is_policy_path(path: str) -> bool:
    """True if a policy is kept at this path."""
    return bool(_POLICY_PATH.fullmatch(path))


def named(policy: bytes) -> str:
    """The SHA-256 that names a policy."""
    return hashlib.sha256(policy).hexdigest()


def not_the_policy(uri: str) -> AuditUnavailable:
    """What to raise where other bytes stand at a policy's place."""
    hint = "Keep the policy elsewhere, and find out who wrote there; nobody believes those bytes, for their SHA-256."
    return AuditUnavailable(f"What stands at {printable(uri, 1000)} is not that policy.", hint=hint)


_BACKENDS = {
    "file": "gate.audit.directory",
    "s3": "gate.audit.s3",
}


def open_audit_log(uri: str, base: Path | None, ca: Path | None = None) -> AuditLog:
    """The audit log that `uri` names; relative paths start at `base`, the policy file's folder. Over TLS it is believed
    by the CAs of the URI's own `ca`, else those in the file `ca`.

    Each backend module has `open_log(uri: Uri, base: Path | None)`. Nothing is contacted yet.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
    """
    parsed = parse_uri(uri)
    if parsed.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri)}: no audit log is called {parsed.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    log: AuditLog = import_module(_BACKENDS[parsed.scheme]).open_log(parsed.believing(ca, base), base)
    return log
