"""No runner has to wait: a job that ended is run again, and one that GitHub holds is let go."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.bot import github as at_github
from tests.bot.github import GitHub
from tests.bot.githubdata import TOKEN
from tests.bot.provider import Provider, serving
from tests.bot.running import Place, Running, running_bot
from tests.bot.test_webhook import SECRET, headers
from tests.bot.test_webhook import asked as example
from tests.bot.visitor import Visitor

RUN = 30433642


class Stage:
    """A bot, the provider that vouches for jobs and people, and a GitHub with one commit and a run of it."""

    def __init__(self, bot: Running, provider: Provider, github: GitHub, sha: str) -> None:
        self.bot, self.provider, self.github, self.sha = bot, provider, github, sha

    def ask(self, attempt: int, *, rerun: bool = False) -> dict[str, Any]:
        """A job of the run asks."""
        claims = {"repository": "acme/shop", "repository_id": "1296269", "sha": self.sha, "run_id": str(RUN)}
        token = self.provider.ci_token(audience=self.bot.url, run_attempt=str(attempt), actor="bob", **claims)
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.post(f"{self.bot.url}/api/requests", json={"rerun": rerun}, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def poll(self, asked: dict[str, Any]) -> dict[str, Any]:
        """And comes back for the answer."""
        headers = {"Authorization": f"Bearer {asked['secret']}"}
        answer = requests.get(f"{self.bot.url}/api/requests/{asked['id']}", headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def alice(self) -> Visitor:
        """Who approves."""
        visitor = Visitor(self.bot.place.url, self.bot.place.port)
        assert visitor.sign_in(self.provider, "alice@example.com").status == 303
        return visitor


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with serving(Provider()) as provider, at_github.serving() as github:
        sha = github.shop.add_commit("Fix the login", "bob")
        github.shop.add_run(RUN, sha)
        place = Place(tmp_path / "bot")
        place.sign_in_with(provider)
        place.settings["github"] = {"api_url": github.url, "token": "env:GH", "webhook_secret": "env:HOOK"}
        place.write()
        with running_bot(place, environ={"GH": TOKEN, "HOOK": SECRET}) as bot:
            yield Stage(bot, provider, github, sha)


def _until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_a_job_that_ended_is_run_again_once_approved_and_finds_its_approval(stage: Stage) -> None:
    asked = stage.ask(1, rerun=True)
    assert stage.github.asked("POST", "rerun-failed-jobs") == []
    assert stage.alice().approve(asked["id"]).status == 303
    _until(lambda: stage.github.asked("POST", "rerun-failed-jobs"))
    again = stage.ask(2, rerun=True)
    assert (again["id"], again["status"]) == (asked["id"], "approved")
    assert len(stage.poll(again)["tokens"]) == 1
    assert len(stage.github.asked("POST", "rerun-failed-jobs")) == 1


def test_the_next_attempt_after_that_asks_anew(stage: Stage) -> None:
    asked = stage.ask(1)
    stage.alice().approve(asked["id"])
    assert stage.poll(asked)["status"] == "approved"
    assert stage.ask(1)["status"] == "approved"  # an answer that got lost
    again = stage.ask(2)
    assert (again["status"], again["secret"] != asked["secret"]) == ("open", True)


def _held(stage: Stage) -> bytes:
    """What GitHub sends of a job that it holds."""
    made = example()
    text = json.dumps(made["repository"]).replace("Codertocat/Hello-World", "acme/shop")
    repository = json.loads(text) | {"id": 1296269, "full_name": "acme/shop"}
    callback = f"https://api.github.com/repos/acme/shop/actions/runs/{RUN}/deployment_protection_rule"
    changed = {"sha": stage.sha, "repository": repository, "deployment_callback_url": callback}
    return json.dumps(made | changed | {"deployment": made["deployment"] | {"sha": stage.sha}}).encode()


def _deliver(stage: Stage, body: bytes, secret: str = SECRET) -> requests.Response:
    kind = {"Content-Type": "application/json"}
    signed = headers(body, secret=secret) | kind
    return requests.post(f"{stage.bot.url}/webhooks/github", data=body, headers=signed, timeout=30)


@pytest.mark.parametrize(("decide", "state"), [("approve", "approved"), ("decline", "rejected")])
def test_a_job_that_github_holds_gets_its_answer_without_a_runner(stage: Stage, decide: str, state: str) -> None:
    stage.github.shop.waiting[RUN] = ["production"]
    stage.github.shop.add_run(RUN, "0" * 40, status="waiting", conclusion=None)
    assert _deliver(stage, _held(stage)).status_code == 204
    alice = stage.alice()
    key = alice.get("/").text.split("/requests/")[1][:32]
    answer = alice.approve(key) if decide == "approve" else alice.decline(key, "not on a Friday")
    assert answer.status == 303
    _until(lambda: stage.github.shop.reviews)
    assert stage.github.shop.reviews[0]["state"] == state
    asked = stage.ask(1)  # once GitHub lets it go, the job asks, and is the one that was held
    assert asked["id"] == key
    assert stage.poll(asked)["status"] == {"approved": "approved", "rejected": "declined"}[state]


def test_a_webhook_that_github_did_not_sign_asks_for_nothing(stage: Stage) -> None:
    assert _deliver(stage, _held(stage), "another secret").status_code == 401
    assert "Nothing waits" in stage.alice().get("/").text
