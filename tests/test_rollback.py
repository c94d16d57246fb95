"""A rollback is told as one: in the decision, its check and its record; and what can't be told changes none."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from gate.forge import History
from gate.forge.git import LocalGit
from gate.models import Commit, Decision
from gate.rollback import rollback
from tests.world import BOB, CAROL, World, commit, git

APPROVED = f"Approved by {BOB}."


class Shop:
    """A clone of five commits by Carol, and a gate that asks for separate duties."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        (folder / "world").mkdir()
        self.world = World(folder / "world", separation=True)
        self.history: History = LocalGit(self.clone)
        self.shas = [commit(self.clone, f"release {number}", CAROL) for number in range(5)]

    def deploy(self, sha: str) -> Decision:
        """What the gate says of a deployment that Bob approved."""
        deployment = self.world.deployment(sha=sha, actors=("deployer",))
        gate = self.world.gate(history=self.history)
        return gate.check([self.world.token(BOB, sha=sha)], deployment)

    def told(self, sha: str) -> str:
        """What it says of one that it allows, beyond who approved."""
        decision = self.deploy(sha)
        assert decision.allowed, decision.message
        assert decision.message.startswith(APPROVED)
        return decision.message.removeprefix(APPROVED).lstrip()


class Broken:
    """The history of `clone`, which fails with a bug when it is asked a second time."""

    def __init__(self, clone: Path) -> None:
        self.clone, self.asked = LocalGit(clone), 0

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> Iterable[Commit]:
        """See `History.commits`."""
        self.asked += 1
        if self.asked > 1:
            raise KeyError("a bug")
        return self.clone.commits(repository, allowed, sha)

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """See `History.holds`."""
        return self.clone.holds(repository, shas)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_commit_between_two_that_were_allowed_goes_back_past_the_newer(shop: Shop) -> None:
    assert shop.told(shop.shas[0]) == ""
    assert shop.told(shop.shas[3]) == ""
    back = f"This goes back by 2 commits, past {shop.shas[3][:12]}, which was allowed last."
    decision = shop.deploy(shop.shas[1])
    assert decision.message == f"{APPROVED} {back}"
    assert next(check.actual for check in decision.checks if check.name == "separation") == f"1 commit. {back}"
    assert back in next(iter((shop.world.folder / "audit").rglob("*3.json"))).read_text(), "the record says it, too"
    assert shop.told(shop.shas[4]) == "", "on top of all of them"


def test_the_same_commit_again_goes_back_only_if_another_was_allowed_since(shop: Shop) -> None:
    first, second, *_ = shop.shas
    assert [shop.told(sha) for sha in (first, first, second, second)] == [""] * 4
    assert shop.told(first) == f"This goes back by 1 commit, past {second[:12]}, which was allowed last."
    assert shop.told(second) == "", "after a rollback that is forward again"


def test_all_that_it_goes_past_are_counted_and_the_newest_named(shop: Shop) -> None:
    _, two, three, four, five = (sha[:12] for sha in shop.shas)
    for sha in shop.shas[:4]:
        shop.told(sha)
    last = "which was allowed last"
    assert shop.told(shop.shas[0]) == f"This goes back by 3 commits, past {four}, {last}, {three} and {two}."
    more = f"This goes back by 4 commits, past {five}, {last}, {two} and {four}."
    assert rollback(shop.history, "acme/shop", [shop.shas[n] for n in (4, 1, 3, 0)], shop.shas[0]) == more
    many = rollback(shop.history, "acme/shop", [shop.shas[n] for n in (4, 3, 2, 1, 0)], shop.shas[0])
    assert many == f"This goes back by 4 commits, past {five}, {last}, {four}, {three} and 1 more that were allowed."


def test_a_commit_of_another_branch_than_the_last_one_is_not_built_on_it(shop: Shop) -> None:
    shop.told(shop.shas[1])
    shop.told(shop.shas[3])
    git(shop.clone, "checkout", "-q", shop.shas[1])
    hotfix = commit(shop.clone, "hotfix", CAROL)
    back = f"This goes back: it is not built on {shop.shas[3][:12]}, which was allowed last."
    assert shop.told(hotfix) == back


def test_a_bug_while_it_is_told_changes_no_decision(shop: Shop) -> None:
    shop.told(shop.shas[0])
    shop.told(shop.shas[1])
    shop.history = Broken(shop.clone)
    back = f"This goes back: it is not built on {shop.shas[1][:12]}, which was allowed last."
    assert shop.told(shop.shas[0]) == back
    assert shop.history.asked == 3, "it was asked for the commits, and twice how far"


def test_what_a_history_found_to_be_below_after_all_does_not_go_back(shop: Shop) -> None:
    """Two histories may have been asked, of which the first one did not know."""
    assert rollback(shop.history, "acme/shop", shop.shas[1::-1], shop.shas[2]) == ""
