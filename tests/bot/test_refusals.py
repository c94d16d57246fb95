"""Whoever may not approve is told so on the page, before they try, and is refused when they try anyway."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.bot.browser import Browser
from tests.bot.stage import Asked, Stage
from tests.bot.visitor import Visitor

Case = tuple[Asked, str, str, str]  # the request, who looks at it, what the page says, and the gate's word for it


def by_an_author(stage: Stage) -> Case:
    asked = stage.ask("production", author="alice")
    return asked, "alice", "alice@example.com also had a hand in commit", "approver.is_author"


def by_the_actor(stage: Stage) -> Case:
    return (
        stage.ask("production", actors=["bob"]),
        "bob",
        "bob@example.com also triggered this run.",
        "approver.is_actor",
    )


def by_another_spelling_of_the_actor(stage: Stage) -> Case:
    asked = stage.ask("production", actors=["Bob@Example.com", "zoe"])
    return asked, "bob", "bob@example.com also triggered this run.", "approver.is_actor"


def by_nobody_of_the_environment(stage: Stage) -> Case:
    return stage.ask("production"), "erin", "You may not approve deployments into production.", "approver.not_allowed"


def without_a_passkey(stage: Stage) -> Case:
    return stage.ask("production"), "dave", "the policy lists none of yours", "passkey.missing"


CASES = [
    by_an_author,
    by_the_actor,
    by_another_spelling_of_the_actor,
    by_nobody_of_the_environment,
    without_a_passkey,
]


@pytest.mark.parametrize("case", CASES)
def test_who_may_not_approve(stage: Stage, browser: Browser, case: Callable[[Stage], Case]) -> None:
    asked, name, said, word = case(stage)
    visitor = stage.visitor(name)
    browser.become(visitor)
    browser.open(asked.url)
    assert said in browser.text
    assert word in browser.text
    assert not browser.has("Approve")

    before = stage.records()
    refused_everywhere(visitor, asked, said)
    assert stage.poll(asked)["approvals"] == []
    assert stage.records() == before, "an attempt is no event of the deployment"


def refused_everywhere(visitor: Visitor, asked: Asked, said: str, status: int = 403) -> None:
    """A challenge, and an approval with and without an assertion, by a form with a good CSRF token."""
    made_up = dict.fromkeys(("id", "authenticatorData", "clientDataJSON", "signature"), "AAAA")
    answers = [
        visitor.submit(f"/requests/{asked.id}/challenge"),
        visitor.submit(f"/requests/{asked.id}/approve"),
        visitor.approve(asked.id, made_up),
    ]
    for answer in answers:
        assert answer.status in (status, 409, 403), answer.text
    assert any(said in answer.json["error"]["message"] for answer in answers), [one.text for one in answers]


def test_who_has_approved_already(stage: Stage, browser: Browser) -> None:
    asked, alice = stage.ask("pair"), stage.visitor("alice")
    assert alice.approve(asked.id).status == 303
    browser.become(alice)
    browser.open(asked.url)
    assert "You have approved this. It waits for 1 more approval." in browser.text
    assert not browser.has("Approve")
    refused_everywhere(alice, asked, "You have approved this")
    assert len(stage.poll(asked)["approvals"]) == 1


def test_who_has_no_passkey_where_none_is_needed_approves_without(stage: Stage) -> None:
    asked = stage.ask("staging")
    assert stage.visitor("erin").approve(asked.id).status == 303
    assert stage.poll(asked)["status"] == "approved"


def test_who_has_a_passkey_uses_it_where_none_is_needed(stage: Stage, browser: Browser) -> None:
    """Otherwise a stolen session would be enough, which a passkey is there to prevent."""
    asked, alice = stage.ask("staging"), stage.visitor("alice")
    browser.become(alice)
    browser.open(asked.url)
    assert browser.has("Approve with your passkey")
    answer = alice.submit(f"/requests/{asked.id}/approve", credential="")
    assert answer.status == 403
    assert "This approval takes your passkey" in answer.text
    assert stage.poll(asked)["status"] == "open"


def expired(stage: Stage, asked: Asked) -> None:
    stage.change(asked, lambda value: value.update(expires_at=int(time.time()) - 1))


def declined(stage: Stage, asked: Asked) -> None:
    assert stage.visitor("carol").decline(asked.id).status == 303


def approved(stage: Stage, asked: Asked) -> None:
    assert stage.visitor("carol").approve(asked.id).status == 303


OVER = [(expired, "Nobody approved in time."), (declined, "Declined by carol@example.com"), (approved, "Approved.")]


@pytest.mark.parametrize(("end", "said"), OVER)
def test_what_is_over(stage: Stage, browser: Browser, end: Callable[[Stage, Asked], None], said: str) -> None:
    asked, erin, alice = stage.ask("staging"), stage.visitor("erin"), stage.visitor("alice")
    end(stage, asked)
    before = stage.poll(asked), stage.records()
    browser.become(erin)
    browser.open(asked.url)
    assert said in browser.text
    assert not browser.has("Approve")
    assert not browser.has("Decline")
    assert erin.approve(asked.id).status in (403, 409)
    assert erin.decline(asked.id).status == 409
    assert alice.submit(f"/requests/{asked.id}/challenge").status == 403
    assert (stage.poll(asked), stage.records()) == before


def test_a_request_that_nobody_made(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("alice"))
    browser.open(f"{stage.url}/requests/{'A' * 32}")
    assert browser.heading == "There is nothing here"
    assert "There is no such request." in browser.text
    browser.press("To all requests")
    assert browser.heading == "Requests for approval"
    assert stage.visitor("alice").submit(f"/requests/{'A' * 32}/approve").status == 404


GONE = [
    ({"environment": "moon"}, "The policy does not list this environment."),
    ({"repository": "evil/shop"}, "The policy does not let this repository into staging."),
]


@pytest.mark.parametrize(("changed", "said"), GONE)
def test_what_the_policy_no_longer_has(stage: Stage, browser: Browser, changed: dict[str, str], said: str) -> None:
    asked, erin = stage.ask("staging"), stage.visitor("erin")
    stage.change(asked, lambda value: value.update(deployment=value["deployment"] | changed))
    browser.become(erin)
    browser.open(asked.url)
    assert said in browser.text
    for how in ("approve", "decline"):
        assert erin.submit(f"/requests/{asked.id}/{how}", reason="Not today.").status == 404
    browser.open(stage.url)
    assert browser.heading == "Requests for approval", "and the list of all others stands"


def test_somebody_whom_the_policy_does_not_know(stage: Stage, browser: Browser) -> None:
    before = len(stage.records())
    stage.arriving("mallory")
    browser.open(f"{stage.url}/")
    browser.press("Continue with Example SSO")
    assert "You have signed in, but the policy does not know you." in browser.text
    assert "mallory@example.com" in browser.text
    browser.open(stage.ask().url)
    assert browser.heading == "Sign in"
    assert len(stage.records()) == before + 1, "who was turned away stands in the audit log"


def test_somebody_whom_the_policy_forgets(stage: Stage) -> None:
    """A session is worth nothing by itself: the policy of now decides."""
    asked, carol = stage.ask("staging"), stage.visitor("carol")
    csrf = carol.csrf
    policy = stage.place.policy
    known, environments = dict(policy["people"]), {name: dict(one) for name, one in policy["environments"].items()}
    del policy["people"]["carol@example.com"]
    for environment in policy["environments"].values():
        environment["approvers"] = [one for one in environment["approvers"] if not one.startswith("carol")]
    try:
        stage.place.write()
        deadline = time.monotonic() + 15
        while carol.get("/").status != 403:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "The policy does not know you any more." in carol.get(f"/requests/{asked.id}").text
        form = {"csrf": csrf, "credential": ""}
        assert carol.post(f"/requests/{asked.id}/approve", form).status == 403
    finally:
        policy["people"], policy["environments"] = known, environments
        stage.place.write()
        while carol.get("/").status != 200:
            time.sleep(0.1)
    assert stage.poll(asked)["status"] == "open"


def test_forms_that_are_nobodys(stage: Stage) -> None:
    """Without a session, with another session's CSRF token, from another site's page: nothing is done."""
    asked, erin, frank = stage.ask("staging"), stage.visitor("erin"), stage.visitor("frank")
    path = f"{stage.url}/requests/{asked.id}/approve"
    before = stage.rows(), stage.records()

    def post(csrf: str, **arguments: Any) -> requests.Response:
        return requests.post(path, data={"csrf": csrf}, timeout=30, allow_redirects=False, **arguments)

    cookies = {"gate": erin.cookies["gate"]}
    assert post(erin.csrf).status_code == 401
    assert post("", cookies=cookies).status_code == 401
    assert post(frank.csrf, cookies=cookies).status_code == 401
    for header in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert post(erin.csrf, cookies=cookies, headers=header).status_code == 403
    assert (stage.rows(), stage.records()) == before
