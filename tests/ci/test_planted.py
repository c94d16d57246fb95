"""What an earlier step left in variables does not say what is deployed, or who wrote it."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gate.cli.target import Named, Target, find_target, locate
from gate.errors import UsageError
from gate.forge.git import LocalGit
from tests.ci.conftest import Shop
from tests.ci.runs import RUNS, SHA
from tests.forge.api import TOKEN, Forge, account, serving
from tests.forge.api import commit as forged
from tests.test_cli import gate
from tests.world import BOB, CAROL, World, commit, git

OTHER = "f" * 40


def named(**options: Any) -> Named:
    empty = {"repository": "", "sha": "", "environment": "production", "actor": (), "run_id": "", "from_ci": True}
    return Named(**(empty | options))


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> Any:
    """What the options come to in the shop's checkout, with these variables and no others."""

    def find(environ: Mapping[str, str], **options: Any) -> Target:
        monkeypatch.chdir(shop.checkout)
        for name in list(os.environ):
            if name != "PATH":
                monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        given = named(**options)
        return find_target(given, locate(given))

    return find


def run(ci: str, shop: Shop, **planted: str) -> dict[str, str]:
    return {name: str(shop.checkout) if value == "/w/shop" else value for name, value in RUNS[ci].items()} | planted


@pytest.mark.parametrize("ci", sorted(RUNS))
@pytest.mark.parametrize(("variable", "value"), [("GATE_SHA", OTHER), ("GATE_REPOSITORY", "acme/other")])
def test_a_variable_that_contradicts_the_ci_is_refused(
    ci: str, variable: str, value: str, target: Any, shop: Shop
) -> None:
    with pytest.raises(UsageError, match=variable) as caught:
        target(run(ci, shop, **{variable: value}))
    option = f"--{variable.removeprefix('GATE_').lower()}"
    assert (caught.value.actual, option in caught.value.hint) == (value, True)


def test_an_option_says_it_whatever_the_ci_says(target: Any, shop: Shop) -> None:
    found = target(run("github", shop, GATE_SHA=OTHER), repository="acme/other", sha="e" * 40).deployment
    assert (found.repository, found.sha) == ("acme/other", "e" * 40)
    assert found.repository_id == "", "which is that of the repository that the workflow runs in"


def test_a_variable_that_agrees_is_taken(target: Any, shop: Shop) -> None:
    found = target(run("github", shop, GATE_SHA=SHA, GATE_REPOSITORY="Acme/Shop")).deployment
    assert (found.repository, found.sha, found.repository_id) == ("acme/shop", SHA, "4711")


def test_where_the_ci_does_not_say_it_the_variable_does(target: Any, shop: Shop) -> None:
    found = target(run("github", shop, GATE_SHA=OTHER, GITHUB_EVENT_NAME="workflow_run")).deployment
    assert found.sha == OTHER


@pytest.mark.parametrize("from_ci", [True, False])
def test_without_a_ci_the_checkout_s_origin_is_what_it_must_agree_with(
    target: Any, shop: Shop, *, from_ci: bool
) -> None:
    agreeing, other = ({"GATE_REPOSITORY": name, "GATE_SHA": shop.head} for name in ("ACME/shop", "acme/other"))
    assert target(agreeing, from_ci=from_ci).deployment.repository == "acme/shop"
    with pytest.raises(UsageError, match="GATE_REPOSITORY"):
        target(other, from_ci=from_ci)
    git(shop.checkout, "remote", "remove", "origin")
    assert target(other, from_ci=from_ci).deployment.repository == "acme/other"


