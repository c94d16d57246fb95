"""The answers to jobs that GitHub holds, at a local server that is checked by GitHub's description."""

from collections.abc import Iterator
from typing import Any

import pytest

from gate.bot import hold
from gate.bot.errors import NotFound, Unavailable
from gate.bot.hold import Hold
from gate.bot.notices import Undelivered
from gate.forge.githubapp import PlainToken
from gate.forge.rest import Forge
from tests.bot.github import Fault, GitHub, serving
from tests.bot.githubdata import TOKEN, Reply
from tests.bot.githubroutes import problem
from tests.bot.news import HOSTILE, URL, notice
from tests.bot.test_webhook import EVENT, RUN


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:
        served.shop.waiting = {RUN: ["staging", "production"]}
        served.shop.add_run(RUN, "0" * 40, status="waiting", conclusion=None)
        yield served


def channel(github: GitHub) -> Hold:
    return Hold(Forge(github.url, PlainToken(lambda: TOKEN), timeouts=(2.0, 2.0), patience=0.0))


def answer(github: GitHub, news: str = "approved", **changed: Any) -> None:
    channel(github).deliver(notice(news, **({"repository": "acme/shop", "held": True} | changed)))


@pytest.mark.parametrize(
    ("news", "state", "comment"),
    [
        ("approved", "approved", "Approved by alice@example.com, carol@example.com."),
        ("declined", "rejected", "Declined by alice@example.com: Not on a Friday"),
        ("expired", "rejected", "Nobody approved in time."),
    ],
)
def test_the_answer(github: GitHub, news: str, state: str, comment: str) -> None:
    answer(github, news)
    (review,) = github.shop.reviews
    assert review == {
        "run_id": RUN,
        "environment_name": "production",
        "state": state,
        "comment": f"`{comment}`\n\n{URL}",
    }
    assert github.shop.waiting[RUN] == ["staging"]


@pytest.mark.parametrize(("news", "held"), [("asked", True), ("approved", False)])
def test_nobody_waits_for_an_answer(github: GitHub, news: str, held: bool) -> None:
    answer(github, news, held=held)
    assert github.shop.reviews == []


def test_answered_twice(github: GitHub) -> None:
    answer(github)
    answer(github)
    assert len(github.shop.reviews) == 1


def test_an_answer_that_got_lost(github: GitHub) -> None:
    github.faults = [Fault("POST", EVENT, lost=True)]
    with pytest.raises(Undelivered) as caught:
        answer(github)
    assert not caught.value.final
    answer(github)
    assert len(github.shop.reviews) == 1


@pytest.mark.parametrize(("status", "final"), [(403, True), (404, True), (422, True), (500, False), (401, False)])
def test_an_answer_that_is_refused(github: GitHub, status: int, final: bool) -> None:
    github.faults = [Fault("POST", EVENT, problem(status, "No"))]
    with pytest.raises(Undelivered) as caught:
        answer(github)
    assert caught.value.final is final
    assert TOKEN not in f"{caught.value!r} {caught.value.hint}"


def test_a_comment_of_others_links_nowhere(github: GitHub) -> None:
    answer(github, "declined", reason=HOSTILE)
    assert "://" not in github.shop.reviews[0]["comment"].removesuffix(URL)


@pytest.mark.parametrize("pending", [None, [], [{}], [{"environment": {"name": "production"}}]])
def test_nobody_can_tell_whether_it_still_waits(github: GitHub, pending: Any) -> None:
    github.faults = [Fault("POST", EVENT, problem(422, "No")), Fault("GET", "/pending_", Reply(200, pending))]
    if pending == []:
        answer(github)
    else:
        with pytest.raises(Undelivered):
            answer(github)


def test_another_attempt_of_the_run_is_left_alone(github: GitHub) -> None:
    """It asks by a delivery of its own: this answer is to the one before."""
    github.shop.runs[RUN]["run_attempt"] = 2
    answer(github)
    assert (github.shop.reviews, github.shop.waiting[RUN]) == ([], ["staging", "production"])
    answer(github, attempt=2)
    assert github.shop.waiting[RUN] == ["staging"]


def test_the_run_that_is_held(github: GitHub) -> None:
    run = github.shop.runs[RUN]
    run |= {"run_attempt": 3, "triggering_actor": run["triggering_actor"] | {"login": "carol", "id": 12}}
    assert channel(github).look("acme/shop", str(RUN)) == (3, "carol", "12")


def test_a_run_that_has_ended_holds_no_job(github: GitHub) -> None:
    github.shop.runs[RUN]["status"] = "completed"
    with pytest.raises(NotFound, match="has ended"):
        channel(github).look("acme/shop", str(RUN))


@pytest.mark.parametrize("reply", [problem(404, "No"), Reply(200, []), Reply(200, {"run_attempt": "x"})])
def test_a_run_that_github_tells_nothing_of(github: GitHub, reply: Reply) -> None:
    github.faults = [Fault("GET", "/actions/runs/", reply)]
    with pytest.raises(Unavailable, match="which attempt"):
        channel(github).look("acme/shop", str(RUN))


def test_a_look_is_bounded(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "_LOOK", 0.2)
    github.faults = [Fault("GET", "/actions/runs/", slow=True)]
    with pytest.raises(Unavailable, match="which attempt"):
        channel(github).look("acme/shop", str(RUN))


def test_silence_is_bounded(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "_PATIENCE", 0.2)
    github.faults = [Fault("POST", EVENT, slow=True)]
    with pytest.raises(Undelivered, match="too long"):
        answer(github)
