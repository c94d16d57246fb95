"""Notices at GitHub, spoken over a real socket to a server that GitHub's own API description checks."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.github import GitHub as Channel
from gate.errors import UsageError
from gate.forge.github import GitHub as History
from gate.forge.githubapp import PlainToken
from gate.forge.rest import Forge
from tests.bot.github import Fault, GitHub, serving
from tests.bot.githubdata import APP_ID, TOKEN, Reply, sha
from tests.bot.githubroutes import problem
from tests.bot.news import HOSTILE, URL, notice
from tests.forge.api import Forge as AnyForge
from tests.forge.api import Reply as AnyReply
from tests.forge.api import serving as any_serving

RUN = 30433642


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:
        for message in ("First", "Second", "Third"):
            served.shop.add_commit(message)
        yield served


def channel(github: GitHub, **settings: Any) -> Channel:
    settings = {"timeouts": (2.0, 2.0), "patience": 3.0, **settings}
    return Channel(Forge(github.url, PlainToken(lambda: TOKEN), **settings))


def refusal(github: GitHub, news: Notice, **settings: Any) -> Undelivered:
    with pytest.raises(Undelivered) as caught:
        channel(github, **settings).deliver(news)
    error = caught.value
    assert error.reason == "bot.unavailable"
    assert TOKEN not in f"{error} {error.hint} {error.expected} {error.actual}"
    return error


def states(github: GitHub) -> list[str]:
    """The states of the commit's statuses, the newest first."""
    return [status["state"] for status in github.shop.statuses.get(sha(3), [])]


@pytest.mark.parametrize(
    ("news", "state"), [("asked", "pending"), ("approved", "success"), ("declined", "failure"), ("expired", "error")]
)
def test_the_status_of_the_commit(github: GitHub, news: str, state: str) -> None:
    channel(github).deliver(notice(news))
    (status,) = github.shop.statuses[sha(3)]
    assert (status["state"], status["context"], status["target_url"]) == (state, "deploy-gate/production", URL)
    assert len(status["description"]) <= 140


def test_said_twice_is_said_once(github: GitHub) -> None:
    number, deployment = github.shop.add_pull(sha(3)), github.shop.add_deployment(sha(3))
    for news in ("asked", "asked", "approved", "approved"):
        channel(github).deliver(notice(news))
    assert states(github) == ["success", "pending"]
    assert [one["state"] for one in github.shop.deployment_statuses[deployment]] == ["in_progress", "pending"]
    assert len(github.shop.comments[number]) == 1


def test_an_old_notice_that_comes_late_changes_nothing(github: GitHub) -> None:
    number, deployment = github.shop.add_pull(sha(3)), github.shop.add_deployment(sha(3))
    channel(github).deliver(notice("declined"))
    channel(github).deliver(notice("asked"))
    assert states(github) == ["failure"]
    assert [one["state"] for one in github.shop.deployment_statuses[deployment]] == ["failure"]
    assert "Declined" in github.shop.comments[number][0]["body"]


def test_progress_is_told(github: GitHub) -> None:
    channel(github).deliver(notice())
    channel(github).deliver(notice(approved_by=("alice@example.com",)))
    assert [one["description"][:15] for one in github.shop.statuses[sha(3)]] == ["1 approval to g", "2 approvals to "]


def test_a_later_request_keeps_the_status(github: GitHub) -> None:
    later = {"request_id": "req-2", "url": "https://gate.example.com/requests/req-2"}
    channel(github).deliver(notice())
    channel(github).deliver(notice(**later))
    channel(github).deliver(notice("expired"))
    assert states(github) == ["pending", "pending"]
    channel(github).deliver(notice("approved", **later))
    assert states(github)[0] == "success"


def test_environments_do_not_share_a_status(github: GitHub) -> None:
    channel(github).deliver(notice("approved"))
    channel(github).deliver(notice("declined", environment="staging"))
    assert {one["context"]: one["state"] for one in github.shop.statuses[sha(3)]} == {
        "deploy-gate/production": "success",
        "deploy-gate/staging": "failure",
    }


@pytest.mark.parametrize(("again", "state"), [(False, "in_progress"), (True, "queued")])
def test_an_approval_is_no_deployment(github: GitHub, again: bool, state: str) -> None:
    github.shop.add_run(RUN, sha(3))
    github.shop.add_deployment(sha(3), "staging")
    older, newest = github.shop.add_deployment(sha(3)), github.shop.add_deployment(sha(3))
    channel(github).deliver(notice("approved", rerun=again))
    (status,) = github.shop.deployment_statuses[newest]
    assert (status["state"], status["log_url"]) == (state, URL)
    assert github.shop.deployment_statuses[older] == []


def test_a_deployment_that_is_done_is_left_alone(github: GitHub) -> None:
    deployment = github.shop.add_deployment(sha(3))
    github.shop.deployment_statuses[deployment] = [github.shop.like("deployment-status", state="success")]
    channel(github).deliver(notice("expired"))
    assert len(github.shop.deployment_statuses[deployment]) == 1


