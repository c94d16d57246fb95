"""SQLite: what can happen to a file, and to the processes that share it."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Finding, Head
from gate.replay import Replayed
from gate.replay.sqlite import SqliteStore
from tests.replay.material import NOW, ROOT, STREAM, Backend, answer, contenders, tell, use

_DAY = 24 * 3600


def _file(backend: Backend) -> Path:
    return backend.base / "state" / "replay.db"


def _refusal(store: SqliteStore) -> ReplayUnavailable:
    """The one error that every kind of access ends in."""
    errors = []
    for access in (
        lambda: store.consume([use("jti-1", "mine")]),
        lambda: list(store.consumed()),
        lambda: store.head(STREAM),
        lambda: store.advance(STREAM, Head(1, b"one", written=False), 0),
        lambda: list(store.heads()),
    ):
        with pytest.raises(ReplayUnavailable) as caught:
            access()
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    assert errors[0].reason == "replay.unavailable"
    assert errors[0].hint
    return errors[0]


def _only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_the_file_and_its_folder_are_private_from_the_start(sqlite: Backend) -> None:
    before = os.umask(0)
    try:
        sqlite.open().consume([use("jti-1", "mine")])
    finally:
        os.umask(before)
    assert stat.S_IMODE(_file(sqlite).stat().st_mode) == 0o600
    assert stat.S_IMODE(_file(sqlite).parent.stat().st_mode) == 0o700


def test_an_empty_file_of_the_user_is_taken_into_use(sqlite: Backend) -> None:
    _file(sqlite).parent.mkdir()
    _file(sqlite).touch(0o600)
    sqlite.open().consume([use("jti-1", "mine")])
    with pytest.raises(Replayed):
        sqlite.open().consume([use("jti-1", "theirs")])


def test_reading_makes_no_store(sqlite: Backend) -> None:
    store = sqlite.open()
    assert (store.head(STREAM), list(store.heads()), list(store.consumed())) == (None, [], [])
    assert list(sqlite.base.iterdir()) == []
    store.consume([use("jti-1", "mine")])
    assert [row.jti for row in store.consumed()] == ["jti-1"]


def test_a_link_to_nowhere_is_not_an_empty_store(sqlite: Backend) -> None:
    _file(sqlite).parent.mkdir()
    _file(sqlite).symlink_to("nowhere")
    assert "can't be opened" in _refusal(SqliteStore(_file(sqlite), "x")).message


def test_every_commit_is_durable(sqlite: Backend) -> None:
    store = SqliteStore(_file(sqlite), "x")
    with store.file.connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_processes_that_create_the_file_at_once_share_it(sqlite: Backend) -> None:
    for trial in range(3):
        backend = Backend(f"sqlite:trial-{trial}/replay.db", sqlite.base)
        with contenders(backend, 3) as processes:
            for n, process in enumerate(processes):
                tell(process, f"nonce-{n}", ["jti-1"])
            assert sorted(map(answer, processes)) == ["consumed", "replay.used", "replay.used"]


def test_no_use_is_forgotten_whatever_the_clock_says(sqlite: Backend) -> None:
    store = sqlite.open()
    store.consume([use(f"old-{n}", "mine", used_at=NOW - 90 * _DAY, expires_at=NOW - 89 * _DAY) for n in range(250)])
    for n in range(9):
        store.consume([use(f"later-{n}", "mine", used_at=NOW + n * 400 * _DAY)])
    with pytest.raises(Replayed):
        store.consume([use("old-0", "theirs")])
    assert len(list(store.consumed())) == 259


def test_consuming_uses_the_keys_not_the_rows(sqlite: Backend) -> None:
    store = SqliteStore(_file(sqlite), "x")
    queries: list[str] = []
    with store.file.connection() as db:
        db.set_trace_callback(queries.append)
    store.consume([use("jti-1", "mine")])
    with store.file.connection() as db:
        db.set_trace_callback(None)
        plans = [
            row[3]
            for query in queries
            if query.startswith(("SELECT", "DELETE"))
            for row in db.execute(f"EXPLAIN QUERY PLAN {query}")
        ]
    assert any("SEARCH uses USING" in plan for plan in plans)
    assert not any(plan.startswith("SCAN uses") for plan in plans)


def test_a_consumption_is_whole_or_absent_after_a_kill(sqlite: Backend) -> None:
    for trial in range(5):
        sets = [[f"jti-{trial}-{n}-{part}" for part in "abc"] for n in range(200)]
        with contenders(sqlite, 1) as (process,):
            for jtis in sets:
                tell(process, "mine", jtis)
            for _ in range(3 + 2 * trial):
                assert answer(process) == "consumed"
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
        held = {row.jti for row in sqlite.open().consumed()}
        consumed = [jtis for jtis in sets if set(jtis) & held]
        assert len(consumed) >= 3 + 2 * trial
        assert all(set(jtis) <= held for jtis in consumed)
        assert _only(sqlite.open().diagnose()).severity == "ok"
        sqlite.open().consume([use(jti, "mine") for jti in sets[0]])  # the answer was lost, but it is ours
        with pytest.raises(Replayed):
            sqlite.open().consume([use(jti, "theirs") for jti in consumed[-1]])


def test_a_transaction_that_was_never_committed_is_void(sqlite: Backend) -> None:
    sqlite.open().consume([use("jti-0", "mine")])
    script = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE uses SET jti = 'jti-1'")
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script, str(_file(sqlite))], check=False).returncode == 9
    sqlite.open().consume([use("jti-1", "theirs")])
    assert sorted(row.jti for row in sqlite.open().consumed()) == ["jti-0", "jti-1"]


def test_a_store_survives_a_fork(sqlite: Backend) -> None:
    script = """
