"""The local clone first; where it is shallow, GitHub."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gate.errors import AuditUnavailable
from gate.forge import Unattributed
from gate.forge.firstwhole import FirstWhole
from gate.forge.git import LocalGit
from gate.forge.github import GitHub
from gate.models import Commit
from tests.forge.api import Forge, account, commit, serving
from tests.forge.repository import BOB, Repository


class Elsewhere:
    """A history that was asked although it should not have been."""

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        raise AssertionError


@pytest.fixture
def clone(tmp_path: Path) -> Repository:
    """A shallow clone, as actions/checkout makes it: one commit, and a last deployment two commits ago."""
    origin = Repository(tmp_path / "origin")
    for _ in range(3):
        origin.commit(BOB)
    return origin.clone(tmp_path / "clone", "--depth=1")


@pytest.fixture
def forge(clone: Repository, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    forge = Forge(0)
    ids = ["0" * 40, "1" * 40, clone.head]
    forge.commits = [commit(number, author=account("bob")) | {"sha": sha} for number, sha in enumerate(ids)]
    forge.change = lambda answer, _: answer.update(
        base_commit={"sha": ids[0]},
        merge_base_commit={"sha": ids[0]},
        status="ahead",
        total_commits=2,
        commits=forge.commits[1:],
    )
    with serving(forge):
        yield forge


def test_a_whole_clone_is_enough(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repo")
    base, head = repo.commit(), repo.commit(BOB)
    history = FirstWhole([LocalGit(repo.path), Elsewhere()])
    assert [found.sha for found in history.commits("acme/shop", [base], head)] == [head]


def test_where_the_clone_is_shallow_github_is_asked(clone: Repository, forge: Forge) -> None:
    history = FirstWhole([LocalGit(clone.path), GitHub(forge.url, None)])
    assert [found.sha for found in history.commits("acme/shop", ["0" * 40], clone.head)] == ["1" * 40, clone.head]


def test_what_was_allowed_is_read_once_for_all(clone: Repository, forge: Forge) -> None:
    history = FirstWhole([LocalGit(clone.path), GitHub(forge.url, None)])
    assert len(history.commits("acme/shop", iter(["0" * 40]), clone.head)) == 2


def test_a_log_that_can_t_be_read_is_not_a_history_that_can_t(clone: Repository) -> None:
    def allowed() -> Iterator[str]:
        raise AuditUnavailable("It is down.", hint="Start it.")
        yield

    with pytest.raises(AuditUnavailable):
        FirstWhole([LocalGit(clone.path), Elsewhere()]).commits("acme/shop", allowed(), clone.head)


def test_where_both_fail_both_are_explained(clone: Repository, forge: Forge) -> None:
    history = FirstWhole([LocalGit(clone.path), GitHub(forge.url, None)])
    with pytest.raises(Unattributed) as caught:
        history.commits("acme/other", ["0" * 40], clone.head)
    assert "not in the local clone" in caught.value.message
    assert "no such repository" in caught.value.message
    assert "fetch-depth: 0" in caught.value.hint
    assert "contents: read" in caught.value.hint


def test_one_failure_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Unattributed, match="no repository"):
        FirstWhole([LocalGit(tmp_path)]).commits("acme/shop", [], "0" * 40)


def test_nobody_to_ask_denies() -> None:
    with pytest.raises(Unattributed, match="nobody to ask"):
        FirstWhole([]).commits("acme/shop", [], "0" * 40)


def test_where_the_clone_is_shallow_github_is_asked_which_commits_there_are(clone: Repository, forge: Forge) -> None:
    history = FirstWhole([LocalGit(clone.path), GitHub(forge.url, None)])
    forge.change = lambda *_: None
    assert history.holds("acme/shop", [clone.head, "1" * 40]) == clone.head
    assert history.holds("acme/shop", ["9" * 40, "1" * 40]) == "1" * 40
    assert history.holds("acme/shop", ["9" * 40]) is None
    with pytest.raises(Unattributed, match="not in the local clone"):
        FirstWhole([LocalGit(clone.path)]).holds("acme/shop", ["9" * 40])
