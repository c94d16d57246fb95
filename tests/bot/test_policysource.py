"""The policy as a running bot sees it: changed, broken, gone, in S3."""

import re
from pathlib import Path

import pytest

from gate.bot.errors import Unavailable
from gate.bot.policysource import PolicySource
from tests.parts import Aws
from tests.world import World


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_change_is_seen_after_two_seconds_and_not_read_before(world: World) -> None:
    clock = Clock()
    source = PolicySource(str(world.path), clock=clock)
    first = source.current()
    assert first.policy.environments["production"].approvals == 1
    world.path.write_text(world.text.replace("approvals: 1", "approvals: 2"))
    clock.now = 1.9
    assert source.current() is first
    clock.now = 2.0
    assert source.current().policy.environments["production"].approvals == 2
    second = source.current()
    clock.now = 10.0
    assert source.current() is second  # the file is the same: it is not compiled again


@pytest.mark.parametrize("damage", ["broken", "gone", "folder"])
def test_a_broken_or_missing_policy_is_not_replaced_by_the_old_one(world: World, damage: str) -> None:
    clock = Clock()
    source = PolicySource(str(world.path), clock=clock)
    source.current()
    world.path.unlink()
    if damage == "broken":
        world.path.write_text("version: 1\n")
    if damage == "folder":
        world.path.mkdir()
    clock.now = 2.0
    for _ in range(2):
        with pytest.raises(Unavailable, match="policy can't be used"):
            source.current()
    if damage == "folder":
        world.path.rmdir()
    world.path.write_text(world.text)
    with pytest.raises(Unavailable):
        source.current()  # not asked again all the time
    clock.now = 4.0
    assert source.current().policy.environments


@pytest.mark.parametrize("name", ["gate.yaml", "our gate.yaml"])
def test_nobody_is_named_to_whoever_asks(world: World, name: str) -> None:
    """What is wrong goes to strangers' jobs, and into logs; the doctor tells the rest."""
    path = world.path.with_name(name)
    path.write_text(world.text.replace("people:\n", "people:\n  alice@example.com: {emails: [bob@example.com]}\n", 1))
    with pytest.raises(Unavailable, match=rf"can't be used: {re.escape(name)}: Line \d+ is wrong\.$") as caught:
        PolicySource(str(path)).current()
    assert "example.com" not in caught.value.message + caught.value.hint


def test_one_that_was_never_there_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        PolicySource(str(tmp_path / "none.yaml")).current()


def test_s3(aws: Aws, world: World) -> None:
    bucket, s3, clock = aws.bucket(), aws.client("s3"), Clock()
    location = f"s3://{bucket}/gate.yaml?region={aws.region}&endpoint={aws.endpoint}"
    text = world.text.replace("sqlite:replay.db", '"memory:"').replace("file:audit", f"s3://{bucket}/audit?region=x")
    source = PolicySource(location, clock=clock)
    with pytest.raises(Unavailable, match="S3"):
        source.current()
    s3.put_object(Bucket=bucket, Key="gate.yaml", Body=text.encode())
    clock.now = 2.0
    assert source.current().policy.environments["production"].approvals == 1
    s3.put_object(Bucket=bucket, Key="gate.yaml", Body=text.replace("approvals: 1", "approvals: 2").encode())
    clock.now = 61.0
    assert source.current().policy.environments["production"].approvals == 1
    clock.now = 62.0
    assert source.current().policy.environments["production"].approvals == 2
    s3.delete_object(Bucket=bucket, Key="gate.yaml")
    clock.now = 200.0
    with pytest.raises(Unavailable):
        source.current()