import os, sys
from pathlib import Path
from gate.replay import Replayed, open_replay_store
from tests.replay.material import use
store = open_replay_store(sys.argv[1], Path(sys.argv[2]))
store.consume([use("jti-1", "mine")])
child = os.fork()
if not child:
    store.consume([use("jti-2", "mine")])
    try:
        store.consume([use("jti-1", "theirs")])
    except Replayed:
        os._exit(0)
    os._exit(1)
for n in range(50):
    store.consume([use(f"parent-{n}", "mine")])
assert os.waitpid(child, 0)[1] == 0
assert len(list(store.consumed())) == 52
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script, sqlite.uri, str(sqlite.base)], check=True, cwd=ROOT)


def test_an_unfinished_reading_stands_in_nobodys_way(sqlite: Backend) -> None:
    store = sqlite.open()
    store.consume([use(f"jti-{n}", "mine") for n in range(10)])
    reading = store.consumed()
    next(reading)
    store.consume([use("jti-10", "mine")])
    del reading
    assert len(list(store.consumed())) == 11


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _torn(path: Path) -> None:
    SqliteStore(path, "x").consume([use("jti-1", "mine")])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 8)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE uses (jti)")


def _newer(path: Path) -> None:
    SqliteStore(path, "x").consume([use("jti-1", "mine")])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


def _directory(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere") / "replay.db")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_garbage, "is not an SQLite database"),
        (_torn, "is damaged"),
        (_foreign, "is the database of another program"),
        (_newer, "or of a newer gate"),
        (_directory, "can't be opened"),
        (_dangling, "can't be opened"),
    ],
)
def test_what_is_no_store_of_ours_blocks(tmp_path: Path, spoil: object, expected: str) -> None:
    path = tmp_path / "replay.db"
    assert callable(spoil)
    spoil(path)
    store = SqliteStore(path, "sqlite:replay.db")
    error = _refusal(store)
    assert str(error).startswith("The replay store sqlite:replay.db ")
    assert expected in str(error)
    assert str(tmp_path) not in f"{error}{error.hint}"
    assert _only(store.diagnose()).severity == "error"


