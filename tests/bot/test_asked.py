"""What is asked for: a request's body against what its credential proves."""

from typing import Any

import pytest

from gate.bot.asked import Asked, resolve
from gate.bot.claims import Job, read_job
from gate.bot.errors import BotError, NotAllowed
from gate.bot.jobs import ApiToken
from gate.bot.web import status_of
from gate.deployment import Deployment
from gate.policy import RepositoryPattern
from gate.policyfile import compile_policy
from tests.bot.provider import SHA, Provider
from tests.core.mint import POLICY as TEXT

CI_NAMES = "ci_names: [Production EU, production/eu-west-1]"
POLICY = compile_policy(TEXT.replace("  production:\n", f"  production:\n    {CI_NAMES}\n").encode())
OCTOCAT = "github:octocat#583231"
OTHER_SHA = "0" * 39 + "1"
TOKEN = ApiToken("jenkins", bytes(32), (RepositoryPattern(("acme", "*")),), frozenset({"production"}))
BODY = {"repository": "acme/shop", "sha": SHA, "environment": "production"}


def ask(who: Job | ApiToken, body: dict[str, Any]) -> Asked:
    return resolve(who, body, POLICY)


def job(kind: Any = "github", **changes: Any) -> Job:
    return read_job(kind, "https://token.actions.githubusercontent.com", Provider().ci_claims(kind, **changes))


def test_everything_is_proved() -> None:
    assert ask(job(), {}) == Asked(
        Deployment("acme/shop", SHA, "production", (OCTOCAT,), "30433642", "1296269"),
        job()._replace(ci_environment="production"),
        frozenset(),
        rerun=False,
    )


def test_saying_what_is_proved_changes_nothing() -> None:
    said = {"repository": "ACME/shop", "sha": SHA, "environment": "production", "run_id": "30433642", "attempt": 2}
    for actor in (OCTOCAT, "github:octocat", "octocat"):
        assert ask(job(), {**said, "actors": [actor], "rerun": False}) == ask(job(), {})


@pytest.mark.parametrize(
    ("name", "value", "proved"),
    [
        ("repository", "acme/other", "acme/shop"),
        ("repository", "evil/shop", "acme/shop"),
        ("environment", "staging", "production"),
        ("run_id", "30433643", "30433642"),
        ("attempt", 1, "2"),
    ],
)
def test_a_contradiction_is_not_allowed(name: str, value: Any, proved: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        ask(job(), {name: value})
    assert name in caught.value.message
    assert (caught.value.expected, caught.value.actual) == (proved, str(value))
    assert status_of(caught.value) == 403


@pytest.mark.parametrize("called", ["Production EU", "PRODUCTION eu", "production/eu-west-1", "Production"])
def test_the_environment_is_the_policy_s_whatever_the_ci_calls_it(called: str) -> None:
    for asked in (ask(job(environment=called), {}), ask(job(environment=called), {"environment": "production"})):
        assert (asked.deployment.environment, asked.job.ci_environment) == ("production", called)
        assert asked.said == frozenset()
    assert ask(TOKEN, BODY | {"environment": called}).deployment.environment == "production"


@pytest.mark.parametrize("called", ["Production US", "../production", "x" * 101])
def test_an_environment_that_the_policy_can_t_call_so_is_refused(called: str) -> None:
    with pytest.raises(BotError) as caught:
        ask(TOKEN._replace(environments=frozenset()), BODY | {"environment": called})
    assert "ci_names" in caught.value.hint


def test_another_sha_is_the_job_s_word() -> None:
    asked = ask(job(), {"sha": OTHER_SHA})
    assert asked.deployment.sha == OTHER_SHA
    assert asked.job.sha == SHA
    assert asked.said == {"sha"}
    assert "sha" in asked.job.proved  # where the run stands
    assert asked.job.run_url


def test_an_environment_that_is_not_proved_is_the_job_s_word() -> None:
    asked = ask(job(environment=None), {"environment": "production"})
    assert asked.deployment.environment == asked.job.environment == "production"
    assert asked.said == {"environment"}
    with pytest.raises(BotError, match="environment"):
        ask(job(environment=None), {})


def test_actors_are_added_never_taken_away() -> None:
    others = ["mallory", "github:octocat#99", "gitlab:octocat", "octo"]
    asked = ask(job(), {"actors": ["mallory", "octocat", *others]})
    assert asked.deployment.actors == (OCTOCAT, *others)
    assert asked.said == {"actors"}


def test_gitlab_does_not_prove_the_attempt() -> None:
    asked = ask(job("gitlab"), {"attempt": 3})
    assert asked.job.attempt == 3
    assert asked.said == {"attempt"}
    assert ask(job("gitlab"), {}).job.attempt == 1


def test_an_api_token_proves_nothing() -> None:
    asked = ask(TOKEN, {**BODY, "run_id": "jenkins-7", "attempt": 2, "actors": ["alice"]})
    assert asked == Asked(
        Deployment("acme/shop", SHA, "production", ("alice",), "jenkins-7"),
        Job("token:jenkins", "acme/shop", "", SHA, "production", "jenkins-7", 2, ("alice",)),
        frozenset({"repository", "sha", "environment", "run_id", "attempt", "actors"}),
        rerun=False,
    )
    assert asked.job.proved == frozenset()


def test_only_a_proved_run_is_run_again() -> None:
    assert ask(job(), {"rerun": True}).rerun
    for who in (job("gitlab"), TOKEN):
        with pytest.raises(NotAllowed, match="GitHub vouches"):
            ask(who, {"rerun": True})


@pytest.mark.parametrize("name", ["repository", "sha", "environment"])
def test_what_an_api_token_s_holder_must_say(name: str) -> None:
    with pytest.raises(BotError, match=name) as caught:
        ask(TOKEN, {key: value for key, value in BODY.items() if key != name})
    assert status_of(caught.value) == 400


@pytest.mark.parametrize(
    "change", [{"repository": "evil/shop"}, {"repository": "acme/shop/x"}, {"environment": "staging"}]
)
def test_an_api_token_has_bounds(change: dict[str, str]) -> None:
    with pytest.raises(NotAllowed) as caught:
        ask(TOKEN, {**BODY, **change})
    assert caught.value.actual in change.values()


def test_an_api_token_for_every_environment() -> None:
    assert ask(TOKEN._replace(environments=frozenset()), {**BODY, "environment": "staging"})


@pytest.mark.parametrize(
    "change",
    [
        {"repository": 7},
        {"repository": "shop"},
        {"repository": None},
        {"sha": "main"},
        {"sha": SHA[:12]},
        {"environment": "a b"},
        {"run_id": 7},
        {"run_id": "x" * 300},
        {"run_id": "x\n"},
        {"attempt": "1"},
        {"attempt": True},
        {"attempt": -1},
        {"attempt": 1.0},
        {"attempt": 10**9},
        {"actors": "alice"},
        {"actors": [7]},
        {"actors": [""]},
        {"actors": ["x"] * 17 + ["y" * 300]},
        {"actors": [str(number) for number in range(17)]},
        {"rerun": 1},
        {"rerun": "true"},
        {"request_id": "x"},
        {"repository_id": "1"},
        {"\u202e": 1},
    ],
)
@pytest.mark.parametrize("who", [TOKEN, job(environment=None)])
def test_bodies_that_make_no_sense(who: Job | ApiToken, change: dict[str, Any]) -> None:
    with pytest.raises(BotError) as caught:
        ask(who, {**BODY, **change})
    assert status_of(caught.value) in (400, 403)
    assert all(text.isprintable() for text in (caught.value.message, caught.value.actual))
