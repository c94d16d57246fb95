"""A replay store that was lost: what the hint says leads out of it, and lets no blocked run pass for an allowed one."""

import time
from pathlib import Path

import pytest

from gate.models import Decision
from gate.proof import Fault, Step, prove
from tests.audit.book import sha
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, now=int(time.time()))


def run(world: World, number: int) -> Decision:
    token, deployment = world.token(sha=sha(number)), world.deployment(sha=sha(number))
    return world.gate().check([token], deployment)


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


def test_half_of_the_recipe_is_what_the_other_half_is_for(world: World) -> None:
    blocked(world)
    world.audit = "file:audit-2"
    assert run(world, 5).allowed
    assert sha(3) in allowed(world)  # it was blocked: docs/audit.md, "What is not proved"
