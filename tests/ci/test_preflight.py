"""What needs no approval is checked before people are asked for one, and alone in a dry run."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate.record import parse
from tests.ci import fakebot
from tests.ci.conftest import Tree
from tests.ci.fakebot import API_TOKEN, FakeBot
from tests.test_cli import gate
from tests.world import ALICE, BOB, CAROL, World, commit, git


@pytest.fixture
def bot() -> Iterator[FakeBot]:
    with fakebot.running_bot() as bot:
        yield bot


class Job:
    """A job that is about to deploy the second commit of a checkout, written by an engineer who approves nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder / "policy", now=time.time(), separation=True)
        self.checkout = folder / "shop"
        commit(self.checkout, "first", "dave@example.com")
        self.sha = commit(self.checkout, "second", "dave@example.com")
        self.actor = "dave"
        self.text = self.world.text

    def change(self, old: str, new: str) -> None:
        """Another policy."""
        assert old in self.text
        self.text = self.text.replace(old, new)

    def verify(self, *more: str, environment: str = "production", token: str = "") -> tuple[int, dict[str, Any]]:
        """The exit code and the answer of `gate verify`, whose record, if there is one, can be read."""
        self.world.path.write_text(self.text)
        env = {"GATE_BOT_TOKEN": API_TOKEN, "GATE_APPROVALS": token}
        done = gate(self.folder, "verify", "--json", *self.about(environment), *more, env=env)
        assert "Traceback" not in done.stderr
        answer = json.loads(done.stdout)
        if answer["record"]:
            assert parse(Path(answer["record"].removeprefix("file://")).read_bytes()).reason == answer["reason"]
        return done.returncode, answer

    def about(self, environment: str = "production") -> list[str]:
        """The options that name its deployment."""
        options = {"repository": "acme/shop", "sha": self.sha, "environment": environment, "actor": self.actor}
        options |= {"policy": str(self.world.path), "checkout": str(self.checkout)}
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def token(self, **changes: Any) -> str:
        """Alice's approval of its deployment."""
        return self.world.token(ALICE, sha=self.sha, **changes)

    def files(self) -> dict[Path, bytes]:
        """Everything that its stores hold."""
        return {path: path.read_bytes() for path in self.world.folder.rglob("*") if path.is_file()}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "policy").mkdir()
    return Job(tmp_path)


def _another_commit(job: Job) -> None:
    git(job.checkout, "checkout", "-q", "HEAD~1")


def _another_repository(job: Job) -> None:
    job.change('["acme/*"]', '["acme/docs"]')


def _shallow(job: Job) -> None:
    assert job.verify(token=job.token())[0] == 0  # so that there is a base
    commit(job.checkout, "third", "dave@example.com")
    job.sha = commit(job.checkout, "fourth", "dave@example.com")
    clone = job.folder / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{job.checkout}", str(clone)], check=True)
    job.checkout = clone


def _unreadable_author(job: Job) -> None:
    job.sha = commit(job.checkout, "by whom?\n\nCo-authored-by: Carol <carol@example.com", "dave@example.com")


def _all_wrote_it(job: Job) -> None:
    trailers = "\n".join(f"Co-authored-by: X <{who}>" for who in (ALICE, BOB, CAROL))
    job.sha = commit(job.checkout, f"together\n\n{trailers}", "dave@example.com")


def _one_is_left_of_two(job: Job) -> None:
    job.change("approvals: 1", "approvals: 2")
    job.change("[alice@example.com, bob@example.com, carol@example.com]", "[alice@example.com, bob@example.com]")
    job.actor = "alice"


def _replay_store_is_garbage(job: Job) -> None:
    (job.world.folder / "replay.db").write_bytes(b"no database" * 1000)


def _log_is_a_file(job: Job) -> None:
    (job.world.folder / "audit").write_text("no folder")


def _no_credentials(job: Job) -> None:
    job.change("replay: sqlite:replay.db", 'replay: "dynamodb://jti?region=eu-west-1&endpoint=http://127.0.0.1:1"')


