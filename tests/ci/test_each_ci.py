"""scripts/pre-deploy, run for real with the environment of each CI and nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ci.conftest import Shop, Tree
from tests.ci.runs import RUNS, SHA
from tests.world import ALICE, BOB, commit, git

NO_LIBRARY = "/no-such-library.so"  # as LD_PRELOAD: the loader names it on stderr of each program that starts


def environ(ci: str, shop: Shop, *tokens: str) -> dict[str, str]:
    """What `ci` sets in a job that deploys `shop`."""
    real = {SHA: shop.head, "/w/shop": str(shop.checkout), "acme/web/shop": "acme/shop"}
    return {name: real.get(value, value) for name, value in RUNS[ci].items()} | {"GATE_APPROVALS": " ".join(tokens)}


def verify(tree: Tree, shop: Shop, environ: Mapping[str, str], *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the one JSON object on stdout."""
    done = tree.run(
        shop.checkout, environ, "--json", "--environment", "production", "--policy", str(shop.world.path), *more
    )
    return done.returncode, json.loads(done.stdout or "null")


@pytest.mark.parametrize("ci", sorted(RUNS))
def test_an_approval_allows_once_and_only_once(ci: str, tree: Tree, shop: Shop) -> None:
    run = environ(ci, shop, shop.world.token(sha=shop.head))
    code, first = verify(tree, shop, run)
    assert (code, first["decision"]) == (0, "allow"), first
    assert first["deployment"]["repository"] == "acme/shop"
    assert first["deployment"]["sha"] == shop.head
    assert "alice" in first["deployment"]["actors"][0]
    code, second = verify(tree, shop, run)
    assert (code, second["reason"]) == (1, "replay.used")


@pytest.mark.parametrize("ci", sorted(RUNS))
def test_an_approval_can_be_bound_to_the_run(ci: str, tree: Tree, shop: Shop) -> None:
    token = shop.world.token(sha=shop.head, run_id="another")
    code, answer = verify(tree, shop, environ(ci, shop, token))
    assert (code, answer["reason"]) == (1, "run.mismatch")


def test_a_bare_checkout_speaks_for_itself(tree: Tree, shop: Shop) -> None:
    run = {"GATE_APPROVALS": shop.world.token(sha=shop.head)}
    code, answer = verify(tree, shop, run)
    assert (code, answer["decision"]) == (0, "allow"), answer
    assert verify(tree, shop, run)[0] == 1


def test_without_any_approval_it_is_denied(tree: Tree, shop: Shop) -> None:
    code, answer = verify(tree, shop, environ("gitlab", shop))
    assert (code, answer["reason"]) == (1, "token.missing")


def test_an_approval_of_another_commit_is_denied(tree: Tree, shop: Shop) -> None:
    token = shop.world.token(sha=shop.head)
    new = Shop(shop.checkout, commit(shop.checkout, "two", BOB), shop.world)
    code, answer = verify(tree, new, environ("github", new, token))
    assert (code, answer["reason"]) == (1, "sha.mismatch")


def test_the_checkout_must_stand_where_the_ci_says(tree: Tree, shop: Shop) -> None:
    run = environ("github", shop, shop.world.token(sha=shop.head))
    commit(shop.checkout, "something else", BOB)
    code, answer = verify(tree, shop, run)
    assert (code, answer["reason"]) == (1, "checkout.mismatch")


def test_who_reruns_the_job_cannot_be_its_approver(tree: Tree, tmp_path: Path, shop: Shop) -> None:
    shop.world.separation = True
    shop.world.path.write_text(shop.world.text)
    run = environ("github", shop, shop.world.token(ALICE, sha=shop.head)) | {"GITHUB_ACTOR": "carol"}
    code, answer = verify(tree, shop, run | {"GITHUB_TRIGGERING_ACTOR": "alice"})
    assert (code, answer["reason"]) == (1, "approver.is_actor")
    code, answer = verify(tree, shop, run | {"GITHUB_TRIGGERING_ACTOR": "carol"})
    assert (code, answer["reason"]) == (0, "allowed"), answer