def test_the_comment_is_brought_up_to_date(github: GitHub) -> None:
    number, other = github.shop.add_pull(sha(2), sha(3)), github.shop.add_pull(sha(2))
    github.shop.comments[number] = [github.shop.add_comment(number, f"LGTM {count}") for count in range(150)]
    channel(github).deliver(notice())
    channel(github).deliver(notice(request_id="req-2"))
    channel(github).deliver(notice("approved"))
    first, second = github.shop.comments[number][150:]
    assert "Approved: production of acme/shop" in first["body"]
    assert f"[Open the request]({URL})" in first["body"]
    assert "Approval asked" in second["body"]
    assert github.shop.comments[other] == []


def test_a_locked_pull_request_gets_no_comment(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3), locked=True)
    channel(github).deliver(notice())
    assert github.shop.comments[number] == []


def test_text_of_others_is_code_in_the_comment(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    channel(github).deliver(notice("declined", title=HOSTILE, reason="```\n</details> @everybody", actors=(HOSTILE,)))
    lines = github.shop.comments[number][0]["body"].splitlines()
    told = [line for line in lines if "evil" in line or "everybody" in line]
    assert len(told) == 3
    for line in told:
        _, before, rest = line.partition(": `")
        assert before and rest.endswith("`") and "`" not in rest[:-1]
        assert "://" not in rest


def test_the_job_is_run_again_once(github: GitHub) -> None:
    github.shop.add_run(RUN, sha(3))
    for _ in range(2):
        channel(github).deliver(notice("approved", rerun=True))
    assert len(github.asked("POST", "/rerun-failed-jobs")) == 1
    github.shop.runs[RUN] |= {"status": "completed", "conclusion": "failure"}
    channel(github).deliver(notice("approved", rerun=True))
    assert len(github.asked("POST", "/rerun-failed-jobs")) == 1


@pytest.mark.parametrize("answer", ["lost", "500"])
def test_the_job_is_not_run_again_because_an_answer_got_lost(github: GitHub, answer: str) -> None:
    github.shop.add_run(RUN, sha(3))
    reply = problem(500, "Server Error") if answer == "500" else None
    github.faults = [Fault("POST", "/rerun-failed-jobs", reply, lost=not reply)]
    assert not refusal(github, notice("approved", rerun=True)).final
    assert len(github.asked("POST", "/rerun-failed-jobs")) == 1
    channel(github).deliver(notice("approved", rerun=True))
    assert github.shop.runs[RUN]["run_attempt"] == 2
    assert states(github) == ["success"]


def test_another_bot_was_quicker(github: GitHub) -> None:
    github.shop.add_run(RUN, sha(3))
    first = {**github.shop.runs[RUN]}
    github.shop.runs[RUN] |= {"run_attempt": 2, "status": "in_progress", "conclusion": None}
    github.faults = [Fault("GET", f"/runs/{RUN}", Reply(200, first))]
    channel(github).deliver(notice("approved", rerun=True))
    assert len(github.asked("POST", "/rerun-failed-jobs")) == 1
    assert github.shop.runs[RUN]["run_attempt"] == 2


def test_a_later_attempt_that_asks_is_run_again(github: GitHub) -> None:
    github.shop.add_run(RUN, sha(3))
    github.shop.runs[RUN]["run_attempt"] = 2
    channel(github).deliver(notice("approved", rerun=True, attempt=2))
    assert github.shop.runs[RUN]["run_attempt"] == 3


def test_a_run_that_has_not_ended_yet_is_waited_for(github: GitHub) -> None:
    github.shop.add_run(RUN, sha(3), status="in_progress", conclusion=None)
    error = refusal(github, notice("approved", rerun=True))
    assert not error.final
    assert error.after
    assert states(github) == ["success"]


@pytest.mark.parametrize(
    "news",
    [
        notice("asked", rerun=True),
        notice("declined", rerun=True),
        notice("approved"),
        notice("approved", rerun=True, run_id="1/cancel"),
        notice("approved", rerun=True, run_id=""),
    ],
)
def test_otherwise_nothing_is_run_again(github: GitHub, news: Notice) -> None:
    github.shop.add_run(RUN, sha(3))
    channel(github).deliver(news)
    assert github.asked("GET", "/actions/") + github.asked("POST", "/actions/") == []


@pytest.mark.parametrize("repository", ["group/sub/shop", "shop"])
def test_what_is_not_at_github_is_passed_over(github: GitHub, repository: str) -> None:
    channel(github).deliver(notice(repository=repository))
    assert github.requests == []


@pytest.mark.parametrize(
    ("status", "final"), [(401, False), (403, True), (404, True), (422, True), (429, False), (500, False), (503, False)]
)
def test_refusals(github: GitHub, status: int, final: bool) -> None:
    github.faults = [Fault("POST", "/statuses/", problem(status, "No")) for _ in range(9)]
    assert refusal(github, notice(), patience=0.0).final is final
    assert TOKEN not in repr(github.faults)


def test_one_refusal_does_not_keep_the_rest_back(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    github.faults = [Fault("POST", "/statuses/", problem(403, "Resource not accessible by integration"))]
    assert refusal(github, notice()).final
    assert len(github.shop.comments[number]) == 1


def test_a_commit_that_github_does_not_have(github: GitHub) -> None:
    assert refusal(github, notice(sha=sha(99))).final


@pytest.mark.parametrize(
    "reply",
    [
        problem(403, "You have exceeded a secondary rate limit", Retry_After="17"),
        problem(429, "Too many", Retry_After="17"),
    ],
)
def test_a_rate_limit_is_honoured(github: GitHub, reply: Reply) -> None:
    github.faults = [Fault("POST", "/statuses/", reply)]
    error = refusal(github, notice())
    assert (error.final, error.after) == (False, 17.0)
    assert len(github.requests) == 2  # and nothing after it


def test_a_short_rate_limit_is_waited_out(github: GitHub) -> None:
    github.faults = [Fault("POST", "/statuses/", problem(429, "Too many", Retry_After="0"))]
    channel(github).deliver(notice())
    assert states(github) == ["pending"]


def test_a_status_whose_answer_got_lost_is_said_again(github: GitHub) -> None:
    github.faults = [Fault("POST", "/statuses/", lost=True)]
    channel(github).deliver(notice())
    assert set(states(github)) == {"pending"}


def test_a_comment_whose_answer_got_lost_is_found_again(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    github.faults = [Fault("POST", "/comments", lost=True)]
    assert not refusal(github, notice()).final
    channel(github).deliver(notice())
    assert len(github.shop.comments[number]) == 1


def test_silence_is_bounded(github: GitHub) -> None:
    github.faults = [Fault("GET", "/statuses", slow=True)]
    with pytest.raises(Undelivered, match="took too long"):
        Channel(Forge(github.url, PlainToken(lambda: TOKEN)), patience=0.2).deliver(notice())


def test_nobody_there() -> None:
    error = refusal_at("http://127.0.0.1:9")
    assert not error.final


def refusal_at(url: str) -> Undelivered:
    with pytest.raises(Undelivered) as caught:
        Channel(Forge(url, PlainToken(lambda: TOKEN), patience=0.0)).deliver(notice())
    return caught.value


def test_an_answer_that_is_not_as_documented(github: GitHub) -> None:
    github.faults = [Fault("GET", "/statuses", Reply(200, [{"state": "pending"}]))]
    assert not refusal(github, notice()).final


def test_an_answer_that_is_no_json() -> None:
    forge = AnyForge()
    forge.faults = [lambda _: AnyReply(200, b"<html>")] * 4
    with any_serving(forge):
        assert "did not answer with JSON" in str(refusal_at(forge.url))


def test_a_thread_that_never_ends_is_left_alone(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    github.shop.comments[number] = [github.shop.add_comment(number, "LGTM")] * 2000
    assert refusal(github, notice(), timeouts=(5.0, 5.0)).final
    assert github.asked("POST", "/comments") == []
    assert states(github) == ["pending"]


def test_a_token_never_goes_to_a_strange_place() -> None:
    with pytest.raises(UsageError):
        Channel(Forge("http://github.example.com", PlainToken(lambda: TOKEN))).deliver(notice())


def test_a_redirect_to_another_host_is_not_followed(github: GitHub) -> None:
    github.faults = [Fault("GET", "/statuses", Reply(307, {}, {"Location": "http://localhost:9/"}))]
    assert "another host" in str(refusal(github, notice()))


def test_a_mark_that_an_app_did_not_write_is_not_taken(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    planted = github.shop.add_comment(number, "<!-- deploy-gate req-1 asked -->\nApproved!")
    ours = github.shop.add_comment(number, "<!-- deploy-gate req-1 asked -->\nOurs", by_app=APP_ID)
    tokens = PlainToken(lambda: TOKEN)
    tokens.app_id = APP_ID
    Channel(Forge(github.url, tokens)).deliver(notice("approved"))
    assert [one["id"] for one in github.shop.comments[number]] == [planted["id"], ours["id"]]
    assert github.shop.comments[number][0]["body"].endswith("Approved!")
    assert "**Approved: production" in github.shop.comments[number][1]["body"]


def test_no_secret_in_any_log(github: GitHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    github.faults = [Fault("POST", "/statuses/", problem(500, "No")), Fault("GET", "/pulls", problem(401, "No"))]
    refusal(github, notice())
    assert TOKEN not in caplog.text


def test_the_server_tells_a_history_too(github: GitHub) -> None:
    commits = History(github.url, TOKEN).commits("acme/shop", [sha(1)], sha(3))
    assert [commit.message for commit in commits] == ["Second", "Third"]
    assert len(History(github.url, TOKEN).commits("acme/shop", [], sha(3))) == 1