@pytest.mark.parametrize("path", ["/proc/deploy-gate/replay.db", "/dev/null/replay.db"])
def test_a_place_where_no_file_can_be_blocks(path: str) -> None:
    store = SqliteStore(Path(path), "x")
    with pytest.raises(ReplayUnavailable, match="can't be used"):
        store.consume([use("jti-1", "mine")])
    with pytest.raises(ReplayUnavailable, match="can't be used"):
        store.advance(STREAM, Head(1, b"one", written=False), 0)


def test_a_place_that_can_not_be_looked_at_is_not_an_empty_store() -> None:
    with pytest.raises(ReplayUnavailable, match="can't be used"):
        SqliteStore(Path("/dev/null/replay.db"), "x").head(STREAM)


def test_a_lock_that_stays_blocks_in_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "replay.db"
    SqliteStore(path, "x").consume([use("jti-0", "mine")])
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        store = SqliteStore(path, "x", patience=0.2)
        with pytest.raises(ReplayUnavailable, match="stays locked by another process"):
            store.consume([use("jti-1", "mine")])
        assert _only(store.diagnose()).severity == "error"
        holder.execute("ROLLBACK")
    store.consume([use("jti-1", "mine")])


_AS_ANYBODY = """
import os, resource, signal, sys
from pathlib import Path
from gate.errors import ReplayUnavailable
from gate.replay import Replayed
from gate.replay.sqlite import SqliteStore
from tests.replay.material import use
if os.geteuid() == 0:
    os.setuid(65534)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(Path(sys.argv[1]), "sqlite:replay.db")
"""


def _run(script: str, path: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", _AS_ANYBODY + script, str(path)]
    # "Anybody" could not write the coverage data either.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, capture_output=True)
    assert not done.stderr
    return done.stdout


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with TemporaryDirectory(prefix="deploy-gate-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o444, 0o555), (0o000, 0o755)])
def test_a_read_only_file_blocks(reachable: Path, file_mode: int, folder_mode: int) -> None:
    path = reachable / "state" / "replay.db"
    SqliteStore(path, "x").consume([use("jti-0", "mine")])
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    said = _run(
        """
try:
    store.consume([use("jti-1", "mine")])
except ReplayUnavailable as error:
    print(error)
print([finding.severity for finding in store.diagnose()])
""",
        path,
    )
    assert "can't be" in said
    assert "['error']" in said


def test_a_disk_that_takes_no_more_blocks_and_nothing_is_partly_consumed(reachable: Path) -> None:
    said = _run(
        """
store.consume([use("jti-0", "mine")])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, unlimited[1]))
for n in range(10_000):
    jtis = [f"jti-{n}-{part}" for part in range(20)]
    try:
        store.consume([use(jti, "mine") for jti in jtis])
    except ReplayUnavailable as error:
        print(error)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
held = {row.jti for row in store.consumed()}
print(len(held & set(jtis)), (len(held) - 1) % 20)
try:
    store.consume([use("jti-0", "theirs")])
except Replayed:
    print("remembered")
""",
        reachable / "replay.db",
    )
    lines = said.splitlines()
    assert lines[0].startswith("The replay store sqlite:replay.db can't be ")
    assert lines[1:] in (["0 0", "remembered"], ["20 0", "remembered"])


def test_the_doctor_looks_before_the_first_use(sqlite: Backend) -> None:
    assert "not there yet" in _only(sqlite.open().diagnose()).message
    assert not _file(sqlite).exists()
    sqlite.open().consume([use("jti-1", "mine")])
    assert _only(sqlite.open().diagnose()).severity == "ok"
    _file(sqlite).chmod(0o620)
    finding = _only(sqlite.open().diagnose())
    assert (finding.severity, finding.fix) == ("warning", "Run chmod go-w on it.")
