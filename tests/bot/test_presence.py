"""A request whose job no longer asks: nothing would use an approval of it, so nobody gives one."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gate.bot.errors import Conflict
from gate.bot.presence import GONE
from tests.bot.office import SESSION, Office, office
from tests.bot.provider import SHA, Provider, serving
from tests.bot.running import API_TOKEN, Place, running_bot
from tests.bot.tweaks import tweaked
from tests.bot.visitor import Visitor, hidden
from tests.world import ALICE, BOB

BODY = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": "7"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    yield made
    made.herald.stop()


def polled(desk: Office, seconds: int) -> None:
    """A job that asks for the answer every ten seconds."""
    for _ in range(seconds // 10):
        desk.later(10)
        desk.presence.note(desk.ask(waits=True).request)


def test_a_job_that_polls_is_there_and_one_that_stopped_is_gone(desk: Office) -> None:
    request = desk.ask(waits=True).request
    assert not desk.presence.is_gone(request)
    polled(desk, 10 * GONE)
    assert not desk.presence.is_gone(request)
    desk.later(GONE)
    assert not desk.presence.is_gone(request)
    desk.later(1)
    assert desk.presence.is_gone(request)
    desk.presence.note(request)
    assert not desk.presence.is_gone(request)


@pytest.mark.parametrize(
    "members", [{"rerun": True, "waits": True}, {"held": "delivery-1", "waits": True}, {"waits": False}]
)
def test_a_job_that_comes_back_is_not_gone(desk: Office, members: dict[str, object]) -> None:
    request = desk.ask(**members).request  # type: ignore[arg-type]
    desk.later(10 * GONE)
    assert not desk.presence.is_gone(request)
    assert desk.approve(request.id).approvals


def test_nobody_approves_for_a_job_that_is_gone_and_whoever_may_can_decline(desk: Office) -> None:
    key = desk.ask(waits=True).request.id
    question = desk.question(key)
    desk.later(GONE + 1)
    with pytest.raises(Conflict, match="job is gone") as caught:
        desk.desk.approve(key, question, ALICE, SESSION, None, "")
    assert "Run the job again" in caught.value.hint
    with pytest.raises(Conflict, match="job is gone"):
        desk.desk.draft(key, question, ALICE, SESSION, "")
    assert desk.decline(key, BOB, "no").declined


def test_a_job_that_is_run_again_brings_its_request_back(desk: Office) -> None:
    key = desk.ask(waits=True).request.id
    desk.later(GONE + 1)
    again = desk.ask(waits=True, attempt=2).request
    desk.presence.note(again)
    assert again.id == key
    assert desk.approve(key).approvals


def test_a_note_is_written_now_and_then_and_never_by_two_in_a_row(desk: Office) -> None:
    request = desk.ask(waits=True).request
    written: list[str] = []
    desk.state.before["put"] = lambda kind, _: written.append(kind) if kind == "presence" else None
    for _ in range(10):
        desk.presence.note(request)
        desk.later(1)
    assert written == ["presence"] * 2


@pytest.mark.parametrize("value", [{}, {"at": "now"}, {"at": None}])
def test_a_note_that_says_nothing_is_none(desk: Office, value: dict[str, object]) -> None:
    request = desk.ask(waits=True).request
    now = int(desk.clock())
    desk.state.put("presence", request.id, value, expires_at=now + 3600, expected=0, now=now)
    desk.later(GONE + 1)
    assert desk.presence.is_gone(request)
    desk.presence.note(request)
    assert not desk.presence.is_gone(request)


def test_what_an_older_bot_wrote_is_read(desk: Office) -> None:
    request = desk.ask(waits=True).request
    document = {name: value for name, value in request.as_json().items() if name not in ("waits", "ci_environment")}
    assert type(request).from_json(document) == replace(request, ci_environment="")


def test_the_pages_tell_a_job_that_waits_from_one_that_is_gone(tmp_path: Path) -> None:
    quick = "import gate.bot.presence as presence\npresence.GONE, presence._NOTED = 2, 0\n"
    with serving(Provider()) as provider:
        place = Place(tmp_path)
        place.settings["jobs"]["tokens"][0]["repositories"] = ["acme/*"]
        tokens = place.settings["jobs"]
        place.sign_in_with(provider)
        place.settings["jobs"] = tokens
        place.write()
        with running_bot(place, environ=tweaked(tmp_path, quick)):
            visitor = Visitor(place.url, place.port)
            visitor.sign_in(provider, ALICE)
            waiting = visitor.call("/api/requests", API_TOKEN, BODY).json
            leaving = visitor.call("/api/requests", API_TOKEN, BODY | {"run_id": "8", "waits": False}).json
            assert "Its job is gone" not in visitor.get("/").text
            page = visitor.get(f"/requests/{waiting['id']}").text
            question = hidden(page)["question"]
            time.sleep(3.1)
            assert visitor.get("/").text.count("Its job is gone") == 1
            page = visitor.get(f"/requests/{waiting['id']}").text
            assert ("Its job is gone" in page, 'id="approve"' in page, "You can still say no" in page) == (
                True,
                False,
                True,
            )
            refused = visitor.decide(waiting["id"], "approve", question=question)
            assert (refused.status, "job is gone" in refused.text) == (409, True)
            assert "The job does not wait" in visitor.get(f"/requests/{leaving['id']}").text
            assert visitor.approve(leaving["id"]).status == 303
            visitor.call(f"/api/requests/{waiting['id']}", waiting["secret"])
            assert visitor.approve(waiting["id"]).status == 303
