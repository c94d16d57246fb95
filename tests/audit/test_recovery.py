"""A replay store that was lost: what the hint says leads out of it, and lets no blocked run pass for an allowed one."""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from gate.chain import append, newest
from gate.deployment import Deployment
from gate.doctor import examine_stores
from gate.errors import AuditUnavailable
from gate.models import Commit, Decision, Head
from gate.proof import Fault, Step, prove
from gate.record import Entry, compose, digest, parse
from gate.replay.memory import MemoryStore
from tests.audit.book import STREAM, entry, sha
from tests.world import BOB, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, now=int(time.time()))


class Quiet:
    """A history in which nothing is new."""

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        """None, whatever was allowed before."""
        next(iter(allowed), None)
        return []

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """None of them."""
        return None


def deployment(world: World, number: int) -> Deployment:
    return world.deployment(sha=sha(number), actors=("deployer",))


def run(world: World, number: int) -> Decision:
    return world.gate(history=Quiet()).check([world.token(BOB, sha=sha(number))], deployment(world, number))


def lose(world: World) -> None:
    for file in world.folder.glob("replay.db*"):
        file.unlink()


def allowed(world: World) -> list[str]:
    """The commits that the log says were allowed; the log must be proved."""
    loaded = world.loaded()
    events = list(prove(loaded.audit_log(), loaded.replay_store(), [loaded.policy], int(world.now) + 9 * 86400))
    assert [event for event in events if isinstance(event, Fault)] == []
    return [event.record.deployment.sha for event in events if isinstance(event, Step) and event.record.allowed]


def blocked(world: World) -> Decision:
    """Two runs that are allowed, a store that is lost, and two more runs, which are blocked."""
    assert run(world, 1).allowed
    assert run(world, 2).allowed
    lose(world)
    assert run(world, 3).reason == "audit.unavailable"
    decision = run(world, 4)
    assert (decision.reason, decision.decision) == ("audit.unavailable", "error")
    return decision


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_following_the_recipe_leaves_no_blocked_run_that_stands_as_allowed(world: World, way: str) -> None:
    hint = blocked(world).hint
    for words in ("the longest max_age", "new replay store", "remove replay.db", "new audit prefix", "used up"):
        assert words in hint
    world.now += 15 * 60 + 31
    if way == "removed":
        lose(world)
    else:
        world.replay = "sqlite:replay-2.db"
    world.audit = "file:audit-2"
    assert run(world, 5).allowed
    assert run(world, 6).allowed
    assert allowed(world) == [sha(5), sha(6)]


def test_of_a_store_that_was_lost_no_blocked_run_stands_as_allowed_in_the_next_log(world: World) -> None:
    blocked(world)
    world.audit = "file:audit-2"
    assert run(world, 5).allowed
    assert allowed(world) == [sha(5)]


def keep(world: World) -> None:
    with closing(sqlite3.connect(world.folder / "replay.db")) as db:
        db.execute("VACUUM INTO ?", (str(world.folder / "backup"),))


def restore(world: World) -> None:
    lose(world)
    (world.folder / "backup").rename(world.folder / "replay.db")


def told(world: World) -> list[str]:
    """What the doctor and the proof find."""
    loaded = world.loaded()
    stores = loaded.replay_store(), loaded.audit_log()
    wrong = [finding for finding in examine_stores(*stores, int(world.now)) if finding.severity == "error"]
    events = prove(stores[1], stores[0], [loaded.policy], int(world.now) + 9 * 86400)
    faults = [event for event in events if isinstance(event, Fault) and event.kind != "unrecorded"]
    return [f"{finding.message} {finding.fix}" for finding in wrong] + [
        f"{each.kind} {each.message}" for each in faults
    ]


def files(world: World) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (world.folder / "audit").rglob("*") if path.is_file()}


@pytest.mark.parametrize("separation", [False, True])
@pytest.mark.parametrize("what", ["lost", "older"])
def test_a_blocked_run_writes_to_neither_store_and_changes_nothing_of_what_is_said(
    world: World, what: str, *, separation: bool
) -> None:
    world.separation = separation
    assert run(world, 1).allowed
    keep(world)
    assert run(world, 2).allowed
    assert run(world, 3).allowed
    (lose if what == "lost" else restore)(world)
    before, log = told(world), files(world)
    assert [("altered" in line, "inserted" in line) for line in before] == [(False, False)] * 2
    dry = world.gate(history=Quiet()).preflight(deployment(world, 4))
    assert dry.reason == "audit.unavailable"
    for number in (4, 5):
        decision = run(world, number)
        assert decision.reason == "audit.unavailable"
        assert decision.message == dry.message
        ends = "has no record" if what == "lost" else "ends at record 1"
        assert f"older than the audit log: in it acme/shop/production {ends}; the log goes on" in decision.message
        assert "restored from an older copy" in decision.hint
        assert "new audit prefix" in decision.hint
    assert told(world) == before
    assert files(world) == log
    head = world.loaded().replay_store().head(deployment(world, 4).stream)
    assert head is None if what == "lost" else head and head.seq == 1


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("written", [2, 3])
def test_what_a_blocked_run_of_an_earlier_gate_left_in_an_older_store_is_no_altered_log(
    world: World, kept: int, written: int
) -> None:
    """It advanced the head first, and found then that the log goes on. Its record follows the same as the log's."""
    for number in range(1, written + 1):
        assert run(world, number).allowed
    loaded, store = world.loaded(), MemoryStore()
    log = loaded.audit_log()
    before = log.get(STREAM, kept)
    left = Head(kept + 1, on_top_of(before, entry(world, 9)), written=False)
    assert store.advance(STREAM, left, 0)
    [finding] = [each for each in examine_stores(store, log, int(world.now)) if each.severity == "error"]
    assert "older than the audit log" in finding.message
    faults = [each for each in prove(log, store, [loaded.policy], int(world.now)) if isinstance(each, Fault)]
    assert [(fault.kind, fault.first, fault.last) for fault in faults] == [("unanchored", kept + 1, written)]
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="older than the audit log"):
            append(log, store, entry(world, 10))
    with pytest.raises(AuditUnavailable, match="older than the audit log"):
        list(newest(log, store, STREAM))
    assert store.head(STREAM) == left


def on_top_of(before: bytes | None, made: Entry) -> bytes:
    """A record that follows the record `before`."""
    return compose(made, parse(before), digest(before)) if before else compose(made, None)
