"""Clocks that are wrong: none makes a store forget a use, and where one is known to be wrong the gate blocks."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.parts import Aws, clock_off_by
from tests.redisserver import RedisServer
from tests.test_cli import ABOUT, gate
from tests.world import World

DAY = 86400
SERVED = ["dynamodb", "redis"]  # by what has a clock of its own


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """A world of real time, on the store that a test asks for."""
    world = World(tmp_path, now=time.time())
    if request.param == "dynamodb":
        aws: Aws = request.getfixturevalue("aws")
        world.replay = f"dynamodb://{aws.table()}?region={aws.region}&endpoint={aws.endpoint}"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        world.replay = server.fresh()
    world.path.write_text(world.text)
    return world


def run(world: World, *command: str, days: int = 0) -> dict[str, Any]:
    """What the command says, with its clock off by that many days."""
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = gate(world.folder, *command, "--json", env=aws, under=clock_off_by(days) if days else ())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"exit": done.returncode}


def verify(world: World, token: str, days: int = 0) -> tuple[int, str]:
    """Exit code and reason of `gate verify` with that approval."""
    answer = run(world, "verify", *ABOUT, "--approval", token, days=days)
    return answer["exit"], answer["reason"]


def token(world: World, days: int = 0) -> str:
    """An approval of somebody whose clock is off by that many days."""
    return world.token(issued=int(time.time()) + days * DAY)


@pytest.mark.parametrize("world", ["sqlite", *SERVED], indirect=True)
def test_a_clock_that_jumped_forward_and_back_lets_nothing_be_used_again(
    world: World, request: pytest.FixtureRequest
) -> None:
    used = token(world)
    assert verify(world, used) == (0, "allowed")
    served = request.node.callspec.params["world"] in SERVED
    assert verify(world, token(world, 32), days=32) == ((3, "clock.mismatch") if served else (0, "allowed"))
    assert verify(world, used) == (1, "replay.used")


@pytest.mark.parametrize("world", SERVED, indirect=True)
@pytest.mark.parametrize("days", [-32, -2, 2])
def test_a_store_with_a_clock_of_its_own_takes_no_use_by_another(world: World, days: int) -> None:
    """By the store's clock a use may have expired that is new by the gate's, and so be forgotten at once."""
    assert verify(world, token(world, days), days=days) == (3, "clock.mismatch")
    assert verify(world, token(world)) == (0, "allowed")


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_clock_behind_the_newest_record_blocks_and_says_what_to_do(world: World) -> None:
    assert verify(world, token(world, 32), days=32) == (0, "allowed")
    answer = run(world, "verify", *ABOUT, "--approval", token(world))
    assert (answer["exit"], answer["decision"], answer["record"]) == (3, "error", None)
    assert answer["message"].startswith("This machine's clock is 2,76")
    assert "s behind record 1 of acme/shop/production, the newest in its audit stream" in answer["message"]
    for words in ("Synchronise the clock", "docs/operations.md", "used up"):
        assert words in answer["hint"]
    assert run(world, "verify", *ABOUT, "--dry-run")["reason"] == "clock.mismatch"


@pytest.mark.parametrize("world", ["sqlite", *SERVED], indirect=True)
def test_the_doctor_names_what_is_of_a_time_to_come(world: World) -> None:
    assert verify(world, token(world)) == (0, "allowed")
    [fine] = [found for found in run(world, "doctor")["findings"] if found["subject"] == "clock"]
    assert (fine["severity"], "not behind the stores" in fine["message"]) == ("ok", True)
    wrong = [found for found in run(world, "doctor", days=-2)["findings"] if found["severity"] == "error"]
    assert wrong
    assert all("behind" in found["message"] and "NTP" in found["fix"] for found in wrong), wrong
