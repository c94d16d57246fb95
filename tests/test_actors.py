"""Who triggered a run, as `gate verify` hears it from the CI and from its caller."""

import json
from pathlib import Path
from typing import Any

import pytest

from gate.forge import Unattributed
from gate.models import Commit
from gate.wiring import open_history
from tests.test_cli import gate
from tests.world import ALICE, BOB, World, commit

PIPELINE = {"CODEBUILD_BUILD_ID": "shop:1", "CODEBUILD_INITIATOR": "codepipeline/shop"}
RUN = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push"}


class Place:
    """A clone whose one commit is Bob's, to be approved by Alice, whose account is github:alice#4711."""

    def __init__(self, folder: Path, more: str = "") -> None:
        (folder / "world").mkdir()
        self.clone = folder / "clone"
        self.sha = commit(self.clone, "work", BOB)
        self.world = World(folder / "world", separation=True, now=0)
        text = self.world.text.replace("alice@personal.example]", 'alice@personal.example], accounts: ["github:#4711"]')
        self.world.path.write_text(text + more)

    def verify(self, *more: str, **environ: str) -> dict[str, Any]:
        import time

        self.world.now = time.time()
        token = self.world.token(ALICE, sha=self.sha)
        what = ("--repository", "acme/shop", "--sha", self.sha, "--environment", "production", "--from-ci", "--json")
        where = ("--policy", str(self.world.path), "--approval", token)
        done = gate(self.clone, "verify", *what, *where, *more, env=environ)
        return dict(json.loads(done.stdout))


def test_an_actor_whom_nobody_listed_denies_and_the_entry_helps(tmp_path: Path) -> None:
    place = Place(tmp_path)
    denied = place.verify(**PIPELINE)
    assert denied["reason"] == "approver.is_actor"
    assert denied["deployment"]["actors"] == ["codebuild:codepipeline/shop"]
    entry = 'automation: ["codebuild:codepipeline/shop"]'
    assert denied["hint"].endswith(entry)
    policy = place.world.path.read_text().replace("automation: [deployer]", entry)
    place.world.path.write_text(policy)
    assert place.verify(**PIPELINE)["reason"] == "allowed"


def test_an_actor_that_the_caller_names_adds_to_what_the_ci_says(tmp_path: Path) -> None:
    place = Place(tmp_path)
    denied = place.verify("--actor", "bob", **PIPELINE)
    assert denied["reason"] == "approver.is_actor"
    assert denied["deployment"]["actors"] == ["bob", "codebuild:codepipeline/shop"]
    run = RUN | {"GITHUB_ACTOR": "alice", "GITHUB_ACTOR_ID": "4711"}
    assert place.verify("--actor", "bob", **run)["reason"] == "approver.is_actor"


def test_the_policy_may_let_the_caller_replace_it(tmp_path: Path) -> None:
    place = Place(tmp_path, "actor_option: replaces\n")
    allowed = place.verify("--actor", "bob", **PIPELINE)
    assert allowed["reason"] == "allowed"
    assert allowed["deployment"]["actors"] == ["bob"]
    assert place.verify("--actor", "alice", **PIPELINE)["reason"] == "approver.is_actor"
    assert place.verify(**PIPELINE)["reason"] == "approver.is_actor"


@pytest.mark.parametrize(
    ("more", "variables", "reason"),
    [
        ((), {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}, "allowed"),
        ((), {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": ""}, "approver.is_actor"),
        ((), {"GITHUB_ACTOR": "alice2", "GITHUB_ACTOR_ID": "4711"}, "approver.is_actor"),
        ((), {"GITHUB_ACTOR": "github-actions[bot]", "GITHUB_ACTOR_ID": "41898282"}, "approver.is_actor"),
        (
            (),
            {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666", "GITHUB_TRIGGERING_ACTOR": "eve"},
            "approver.is_actor",
        ),
        ((), {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666", "GITHUB_TRIGGERING_ACTOR": "Mallory"}, "allowed"),
        (("--actor", "github:mallory#666"), {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}, "allowed"),
        (("--actor", "github:mallory#667"), {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}, "approver.is_actor"),
    ],
)
def test_an_unlisted_account_that_github_attests(
    tmp_path: Path, more: tuple[str, ...], variables: dict[str, str], reason: str
) -> None:
    place = Place(tmp_path, "unlisted: attested\n")
    assert place.verify("--ci", "github", *more, **RUN, **variables)["reason"] == reason


def test_variables_alone_attest_no_account(tmp_path: Path) -> None:
    """Whoever sets them need not be GitHub."""
    run = RUN | {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}
    denied = Place(tmp_path, "unlisted: attested\n").verify(**run)
    assert (denied["reason"], denied["deployment"]["actors"]) == ("approver.is_actor", ["github:mallory"])


def test_no_caller_attests_an_account(tmp_path: Path) -> None:
    denied = Place(tmp_path, "unlisted: attested\n").verify("--actor", "github:mallory#666")
    assert denied["reason"] == "approver.is_actor"
    assert denied["deployment"]["actors"] == ["github:mallory", "github:#666"]


def test_without_the_policy_s_leave_no_account_is_attested(tmp_path: Path) -> None:
    run = RUN | {"GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}
    assert Place(tmp_path).verify("--ci", "github", **run)["reason"] == "approver.is_actor"


def test_where_accounts_are_to_be_attested_the_forge_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(name: str) -> Any:
        def commits(*_: object) -> list[Commit]:
            asked.append(name)
            raise Unattributed("not here", hint="")

        return commits

    monkeypatch.setattr("gate.forge.git.LocalGit.commits", answer("clone"))
    monkeypatch.setattr("gate.forge.github.GitHub.commits", answer("GitHub"))
    for forge_first in (False, True):
        history = open_history(tmp_path, api_url="https://api.github.com", token="x", forge_first=forge_first)
        assert history
        with pytest.raises(Unattributed):
            history.commits("acme/shop", [], "a" * 40)
    assert asked == ["clone", "GitHub", "GitHub", "clone"]
