"""Jobs at a deploy-bot that runs: what waits is told of a yes, by `gate request` and by scripts/pre-deploy."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bot.provider import SHA, Provider, serving
from tests.bot.running import API_TOKEN, Place, running_bot
from tests.bot.visitor import Visitor
from tests.ci.conftest import ROOT, Shop, Tree
from tests.ci.runs import RUNS
from tests.world import ALICE

Job = subprocess.Popen[str]


class Desk:
    """A bot, and Alice at its pages."""

    def __init__(self, place: Place, alice: Visitor) -> None:
        self.place, self.url, self.alice = place, place.url, alice

    def approve(self, job: Job) -> str:
        """Alice follows the link that the job shows, and approves; the request's id."""
        assert job.stderr
        line = job.stderr.readline()
        link = re.fullmatch(rf"gate: approval asked for: {self.url}/requests/(\S+)\n", line)
        assert link, line + job.stderr.read()
        assert job.poll() is None
        assert self.alice.approve(link[1]).status == 303
        return link[1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with serving(Provider()) as provider:
        place = Place(tmp_path / "bot")
        place.sign_in_with(provider)
        with running_bot(place):
            alice = Visitor(place.url, place.port)
            assert alice.sign_in(provider, ALICE).status == 303
            yield Desk(place, alice)


@contextmanager
def ended(job: Job) -> Iterator[Job]:
    """The job, which is ended with the block whatever happens."""
    with job:
        try:
            yield job
        finally:
            job.kill()


def rest(job: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it still says on stdout and stderr; `communicate` would pass over lines that came with an earlier one."""
    assert job.stdout
    assert job.stderr
    told, printed = job.stderr.read(), job.stdout.read()
    job.wait(60)
    return printed, told


def test_request_waits_for_a_yes_and_prints_the_token(desk: Desk, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gate", "request", "--deploy-bot", desk.url, "--wait", "60s", "--run-id", "7"]
    command += ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "GATE_BOT_TOKEN": API_TOKEN}
    pipe = subprocess.PIPE
    with ended(subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=pipe, stderr=pipe, text=True)) as job:
        desk.approve(job)
        printed, told = rest(job)
    assert job.returncode == 0, told
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", printed)
    assert told.splitlines() == [
        "gate: waiting for at most 60s: 0 of 1 approval",
        f"gate: approved: 1 of 1 approval ({ALICE})",
    ]


def test_pre_deploy_waits_for_a_yes_and_allows(desk: Desk, tree: Tree, shop: Shop) -> None:
    real = {RUNS["jenkins"]["GIT_COMMIT"]: shop.head, "/w/shop": str(shop.checkout)}
    environ = {name: real.get(value, value) for name, value in RUNS["jenkins"].items()}
    environ |= {"GATE_DEPLOY_BOT": desk.url, "GATE_BOT_TOKEN": API_TOKEN, "GATE_WAIT": "60s"}
    policy = ("--environment", "production", "--policy", str(desk.place.policy_path))
    with ended(tree.start(shop.checkout, environ, *policy)) as job:
        desk.approve(job)
        printed, told = rest(job)
    assert job.returncode == 0, printed + told
    assert printed.startswith("ALLOWED")
    assert ALICE in printed
