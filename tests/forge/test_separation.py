"""Separation of duties over many deployments: whatever ships, nobody approves what they wrote."""

from pathlib import Path

import pytest

from gate.forge.git import LocalGit
from tests.world import ALICE, BOB, CAROL, World, commit, git

AUTHOR = "approver.is_author"


class Shop:
    """A clone whose first commit, by Carol, was approved by Bob and deployed."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        (folder / "world").mkdir()
        self.world = World(folder / "world", separation=True)
        self.first = self.commit(CAROL)
        assert self.deploy(self.first, BOB) == "allowed"

    def commit(self, author: str, on: str = "") -> str:
        """A commit by `author`, on top of `on` where that is given."""
        if on:
            git(self.clone, "checkout", "-q", on)
        return commit(self.clone, "work", author)

    def deploy(self, sha: str, approver: str) -> str:
        """What the gate answers to a run that somebody else started."""
        git(self.clone, "checkout", "-q", sha)
        gate = self.world.gate(history=LocalGit(self.clone), checkout=self.clone)
        deployment = self.world.deployment(sha=sha, actors=("deployer",))
        return gate.check([self.world.token(approver, sha=sha)], deployment).reason

    def spam(self) -> None:
        """Denials, as whoever may start runs can cause them."""
        for _ in range(70):
            assert self.world.gate().check(["no.token"], self.world.deployment()).reason == "token.malformed"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_one_s_own_commit(shop: Shop) -> None:
    assert shop.deploy(shop.commit(ALICE), ALICE) == AUTHOR


@pytest.mark.parametrize("spam", [False, True])
def test_a_commit_that_shipped_only_under_its_revert(shop: Shop, *, spam: bool) -> None:
    backdoor = shop.commit(ALICE)
    assert shop.deploy(shop.commit(ALICE), BOB) == "allowed"
    if spam:
        shop.spam()
    assert shop.deploy(backdoor, ALICE) == AUTHOR
    assert shop.deploy(backdoor, BOB) == "allowed"


def test_a_branch_off_a_commit_that_shipped_only_under_its_revert(shop: Shop) -> None:
    backdoor = shop.commit(ALICE)
    assert shop.deploy(shop.commit(ALICE), BOB) == "allowed"
    branched = shop.commit(CAROL, on=backdoor)
    assert shop.deploy(branched, ALICE) == AUTHOR
    assert shop.deploy(branched, BOB) == "allowed"


def test_a_commit_that_somebody_else_turned_on_again(shop: Shop) -> None:
    backdoor = shop.commit(ALICE)
    tip = shop.commit(ALICE)
    assert shop.deploy(tip, BOB) == "allowed"
    assert shop.deploy(shop.commit(CAROL, on=tip), ALICE) == "allowed"
    assert shop.deploy(backdoor, ALICE) == AUTHOR


@pytest.mark.parametrize("spam", [False, True])
def test_a_rollback_to_what_was_allowed(shop: Shop, *, spam: bool) -> None:
    second = shop.commit(ALICE)
    assert shop.deploy(second, BOB) == "allowed"
    assert shop.deploy(shop.commit(BOB), CAROL) == "allowed"
    if spam:
        shop.spam()
    assert shop.deploy(second, ALICE) == "allowed"
    assert shop.deploy(shop.first, CAROL) == "allowed"


def test_a_hotfix_of_an_older_release(shop: Shop) -> None:
    assert shop.deploy(shop.commit(ALICE), BOB) == "allowed"
    fix = shop.commit(CAROL, on=shop.first)
    assert shop.deploy(fix, CAROL) == AUTHOR
    assert shop.deploy(fix, ALICE) == "allowed"


def test_a_release_that_was_pushed_away(shop: Shop) -> None:
    gone = shop.commit(ALICE)
    assert shop.deploy(gone, BOB) == "allowed"
    git(shop.clone, "checkout", "-q", shop.first)
    git(shop.clone, "branch", "-q", "-f", "main", shop.first)
    git(shop.clone, "reflog", "expire", "--expire=now", "--all")
    git(shop.clone, "gc", "-q", "--prune=now")
    again = shop.commit(CAROL, on=shop.first)
    assert shop.deploy(again, CAROL) == AUTHOR
    assert shop.deploy(again, ALICE) == "allowed"


def test_a_history_of_its_own(shop: Shop) -> None:
    git(shop.clone, "checkout", "-q", "--orphan", "other")
    assert shop.deploy(commit(shop.clone, "another history", CAROL), BOB) == AUTHOR
