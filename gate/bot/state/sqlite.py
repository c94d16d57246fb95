"""The deploy-bot's state in one SQLite file, for a bot that runs on one machine (gate.sqlitefile)."""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gate.bot.errors import Unavailable
from gate.bot.state import Document, check_name, to_document, to_text
from gate.models import Finding
from gate.sqlitefile import Purpose, SqliteFile
from gate.uris import Uri

_ANEW = "Move it away and start the bot: it makes an empty one, and what was still open must be asked for again."
_PURPOSE = Purpose(
    what="deploy-bot's state",
    application_id=0x64676273,  # "dgbs"
    version=1,
    schema=(
        """CREATE TABLE documents (
            kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, version INTEGER NOT NULL,
            expires_at INTEGER NOT NULL, PRIMARY KEY (kind, key)
        )""",
        "CREATE INDEX documents_by_expiry ON documents (expires_at)",
    ),
    error=Unavailable,
    if_damaged=_ANEW,
)
_PRUNE = 10  # documents deleted at most per write: more than it adds, and too few to be felt
_PAGE = 50  # documents read at a time, so that no reading stands in the way of others

_Row = tuple[str, int, int]  # value, version, expires_at


class SqliteState:
    """A `State` in the file `path`, called `name` in messages. It waits `patience` seconds for a lock."""

    def __init__(self, path: Path, name: str, patience: float = 5.0) -> None:
        self._name = name
        self.file = SqliteFile(path, name, _PURPOSE, patience)

    def get(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.get`."""
        check_name(kind, key)
        with self.file.reading() as db:
            return self._alive(kind, key, _row(db, kind, key), now)

    def put(
        self, kind: str, key: str, value: Mapping[str, Any], *, expires_at: int, expected: int, now: int
    ) -> Document | None:
        """See `State.put`."""
        check_name(kind, key)
        ours = (to_text(value), expected + 1, expires_at)
        with self.file.transaction() as db:
            current = _row(db, kind, key)
            standing = current[1] if current and now < current[2] else 0
            if standing == expected:
                db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", (kind, key, *ours))
                _prune(db, now)
            elif current != ours:
                return None
        return self._document(kind, key, ours)

    def take(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.take`."""
        check_name(kind, key)
        with self.file.transaction() as db:
            document = self._alive(kind, key, _row(db, kind, key), now)
            db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
            _prune(db, now)
        return document

    def list(self, kind: str, now: int) -> Iterator[Document]:
        """See `State.list`."""
        check_name(kind)
        after = ""
        while True:
            with self.file.reading() as db:
                rows = db.execute(
                    """SELECT key, value, version, expires_at FROM documents
                        WHERE kind = ? AND key > ? ORDER BY key LIMIT ?""",
                    (kind, after, _PAGE),
                ).fetchall()
            for key, *row in rows:
                document = self._alive(kind, key, (row[0], row[1], row[2]), now)
                if document:
                    yield document
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def diagnose(self) -> Iterator[Finding]:
        """See `State.diagnose`."""
        return self.file.diagnose()

    def _alive(self, kind: str, key: str, row: _Row | None, now: int) -> Document | None:
        return self._document(kind, key, row) if row and now < row[2] else None

    def _document(self, kind: str, key: str, row: _Row) -> Document:
        try:
            return to_document(kind, key, *row)
        except ValueError:
            raise Unavailable(
                f"The deploy-bot's state {self._name} holds a document that no bot wrote.", hint=_ANEW
            ) from None


def open_state(uri: Uri, base: Path | None) -> SqliteState:
    """The state of a `sqlite:` URI.

    Raises:
        UsageError: it names no path, or a relative one without `base`.
    """
    return SqliteState(uri.path(base), uri.text)


def _row(db: sqlite3.Connection, kind: str, key: str) -> _Row | None:
    row: _Row | None = db.execute(
        "SELECT value, version, expires_at FROM documents WHERE kind = ? AND key = ?", (kind, key)
    ).fetchone()
    return row


def _prune(db: sqlite3.Connection, now: int) -> None:
    db.execute(
        """DELETE FROM documents WHERE rowid IN
            (SELECT rowid FROM documents WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)""",
        (now, _PRUNE),
    )
