"""A job that GitHub holds: its webhook makes the request, what people decide lets it go or fails it."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot import github as fake
from tests.bot.githubdata import TOKEN
from tests.bot.provider import Provider, serving
from tests.bot.running import Place, running_bot
from tests.bot.test_webhook import EVENT, RUN, SECRET, asked
from tests.bot.tweaks import tweaked
from tests.bot.visitor import Answer, Visitor

QUICK = """import gate.bot.herald as herald
herald._UNTOLD, herald._TICK = 1, 0.2
"""


class Held:
    """A bot that answers for a protection rule, GitHub, and where people and jobs prove who they are."""

    def __init__(self, place: Place, hub: fake.GitHub, provider: Provider, log: Callable[[], str]) -> None:
        self.place, self.hub, self.provider, self.log = place, hub, provider, log
        self.visitor = Visitor(place.url, place.port)
        self.sha = hub.shop.add_commit("Send the money", "dave", "dave@example.com")

    def payload(self, **changed: Any) -> dict[str, Any]:
        payload = asked()
        payload["repository"] |= {"full_name": "acme/shop", "id": 74}
        payload["deployment"]["sha"] = payload["sha"] = self.sha
        payload["deployment_callback_url"] = f"https://api.github.com/repos/acme/shop/actions/runs/{RUN}/{EVENT}"
        return payload | changed

    def deliver(self, delivery: str = "d-1", secret: str = SECRET, body: bytes = b"", **changed: Any) -> Answer:
        deployment = self.payload()["deployment"] | {"payload": {"of": delivery}}  # each has one of its own
        body = body or json.dumps(self.payload(**({"deployment": deployment} | changed))).encode()
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return self.visitor.send(
            "POST", "/webhooks/github", body, X_GitHub_Event=EVENT, X_GitHub_Delivery=delivery,
            X_Hub_Signature_256=signature, Content_Type="application/json",
        )  # fmt: skip

    def job(self, attempt: str = "1", **claims: Any) -> dict[str, Any]:
        """What the job gets that asks once it runs."""
        ours = {"repository": "acme/shop", "repository_id": "74", "sha": self.sha, "run_id": str(RUN)}
        token = self.provider.ci_token(audience=self.place.url, run_attempt=attempt, **(ours | claims))
        answer = self.visitor.call("/api/requests", token, {})
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def re_run(self, by: str = "dave", number: int = 4) -> None:
        """Somebody runs it again, and GitHub holds its job."""
        run = self.hub.shop.runs[RUN]
        run |= {
            "run_attempt": run["run_attempt"] + 1,
            "triggering_actor": run["triggering_actor"] | {"login": by, "id": number},
        }
        self.hub.shop.waiting = {RUN: ["production"]}

    def reviews(self, count: int) -> list[dict[str, Any]]:
        """GitHub's reviews, once there are so many."""
        deadline = time.monotonic() + 30
        while len(self.hub.shop.reviews) < count:
            assert time.monotonic() < deadline, self.log()[-2000:]
            time.sleep(0.02)
        return list(self.hub.shop.reviews)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Held]:
    with serving(Provider()) as provider, fake.serving() as hub:
        hub.shop.waiting = {RUN: ["production"]}
        hub.shop.add_run(RUN, "0" * 40, status="waiting", conclusion=None)
        place = Place(tmp_path)
        place.sign_in_with(provider)
        place.settings["github"] = {"api_url": hub.url, "token": "env:GH", "webhook_secret": "env:HOOK"}
        asked_for = getattr(request, "param", {})
        place.settings["request_life"] = asked_for.get("request_life", "1h")
        if names := asked_for.get("ci_names"):
            place.policy["environments"]["production"]["ci_names"] = names
        place.settings["jobs"]["oidc"][0]["repositories"] = asked_for.get("repositories", ["acme/*"])
        place.write()
        with running_bot(place, environ={"GH": TOKEN, "HOOK": SECRET} | tweaked(tmp_path, QUICK)) as bot:
            yield Held(place, hub, provider, bot.text)
            assert "a bug" not in bot.text()