class TestForge:
    """A shallow clone of Carol's commit, who would like to approve it, and a GitHub that says that Bob wrote it."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        (tmp_path / "policy").mkdir()
        world = World(tmp_path / "policy", separation=True, now=time.time())
        world.path.write_text(f"{world.text}forges: {{127.0.0.1: github}}\n")  # whose logins are the policy's own
        origin = tmp_path / "origin"
        self.base = commit(origin, "one", BOB)
        first = world.gate(history=LocalGit(origin))
        deployed = world.deployment(sha=self.base, actors=("bob",))
        assert first.check([world.token(CAROL, sha=self.base)], deployed).allowed
        commit(origin, "two", CAROL)
        commit(origin, "three", CAROL)
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{origin}", "clone")
        return world

    @pytest.fixture
    def forge(self, world: World) -> Iterator[Forge]:
        head = git(world.folder.parent / "clone", "rev-parse", "HEAD")
        forge = Forge(0)
        forge.commits = [forged(1, author=account("bob")) | {"sha": head}]
        base = self.base

        def whole(answer: dict[str, Any], _: Any) -> None:
            if "base_commit" in answer:
                there = {"base_commit": {"sha": base}, "merge_base_commit": {"sha": base}, "status": "ahead"}
                answer.update(there, total_commits=1, commits=forge.commits)

        forge.change = whole
        with serving(forge):
            yield forge

    def verify(self, world: World, environ: Mapping[str, str], *more: str) -> dict[str, Any]:
        clone = world.folder.parent / "clone"
        head = git(clone, "rev-parse", "HEAD")
        kept = environ | {"GATE_APPROVALS": world.token(CAROL, sha=head), "NO_PROXY": "127.0.0.1"}
        where = ("--repository", "acme/shop", "--sha", head, "--environment", "production", "--actor", "bob")
        done = gate(clone, "verify", *where, "--policy", str(world.path), "--json", *more, env=kept)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @pytest.mark.parametrize("ci", ["", *sorted(set(RUNS) - {"github"})])
    def test_only_in_github_actions_variables_say_whom_to_ask(self, world: World, forge: Forge, ci: str) -> None:
        planted = {"GITHUB_API_URL": forge.url, "GITHUB_TOKEN": TOKEN}
        clone = str(world.folder.parent / "clone")
        mine = {name: clone if value == "/w/shop" else value for name, value in RUNS.get(ci, {}).items()}
        answer = self.verify(world, mine | planted, "--from-ci")
        assert answer["reason"] == "approver.is_author", answer
        assert forge.requests == []
        assert TOKEN not in json.dumps(answer)

    @pytest.mark.parametrize("ci", sorted(set(RUNS) - {"github"}))
    def test_variables_make_no_github_actions_of_another_ci(self, world: World, forge: Forge, ci: str) -> None:
        """Nor of one that is not known: there GITHUB_ACTIONS alone brings no forge to ask, and no account's id."""
        clone = str(world.folder.parent / "clone")
        github = {name: clone if value == "/w/shop" else value for name, value in RUNS["github"].items()}
        planted = github | {"GITHUB_API_URL": forge.url, "GITHUB_TOKEN": TOKEN}
        mine = {name: clone if value == "/w/shop" else value for name, value in RUNS[ci].items()}
        assert self.verify(world, mine | planted, "--from-ci")["reason"] == "usage.invalid"
        assert self.verify(world, planted, "--from-ci")["reason"] == "approver.is_author"
        assert forge.requests == []

    def test_an_option_says_it_anywhere(self, world: World, forge: Forge) -> None:
        answer = self.verify(world, {"GITHUB_TOKEN": TOKEN}, "--github-api-url", forge.url)
        assert answer["reason"] == "allowed", answer
        assert {request.headers["authorization"] for request in forge.requests} == {f"Bearer {TOKEN}"}

    def test_in_github_actions_it_is_github_s_own(self, world: World, forge: Forge) -> None:
        clone = str(world.folder.parent / "clone")
        mine = {name: clone if value == "/w/shop" else value for name, value in RUNS["github"].items()}
        mine |= {"GITHUB_SERVER_URL": forge.url.removesuffix("/api/v3")}
        answer = self.verify(
            world, mine | {"GITHUB_API_URL": forge.url, "GITHUB_TOKEN": TOKEN}, "--from-ci", "--ci", "github"
        )
        assert answer["reason"] == "allowed", answer