def test_a_run_about_other_code_needs_its_commit_named(tree: Tree, shop: Shop) -> None:
    run = environ("github", shop, shop.world.token(sha=shop.head)) | {"GITHUB_EVENT_NAME": "pull_request"}
    code, answer = verify(tree, shop, run)
    assert (code, answer["reason"]) == (2, "usage.invalid")
    assert "pull_request" in answer["message"]
    code, answer = verify(tree, shop, run, "--sha", shop.head)
    assert (code, answer["decision"]) == (0, "allow")


def test_two_cis_at_once_are_refused(tree: Tree, shop: Shop) -> None:
    run = environ("jenkins", shop) | environ("gitlab", shop, shop.world.token(sha=shop.head))
    code, answer = verify(tree, shop, run)
    assert (code, answer["reason"]) == (2, "usage.invalid")


def test_on_github_people_read_why_it_was_blocked(tree: Tree, shop: Shop, tmp_path: Path) -> None:
    token = shop.world.token(sha=shop.head, environment="staging")
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    arguments = ("--environment", "production", "--policy", str(shop.world.path))
    done = tree.run(shop.checkout, environ("github", shop, token) | files, *arguments)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"::add-mask::{token}"
    assert token not in done.stdout.replace(lines[0], "") + done.stderr
    word = lines[1].removeprefix("::stop-commands::")
    assert lines[-3:-1] == [f"::{word}::", lines[-2]]
    assert lines[-2].startswith("::error title=Deployment blocked (environment.mismatch)::")
    assert "decision<<" in (tmp_path / "output").read_text()
    assert token not in (tmp_path / "summary").read_text()


def test_a_hostile_environment_changes_nothing(tree: Tree, shop: Shop, tmp_path: Path) -> None:
    run = environ("gitlab", shop, shop.world.token(sha=shop.head)) | _hostile(tmp_path)
    arguments = ("--environment", "production", "--policy", str(shop.world.path))
    first, second = (tree.run(shop.checkout, run, *arguments) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 1), first.stdout + second.stdout
    assert "[replay.used]" in second.stdout
    assert not (tmp_path / "canary").exists()
    assert (
        first.stderr.count(NO_LIBRARY) == 1
    )  # the script's own process; the gate, a new program, has no such complaint


def _hostile(tmp_path: Path) -> dict[str, str]:
    """Variables that an earlier step may have left behind, each with a canary or a lie."""
    bad, canary = tmp_path / "bad", tmp_path / "canary"
    bad.mkdir()
    (bad / "sitecustomize.py").write_text(f"open({str(canary)!r}, 'a').write('sitecustomize\\n')")
    (bad / "git").write_text(f"#!/bin/sh\necho git >>{canary}\n")
    (bad / "git").chmod(0o755)
    (bad / "env.sh").write_text(f"echo bash >>{canary}\n")
    (bad / ".gitconfig").write_text("[core]\n\tfsmonitor = ./git\n")
    commit(bad / "elsewhere", "another commit", ALICE)
    return {
        "AWS_CONFIG_FILE": str(bad / "aws"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "BASH_ENV": str(bad / "env.sh"),
        "GIT_CONFIG_GLOBAL": str(bad / ".gitconfig"),
        "GIT_DIR": str(bad / "elsewhere" / ".git"),
        "HOME": str(bad),
        "LD_PRELOAD": NO_LIBRARY,
        "PATH": f"{bad}:/usr/bin:/bin",
        "PYTHONPATH": str(bad),
        "PYTHONSTARTUP": str(bad / "sitecustomize.py"),
        "SSL_CERT_FILE": str(bad / "no-such-file"),
    }


def test_what_a_repository_configures_is_not_run(tree: Tree, shop: Shop) -> None:
    git(shop.checkout, "config", "core.fsmonitor", f"touch {shop.checkout}/canary")
    code, answer = verify(tree, shop, environ("github", shop, shop.world.token(sha=shop.head)))
    assert (code, answer["decision"]) == (0, "allow"), answer
    assert not (shop.checkout / "canary").exists()