def test_the_page_of_a_held_job_says_what_started_it_and_who_vouches(held: Held) -> None:
    assert held.deliver(event="pull_request_target", ref="refs/heads/topic").status == 204
    held.visitor.sign_in(held.provider, "alice@example.com")
    page = held.visitor.get("/requests/" + held.visitor.get("/").text.split("/requests/")[1][:32]).text
    assert "on <bdi>refs/heads/topic</bdi>, by pull_request_target" in page
    assert "GitHub&#39;s signed webhook" in page or "GitHub's signed webhook" in page


@pytest.mark.parametrize("held", [{"ci_names": ["Production EU"]}], indirect=True)
def test_github_s_own_name_of_the_environment_is_mapped_and_answered(held: Held) -> None:
    held.hub.shop.waiting = {RUN: ["production EU"]}
    assert held.deliver(environment="production EU").status == 204
    held.visitor.sign_in(held.provider, "alice@example.com")
    key = held.visitor.get("/").text.partition('href="/requests/')[2].partition('"')[0]
    assert held.visitor.approve(key).status == 303
    [review] = held.reviews(1)
    assert (review["environment_name"], held.hub.shop.waiting[RUN]) == ("production EU", [])
    told = held.job(environment="Production EU")
    assert (told["id"], told["status"]) == (key, "approved")


@pytest.mark.parametrize("held", [{"ci_names": ["Production EU"]}], indirect=True)
def test_jobs_of_one_run_for_two_of_github_s_environments_are_asked_for_and_answered_apart(held: Held) -> None:
    held.hub.shop.waiting = {RUN: ["production", "Production EU"]}
    assert held.deliver("d-1", environment="production").status == 204
    assert held.deliver("d-2", environment="Production EU").status == 204
    held.visitor.sign_in(held.provider, "alice@example.com")
    keys = re.findall(r'href="/requests/([^"]+)"', held.visitor.get("/").text)
    assert len(keys) == 2
    assert held.visitor.approve(keys[0]).status == 303
    held.reviews(1)
    assert len(held.hub.shop.waiting[RUN]) == 1
    assert held.visitor.approve(keys[1]).status == 303
    held.reviews(2)
    assert held.hub.shop.waiting[RUN] == []


def test_an_environment_that_the_policy_does_not_call_so_is_refused_and_the_log_says_why(held: Held) -> None:
    answer = held.deliver(environment="Production EU")
    assert (answer.status, "ci_names" in answer.text) == (400, True)
    assert '"webhook refused"' in held.log() and "Production EU" in held.log()


@pytest.mark.parametrize("held", [{"repositories": ["platform/*"]}], indirect=True)
def test_a_webhook_speaks_of_no_more_than_its_issuer_may(held: Held) -> None:
    answer = held.deliver()
    assert (answer.status, "may not speak of this repository" in answer.text) == (403, True)


def test_an_approval_lets_the_job_go_and_is_there_when_it_asks(held: Held) -> None:
    assert held.deliver().status == 204
    assert held.deliver().status == 204  # delivered again
    assert "This delivery was taken before" in held.log()
    held.visitor.sign_in(held.provider, "alice@example.com")
    home = held.visitor.get("/").text
    assert home.count('href="/requests/') == 1
    key = home.partition('href="/requests/')[2].partition('"')[0]
    assert held.visitor.approve(key).status == 303
    [review] = held.reviews(1)
    assert (review["state"], review["environment_name"], review["run_id"]) == ("approved", "production", RUN)
    asked_again = held.job()
    assert (asked_again["id"], asked_again["status"]) == (key, "approved")
    told = held.visitor.call(f"/api/requests/{key}", asked_again["secret"]).json
    assert len(told["tokens"]) == 1
    assert held.job(run_id="999")["status"] == "open"


