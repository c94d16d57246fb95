"""The replay store in one SQLite file (gate.sqlitefile).

No use is ever deleted: the only clock at hand is the gate's own, and if that were wrong once, uses would be forgotten
whose approvals still work. A use takes a fraction of the room that its record takes in the audit log.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gate.errors import ReplayUnavailable
from gate.models import Consumption, Finding, Head, Stream
from gate.replay import Replayed
from gate.sqlitefile import Purpose, SqliteFile
from gate.uris import Uri

_PURPOSE = Purpose(
    what="replay store",
    application_id=0x64677273,  # "dgrs"
    version=1,
    schema=(
        """CREATE TABLE uses (
            jti TEXT PRIMARY KEY, nonce TEXT NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
            repository TEXT NOT NULL, environment TEXT NOT NULL, sha TEXT NOT NULL, approver TEXT NOT NULL,
            run_id TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE heads (
            repository TEXT NOT NULL, environment TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL,
            written INTEGER NOT NULL, PRIMARY KEY (repository, environment)
        )""",
    ),
    error=ReplayUnavailable,
    if_damaged="Before you start an empty one, wait until every approval has expired: it would let them be used again.",
)


class SqliteStore:
    """A `ReplayStore` in the file `path`, called `name` in messages. It waits `patience` seconds for a lock."""

    def __init__(self, path: Path, name: str, patience: float = 5.0) -> None:
        self.file = SqliteFile(path, name, _PURPOSE, patience)

    def consume(self, uses: Sequence[Consumption]) -> None:
        """See `ReplayStore.consume`."""
        with self.file.transaction() as db:
            fresh = [use for use in uses if not _is_ours(db, use)]
            db.executemany("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, fresh))

    def doubt(self) -> str:
        """See `ReplayStore.doubt`."""
        return ""

    def consumed(self) -> Iterator[Consumption]:
        """See `ReplayStore.consumed`."""
        with self.file.reading() as db:
            yield from map(_use, db.execute("SELECT * FROM uses"))

    def head(self, stream: Stream) -> Head | None:
        """See `ReplayStore.head`."""
        with self.file.reading() as db:
            return _head(db, stream)

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """See `ReplayStore.advance`."""
        with self.file.transaction() as db:
            current = _head(db, stream)
            if current and (current.seq, current.record) == (head.seq, head.record):
                return True
            if (current.seq if current else 0) != expected:
                return False
            db.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?)", (*stream, *head))
            return True

    def settle(self, stream: Stream, seq: int) -> None:
        """See `ReplayStore.settle`."""
        with self.file.transaction() as db:
            db.execute(
                "UPDATE heads SET written = 1 WHERE repository = ? AND environment = ? AND seq = ?", (*stream, seq)
            )

    def heads(self) -> Iterator[Stream]:
        """See `ReplayStore.heads`."""
        with self.file.reading() as db:
            yield from (Stream(*row) for row in db.execute("SELECT repository, environment FROM heads"))

    def diagnose(self) -> Iterator[Finding]:
        """See `ReplayStore.diagnose`."""
        return self.file.diagnose()


def open_store(uri: Uri, base: Path | None) -> SqliteStore:
    """The store of a `sqlite:` URI.

    Raises:
        UsageError: it names no path, or a relative one without `base`.
    """
    return SqliteStore(uri.path(base), uri.text)


def _is_ours(db: sqlite3.Connection, use: Consumption) -> bool:
    """Whether this invocation consumed it already; raises Replayed where another one did."""
    row = db.execute("SELECT * FROM uses WHERE jti = ?", (use.jti,)).fetchone()
    if row is None:
        return False
    prior = _use(row)
    if prior.nonce != use.nonce:
        raise Replayed(prior)
    return True


def _row(use: Consumption) -> tuple[str | int, ...]:
    return (use.jti, use.nonce, use.expires_at, use.used_at, *use.stream, use.sha, use.approver, use.run_id)


def _use(row: tuple[Any, ...]) -> Consumption:
    jti, nonce, expires_at, used_at, repository, environment, sha, approver, run_id = row
    return Consumption(jti, nonce, expires_at, used_at, Stream(repository, environment), sha, approver, run_id)


def _head(db: sqlite3.Connection, stream: Stream) -> Head | None:
    row = db.execute(
        "SELECT seq, record, written FROM heads WHERE repository = ? AND environment = ?", stream
    ).fetchone()
    return Head(row[0], row[1], bool(row[2])) if row else None