FAULTS = {
    _another_commit: (1, "checkout.mismatch"),
    _another_repository: (1, "repository.not_allowed"),
    _shallow: (1, "approver.is_author"),
    _unreadable_author: (1, "approver.is_author"),
    _all_wrote_it: (1, "approver.is_author"),
    _one_is_left_of_two: (1, "approver.is_actor"),
    _replay_store_is_garbage: (3, "replay.unavailable"),
    _log_is_a_file: (3, "audit.unavailable"),
    _no_credentials: (3, "replay.unavailable"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nobody_is_asked_for_a_job_that_no_approval_could_help(fault: Any, job: Job, bot: FakeBot) -> None:
    fault(job)
    code, answer = job.verify("--deploy-bot", bot.url)
    assert ((code, answer["reason"]), bot.calls) == (FAULTS[fault], [])
    assert (answer["record"] is not None) == (code == 1), "a denial is on record, as it would be after the wait"
    failed = next(check["name"] for check in answer["checks"] if check["status"] == "fail")
    assert failed in {"deployment", "separation", "checkout", "replay", "record"}
    assert not [check for check in answer["checks"] if check["name"] == "signature" and check["status"] == "pass"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dry_run_finds_the_same_and_records_nothing(fault: Any, job: Job, bot: FakeBot) -> None:
    fault(job)
    job.world.path.write_text(job.text)
    before = job.files()
    code, answer = job.verify("--dry-run", "--deploy-bot", bot.url)
    assert ((code, answer["reason"]), answer["record"], bot.calls) == (FAULTS[fault], None, [])
    assert job.files() == before


def test_an_environment_that_nobody_knows_is_not_asked_for(job: Job, bot: FakeBot) -> None:
    code, answer = job.verify("--deploy-bot", bot.url, environment="prodd")
    assert (code, answer["reason"], bot.calls) == (1, "environment.unknown", [])


def test_where_all_is_well_people_are_asked(job: Job, bot: FakeBot) -> None:
    bot.on_ask = lambda request: request.approve(ALICE, job.token(request_id=request.id))
    code, answer = job.verify("--deploy-bot", bot.url)
    assert (code, answer["reason"]) == (0, "allowed"), answer


def test_a_dry_run_without_fault_decides_nothing_and_says_so(job: Job, bot: FakeBot) -> None:
    job.verify(token="not.a.token")  # so that the stores are there
    before, token = job.files(), job.token()
    code, answer = job.verify("--dry-run", "--deploy-bot", bot.url, token=token)
    assert (code, answer["decision"], answer["reason"], answer["record"]) == (4, "none", "dry_run", None)
    assert (answer["approvals"], bot.calls, job.files()) == ([], [], before)
    checks = {check["name"]: (check["status"], check["actual"]) for check in answer["checks"]}
    assert checks["checkout"] == ("pass", job.sha)
    assert checks["separation"] == ("pass", "1 commit")
    assert checks["signature"] == checks["passkey"] == ("skip", "needs an approval")
    assert checks["replay"] == ("skip", "the store answers; nothing was used")
    assert job.verify(token=token)[0] == 0, "the approval is not used up"


def test_no_dry_run_lets_a_pipeline_go_on(job: Job, tree: Tree, tmp_path: Path) -> None:
    """`--dry-run && ./deploy.sh`, by the script that every CI runs: with an approval that would do, and on GitHub."""
    job.world.path.write_text(job.text)
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    env = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "dave", "GITHUB_RUN_ID": "7", "GITHUB_EVENT_NAME": "push", **files}
    env |= {"GITHUB_REPOSITORY": "acme/shop", "GITHUB_SHA": job.sha, "GATE_APPROVALS": job.token()}
    done = tree.run(job.checkout, env, "--dry-run", *job.about())
    assert done.returncode == 4, done.stderr
    assert "DRY RUN  A dry run decides nothing." in done.stdout
    assert "::notice title=Dry run%3A nothing was decided (dry_run)::" in done.stdout
    assert "\nnone\n" in (tmp_path / "output").read_text()
    assert "allow" not in (tmp_path / "output").read_text()