def test_a_refusal_fails_the_job_and_a_re_run_is_held_anew(held: Held) -> None:
    held.deliver()
    key = held.job()["id"]
    held.visitor.sign_in(held.provider, "bob@example.com")
    assert held.visitor.decline(key, "Not on a Friday").status == 303
    [review] = held.reviews(1)
    assert review["state"] == "rejected"
    assert "Not on a Friday" in review["comment"]
    held.re_run()
    assert held.deliver("d-2").status == 204
    page = held.visitor.get(f"/requests/{key}").text
    assert "Declined before by <bdi>bob@example.com</bdi>" in page and "Not on a Friday" in page
    assert held.visitor.approve(key).status == 303
    assert held.reviews(2)[1]["state"] == "approved"


def test_one_yes_starts_one_held_job_and_each_re_run_asks_anew(held: Held) -> None:
    held.deliver()
    held.visitor.sign_in(held.provider, "alice@example.com")
    key = held.visitor.get("/").text.partition('href="/requests/')[2].partition('"')[0]
    assert held.visitor.approve(key).status == 303
    held.reviews(1)
    for number in range(2, 4):
        held.re_run("bob", 2)
        assert held.deliver(f"d-{number}").status == 204
        page = held.visitor.get(f"/requests/{key}").text
        assert 'name="question"' in page and "bob" in page, "people are asked, and told who re-ran it"
        assert held.deliver("d-1").status == 204, "an older one, replayed"
        assert held.job(str(number))["status"] == "open"
    time.sleep(1)
    assert (len(held.hub.shop.reviews), held.hub.shop.waiting[RUN]) == (1, ["production"])
    assert held.visitor.approve(key).status == 303
    held.reviews(2)


def test_an_unused_yes_to_one_attempt_is_none_to_the_next(held: Held) -> None:
    """Also where an administrator lets the next one go, and GitHub asks nobody."""
    held.deliver()
    held.visitor.sign_in(held.provider, "alice@example.com")
    key = held.visitor.get("/").text.partition('href="/requests/')[2].partition('"')[0]
    assert held.visitor.approve(key).status == 303
    assert held.job("2")["status"] == "open"


def test_a_delivery_for_a_run_that_has_ended_opens_nothing_and_the_log_says_why(held: Held) -> None:
    held.hub.shop.runs[RUN]["status"] = "completed"
    answer = held.deliver()
    assert (answer.status, "has ended" in answer.text) == (404, True)
    assert '"webhook refused"' in held.log() and "has ended" in held.log()
    held.visitor.sign_in(held.provider, "alice@example.com")
    assert 'href="/requests/' not in held.visitor.get("/").text


@pytest.mark.parametrize("held", [{"request_life": "2s"}], indirect=True)
def test_what_runs_out_fails_the_job(held: Held) -> None:
    held.deliver()
    [review] = held.reviews(1)
    assert (review["state"], "in time" in review["comment"]) == ("rejected", True)


def test_nobody_but_github_is_believed(held: Held) -> None:
    assert held.deliver(secret="another").status == 401
    assert held.deliver(sha="main").status == 400
    assert held.deliver(environment="staging").status == 403
    assert held.deliver(body=b"{}").status == 204  # some other action
    big = json.dumps(held.payload(pull_requests=["x" * 200_000])).encode()
    assert held.deliver("d-9", body=big).status == 204  # larger than anybody else may send
    assert held.deliver(body=b"x" * (1 << 20) + b"x").status == 413


def test_a_webhook_about_another_repository_never_reaches_this_one_s_job(held: Held) -> None:
    """Signed, but the name and the number do not belong together, nor is the run one of that name's."""
    forged = held.payload()["repository"] | {"full_name": "acme/other"}
    url = f"https://api.github.com/repos/acme/other/actions/runs/{RUN}/{EVENT}"
    assert held.deliver(repository=forged, deployment_callback_url=url).status == 503
    held.visitor.sign_in(held.provider, "alice@example.com")
    assert 'href="/requests/' not in held.visitor.get("/").text
    assert held.job()["status"] == "open"
