"""One SQLite file as a store: safe between the processes and threads of one machine.

A commit is on the disk before it counts (WAL, `synchronous=FULL`). Not for network file systems, whose locks lie.

Even to read, SQLite writes an index beside a file in WAL mode. Where it can't, on a full disk or a read-only one, the
file is read as it is, unless something unfinished stands beside it.
"""

import os
import sqlite3
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gate.errors import GateError
from gate.files import ADVICE, check_room
from gate.models import Finding

# What SQLite says, and what that means: the message, and what to do next ("" where that depends on what is in it).
_TROUBLES = {
    "locked": ("stays locked by another process", "Find what holds it (e.g. with fuser), or try again."),
    "full": ("can't be written: the disk is full", "Make room on its disk."),
    "readonly": ("can't be written: it is read-only", "Give this user the right to write it and its folder."),
    "unable to open": ("can't be opened", "Check its path, and this user's rights on it and its folder."),
    "malformed": ("is damaged", ""),
    "not a database": ("is not an SQLite database", "Check its path."),
}


class Purpose(NamedTuple):
    """What a file is for. `what` names it in messages, and `error` is what is raised where it can't be used.

    `application_id` and `version` tell whose database it is, and of which layout; `schema` are the statements that lay
    it out. `if_damaged` says what to do once it is.
    """

    what: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    error: type[GateError]
    if_damaged: str


class SqliteFile:
    """The file `path`, called `name` in messages; the first write makes it. It waits `patience` seconds for a lock.

    Every method raises the purpose's `error` where the file can't be used.
    """

    def __init__(self, path: Path, name: str, purpose: Purpose, patience: float) -> None:
        self._path = path
        self._name = name
        self._purpose = purpose
        self._patience = patience
        # Idle connections by process id: one that crosses a fork must be neither used nor closed there.
        self._idle: defaultdict[int, list[sqlite3.Connection]] = defaultdict(list)
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with. Where there is no file yet it reads an empty one, and makes none."""
        if not self._idle[os.getpid()] and not self._exists():
            with closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as db:
                self._lay_out(db)
                yield db
            return
        with self.connection() if self._opens() else self._as_it_is() as db:
            yield db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that alone may write; what was written counts once the block has ended well."""
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
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

    def _opens(self) -> bool:
        """Whether SQLite can open the file; False where nothing can be written beside it."""
        idle = self._idle[os.getpid()]
        try:
            if not idle:
                idle.append(self._open())
        except (sqlite3.Error, OSError) as error:
            if self._cause(error) is error:
                raise self._unavailable(error) from None
            return False
        return True

    @contextmanager
    def _as_it_is(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads the file alone, and neither writes nor locks anything.

        It would not see what another process has yet to bring from beside the file into it, and would see that half
        done; so nothing may stand beside it, before and after.
        """
        try:
            before = self._state()
            with closing(self._connect("mode=ro&immutable=1")) as db:
                self._check_ours(db)
                yield db
            unchanged = self._state() == before
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from None
        if not unchanged:
            raise self._purpose.error(
                f"The {self._purpose.what} {self._name} was written while it was read.", hint="Try again."
            )

    def _state(self) -> tuple[int, int, int]:
        """What changes with the file."""
        path = self._path.resolve()  # where SQLite puts them, too
        for beside in (Path(f"{path}-wal"), Path(f"{path}-journal")):
            if beside.exists() and beside.stat().st_size:
                raise self._purpose.error(
                    f"The {self._purpose.what} {self._name} can't be read without finishing what stands in "
                    f"{beside.name}, and nothing can be written there.",
                    hint="Copy it, and what begins like it beside it, to where it can be written; use that copy.",
                )
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def diagnose(self) -> Iterator[Finding]:
        """What the doctor should say about this file; never raises for one that is merely broken."""
        subject = f"{self._purpose.what} {self._name}"
        if not os.path.lexists(self._path):
            yield self._not_there(subject)
            return
        try:
            with self.transaction() as db:
                db.execute(f"PRAGMA user_version = {self._purpose.version}")  # changes nothing, but has to be written
                check_room(self._path.parent)
                others_may_write = self._path.stat().st_mode & 0o022
            with self.connection() as db:
                sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except self._purpose.error as error:
            yield Finding("error", subject, error.message, error.hint)
            return
        if not sound:
            yield Finding("error", subject, "is damaged", self._purpose.if_damaged)
        elif others_may_write:
            yield Finding("warning", subject, "others than its owner can write it", "Run chmod go-w on it.")
        else:
            yield Finding("ok", subject, "can be written, and is sound")

    def _not_there(self, subject: str) -> Finding:
        nearest = next(folder for folder in self._path.absolute().parents if os.path.lexists(folder))
        try:
            check_room(nearest)
        except OSError as error:
            message, fix = _explain(error)
            return Finding("error", subject, f"can't be made: {nearest} {message}", fix)
        return Finding("ok", subject, "is not there yet; its first use creates it")

    def _exists(self) -> bool:
        """Whether something stands at the path, be it a link to nowhere, but for a file that is still empty."""
        try:
            return self._path.lstat().st_size > 0
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> GateError:
        message, hint = _explain(self._cause(error))
        return self._purpose.error(
            f"The {self._purpose.what} {self._name} {message}.", hint=hint or self._purpose.if_damaged
        )

    def _cause(self, error: Exception) -> Exception:
        """What the operating system says, where SQLite only says that it could not."""
        if isinstance(error, sqlite3.OperationalError) and "locked" not in str(error):
            try:
                check_room(self._path.parent)
            except OSError as cause:
                return cause
        return error

    def _connect(self, query: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self._path))}?{query}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
        )

    def _open(self) -> sqlite3.Connection:
        if not os.path.lexists(self._path):
            _touch(self._path)
        db = self._connect("mode=rw")
        try:
            db.execute("PRAGMA synchronous = FULL")
            if not self._is_ours(db):
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
            self._lay_out(db)
        db.execute("COMMIT")
        self._check_ours(db)

    def _check_ours(self, db: sqlite3.Connection) -> None:
        if not self._is_ours(db):
            raise self._purpose.error(
                f"The {self._purpose.what} {self._name} is the database of another program, or of a newer gate.",
                hint="Name a file of its own, or update the gate.",
            )

    def _lay_out(self, db: sqlite3.Connection) -> None:
        for statement in self._purpose.schema:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {self._purpose.application_id}")
        db.execute(f"PRAGMA user_version = {self._purpose.version}")

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        identity = db.execute("SELECT * FROM pragma_application_id, pragma_user_version").fetchone()
        return bool(identity == (self._purpose.application_id, self._purpose.version))


def _touch(path: Path) -> None:
    """Make the file, for its owner only. Never opens one that exists: closing it would drop SQLite's locks on it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _close_all(idle: dict[int, list[sqlite3.Connection]]) -> None:
    for db in idle.get(os.getpid(), ()):
        db.close()


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, OSError):
        rights = "Check its path, and this user's rights on it and its folder."
        why = (error.strerror or "input/output error").lower()
        return f"can't be used ({why})", ADVICE.get(error.errno or 0, rights)
    known = (trouble for phrase, trouble in _TROUBLES.items() if phrase in str(error))
    return next(known, ("can't be read or written", "Check the disk that it lies on."))
