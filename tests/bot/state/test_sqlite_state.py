"""The state in SQLite: its file, and what can happen to it."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gate.bot.errors import Unavailable
from gate.bot.state import State
from gate.bot.state.sqlite import SqliteState
from gate.bot.web import status_of
from gate.replay.sqlite import SqliteStore
from tests.bot.state.material import LATER, NOW, Place, contenders, document, put, said
from tests.replay.material import tell, use


def _file(place: Place) -> Path:
    return place.base / "state" / "bot.db"


def _refusal(state: State) -> Unavailable:
    """The one error that every kind of access ends in."""
    errors = []
    for access in (
        lambda: put(state, "a", "one"),
        lambda: state.get("request", "a", NOW),
        lambda: state.take("request", "a", NOW),
        lambda: list(state.list("request", NOW)),
    ):
        with pytest.raises(Unavailable) as caught:
            access()
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    assert (errors[0].reason, status_of(errors[0])) == ("bot.unavailable", 503)
    assert errors[0].hint
    return errors[0]


def test_the_file_and_its_folder_are_private_from_the_start(sqlite: Place) -> None:
    before = os.umask(0)
    try:
        put(sqlite.open(), "a", "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(_file(sqlite).stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in _file(sqlite).parent.iterdir()} == {0o600}
    assert stat.S_IMODE(_file(sqlite).parent.stat().st_mode) == 0o700


def test_every_commit_is_durable(sqlite: Place) -> None:
    with SqliteState(_file(sqlite), "x").file.connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_reading_makes_no_file(sqlite: Place) -> None:
    state = sqlite.open()
    assert state.get("request", "a", NOW) is None
    assert list(state.list("request", NOW)) == []
    (finding,) = state.diagnose()
    assert "not there yet" in finding.message
    assert list(sqlite.base.iterdir()) == []
    put(state, "a", "one")
    assert state.get("request", "a", NOW) == document("a", "one")


def test_processes_that_make_the_file_at_once_share_it(sqlite: Place) -> None:
    for trial in range(3):
        with contenders(Place(f"sqlite:trial-{trial}/bot.db", sqlite.base), 3) as processes:
            for n, process in enumerate(processes):
                tell(process, "put", ["a", str(n)])
            assert sorted(said(processes)) == ["lost", "lost", "won"]


def test_expired_documents_are_pruned_a_few_at_a_time(sqlite: Place) -> None:
    state = SqliteState(_file(sqlite), "x")
    for n in range(25):
        put(state, f"old-{n}", "one")
    put(state, "young", "one", expires_at=LATER + 1)
    counts = []
    for n in range(4):
        put(state, f"new-{n}", "one", now=LATER, expires_at=LATER + 9)
        with state.file.connection() as db:
            counts.append(db.execute("SELECT count(*) FROM documents").fetchone()[0])
    assert counts == [17, 8, 4, 5]
    assert {found.key for found in state.list("request", LATER)} == {"young", "new-0", "new-1", "new-2", "new-3"}


def test_every_access_uses_the_keys_not_the_rows(sqlite: Place) -> None:
    state = SqliteState(_file(sqlite), "x")
    put(state, "a", "one")
    queries: list[str] = []
    with state.file.connection() as db:
        db.set_trace_callback(queries.append)
    state.get("request", "a", NOW)
    put(state, "a", "two", expected=1)
    list(state.list("request", NOW))
    state.take("request", "a", NOW)
    with state.file.connection() as db:
        db.set_trace_callback(None)
        asked = [query for query in queries if query.startswith(("SELECT", "DELETE", "INSERT"))]
        plans = [row[3] for query in asked for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert len(asked) >= 8
    assert any(plan.startswith("SEARCH documents USING") for plan in plans)
    assert not any("SCAN documents" in plan or "TEMP B-TREE" in plan for plan in plans)


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _torn(path: Path) -> None:
    put(SqliteState(path, "x"), "a", "x" * 50_000)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 20)


def _replay_store(path: Path) -> None:
    SqliteStore(path, "x").consume([use("jti-1", "mine")])


def _newer(path: Path) -> None:
    put(SqliteState(path, "x"), "a", "one")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere") / "bot.db")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_garbage, "is not an SQLite database"),
        (_torn, "is damaged"),
        (_replay_store, "is the database of another program"),
        (_newer, "or of a newer gate"),
        (Path.mkdir, "can't be opened"),
        (_dangling, "can't be opened"),
    ],
)
def test_what_is_no_state_of_ours_is_unavailable(
    tmp_path: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    path = tmp_path / "bot.db"
    spoil(path)
    state = SqliteState(path, "sqlite:bot.db")
    error = _refusal(state)
    assert str(error).startswith("The deploy-bot's state sqlite:bot.db ")
    assert expected in str(error)
    assert str(tmp_path) not in f"{error}{error.hint}"
    (finding,) = state.diagnose()
    assert finding.severity == "error"
    assert finding.fix


@pytest.mark.parametrize("value", ["[]", "{", "", "null"])
def test_a_document_that_no_bot_wrote_is_unavailable(sqlite: Place, value: str) -> None:
    state = SqliteState(_file(sqlite), "sqlite:bot.db")
    put(state, "a", "one")
    with state.file.transaction() as db:
        db.execute("UPDATE documents SET value = ?", (value,))
    for access in (
        lambda: state.get("request", "a", NOW),
        lambda: state.take("request", "a", NOW),
        lambda: list(state.list("request", NOW)),
    ):
        with pytest.raises(Unavailable, match="holds a document that no bot wrote"):
            access()
    assert put(state, "a", "two", expected=1)


def test_a_lock_that_stays_is_unavailable_in_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    put(SqliteState(path, "x"), "a", "one")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        state = SqliteState(path, "x", patience=0.2)
        with pytest.raises(Unavailable, match="stays locked by another process"):
            put(state, "a", "two", expected=1)
        assert state.get("request", "a", NOW) == document("a", "one")
        holder.execute("ROLLBACK")
    assert put(state, "a", "two", expected=1)
