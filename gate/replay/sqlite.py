"""The replay store in one SQLite file: safe between the processes and threads of one machine.

A commit is on the disk before it counts (WAL, `synchronous=FULL`). Not for network file systems, whose locks lie.
"""

import os
import sqlite3
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gate.errors import ReplayUnavailable
from gate.models import Consumption, Finding, Head, Stream
from gate.replay import Replayed
from gate.uris import Uri

_IDENTITY = (0x64677273, 1)  # application_id ("dgrs") and user_version: whose database it is, and of which layout
_SCHEMA = (
    """CREATE TABLE uses (
        jti TEXT PRIMARY KEY, nonce TEXT NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
        repository TEXT NOT NULL, environment TEXT NOT NULL, sha TEXT NOT NULL, approver TEXT NOT NULL,
        run_id TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX uses_by_expiry ON uses (expires_at)",
    """CREATE TABLE heads (
        repository TEXT NOT NULL, environment TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL,
        written INTEGER NOT NULL, PRIMARY KEY (repository, environment)
    )""",
    f"PRAGMA application_id = {_IDENTITY[0]}",
    f"PRAGMA user_version = {_IDENTITY[1]}",
)
_KEEP = 30 * 24 * 3600  # seconds after expires_at that a row is kept, for proving the audit log against it
_PRUNE = 100  # rows deleted at most per consumption: more than it adds, and too few to be felt

_DAMAGED = (
    "is damaged",
    "Before you start an empty one, wait until every approval has expired: it would let them be used again.",
)
# What SQLite says, and what that means: the message, and what to do next.
_TROUBLES = {
    "locked": ("stays locked by another process", "Find what holds it (e.g. with fuser), or try again."),
    "full": ("can't be written: the disk is full", "Make room on its disk."),
    "readonly": ("can't be written: it is read-only", "Give this user the right to write it and its folder."),
    "unable to open": ("can't be opened", "Check its path, and this user's rights on it and its folder."),
    "malformed": _DAMAGED,
    "not a database": ("is not an SQLite database", "Check its path."),
}


class SqliteStore:
    """A `ReplayStore` in the file `path`, called `name` in messages. It waits `patience` seconds for a lock."""

    def __init__(self, path: Path, name: str, patience: float = 5.0) -> None:
        self._path = path
        self._name = name
        self._patience = patience
        # Idle connections by process id: one that crosses a fork must be neither used nor closed there.
        self._idle: defaultdict[int, list[sqlite3.Connection]] = defaultdict(list)
        weakref.finalize(self, _close_all, self._idle)

    def consume(self, uses: Sequence[Consumption]) -> None:
        """See `ReplayStore.consume`."""
        with self._transaction() as db:
            fresh = [use for use in uses if not _is_ours(db, use)]
            _prune(db, now=max((use.used_at for use in fresh), default=0))
            db.executemany("INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, fresh))

    def consumed(self) -> Iterator[Consumption]:
        """See `ReplayStore.consumed`."""
        with self._reading() as db:
            yield from map(_use, db.execute("SELECT * FROM uses"))

    def head(self, stream: Stream) -> Head | None:
        """See `ReplayStore.head`."""
        with self._reading() as db:
            return _head(db, stream)

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """See `ReplayStore.advance`."""
        with self._transaction() as db:
            current = _head(db, stream)
            if current and (current.seq, current.record) == (head.seq, head.record):
                return True
            if (current.seq if current else 0) != expected:
                return False
            db.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?)", (*stream, *head))
            return True

    def settle(self, stream: Stream, seq: int) -> None:
        """See `ReplayStore.settle`."""
        with self._transaction() as db:
            db.execute(
                "UPDATE heads SET written = 1 WHERE repository = ? AND environment = ? AND seq = ?", (*stream, seq)
            )

    def heads(self) -> Iterator[Stream]:
        """See `ReplayStore.heads`."""
        with self._reading() as db:
            yield from (Stream(*row) for row in db.execute("SELECT repository, environment FROM heads"))

    def diagnose(self) -> Iterator[Finding]:
        """See `ReplayStore.diagnose`."""
        subject = f"replay store {self._name}"
        if not os.path.lexists(self._path):
            yield Finding("ok", subject, "is not there yet; its first use creates it")
            return
        try:
            with self._transaction() as db:
                db.execute(f"PRAGMA user_version = {_IDENTITY[1]}")  # changes nothing, but has to be written
                others_may_write = self._path.stat().st_mode & 0o022
            with self._connection() as db:
                sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except ReplayUnavailable as error:
            yield Finding("error", subject, error.message, error.hint)
            return
        if not sound:
            yield Finding("error", subject, *_DAMAGED)
        elif others_may_write:
            yield Finding("warning", subject, "others than its owner can write it", "Run chmod go-w on it.")
        else:
            yield Finding("ok", subject, "can be written, and is sound")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with. Where there is no file yet it reads an empty store, and makes none."""
        if self._idle[os.getpid()] or self._exists():
            with self._connection() as db:
                yield db
            return
        with closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as db:
            _lay_out(db)
            yield db

    def _exists(self) -> bool:
        """Whether something stands at the path, be it a link to nowhere.

        Raises:
            ReplayUnavailable: that can't be told.
        """
        try:
            self._path.lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unavailable(error) from None
        return True

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own. One that met an error is closed, which rolls its transaction back."""
        idle = self._idle[os.getpid()]
        try:
            try:
                db = idle.pop()
            except IndexError:
                db = self._open()
            try:
                yield db
            except BaseException:
                db.close()
                raise
            idle.append(db)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> ReplayUnavailable:
        message, hint = _explain(error)
        return ReplayUnavailable(f"The replay store {self._name} {message}.", hint=hint)

    def _open(self) -> sqlite3.Connection:
        if not os.path.lexists(self._path):
            _touch(self._path)
        db = sqlite3.connect(
            f"file:{quote(os.fsencode(self._path))}?mode=rw",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
            if _identity(db) != _IDENTITY:
                self._create(db)
            with suppress(sqlite3.OperationalError):  # somebody else holds it just now; any mode is safe
                db.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            db.close()
            raise
        return db

    def _create(self, db: sqlite3.Connection) -> None:
        """Lay the tables out, unless another process did so first."""
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            _lay_out(db)
        db.execute("COMMIT")
        if _identity(db) != _IDENTITY:
            raise ReplayUnavailable(
                f"The replay store {self._name} is the database of another program, or of a newer gate.",
                hint="Name a file of its own in the policy, or update the gate.",
            )


def open_store(uri: Uri, base: Path | None) -> SqliteStore:
    """The store of a `sqlite:` URI.

    Raises:
        UsageError: it names no path, or a relative one without `base`.
    """
    return SqliteStore(uri.path(base), uri.text)


def _lay_out(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        db.execute(statement)


def _touch(path: Path) -> None:
    """Make the file, for its owner only. Never opens one that exists: closing it would drop SQLite's locks on it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _close_all(idle: dict[int, list[sqlite3.Connection]]) -> None:
    for db in idle.get(os.getpid(), ()):
        db.close()


def _identity(db: sqlite3.Connection) -> tuple[int, int]:
    application, version = db.execute("SELECT * FROM pragma_application_id, pragma_user_version").fetchone()
    return application, version


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


def _prune(db: sqlite3.Connection, now: int) -> None:
    db.execute(
        "DELETE FROM uses WHERE jti IN (SELECT jti FROM uses WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
        (now - _KEEP, _PRUNE),
    )


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, OSError):
        return f"can't be used ({error.strerror})", "Check its path, and this user's rights on it and its folder."
    known = (trouble for phrase, trouble in _TROUBLES.items() if phrase in str(error))
    return next(known, ("can't be read or written", "Check the disk that it lies on."))
