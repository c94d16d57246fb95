"""Notices: told at least once although bots die and channels are down, and no news that is not so."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.bot import herald, metrics
from gate.bot.errors import Unavailable
from gate.bot.notices import Undelivered
from gate.bot.request import Declined
from gate.errors import UsageError
from tests.bot.office import Memory, Office, down, office
from tests.world import ALICE, BOB


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    made = office(tmp_path)
    made.herald.hurry = lambda *_: None  # type: ignore[method-assign]
    yield made
    made.herald.stop()


def due(desk: Office, seconds: int = 10) -> list[str]:
    """What the channel was told, once so much time has passed."""
    desk.later(seconds)
    desk.herald.run_due()
    return desk.channels[0].news


def errands(desk: Office) -> list[dict[str, Any]]:
    return [dict(one.value) for one in desk.state.list("errand", int(desk.world.now)) if one.value["due_at"] < 2**40]


def test_the_news_of_a_request_are_told_once_each(desk: Office) -> None:
    key = desk.ask().request.id
    assert due(desk) == ["asked"]
    desk.approve(key, reason="because")
    assert due(desk) == ["asked", "approved"]
    assert due(desk, 600) == ["asked", "approved"]
    notice = desk.channels[0].told[-1]
    assert notice.url.endswith(f"/requests/{key}")
    assert (notice.approved_by, notice.run_id, notice.held, notice.rerun) == ((ALICE,), "7", False, False)


def test_each_job_that_github_holds_after_an_answer_is_answered_anew(desk: Office) -> None:
    key = desk.ask(held="delivery-1", proved=frozenset()).request.id
    desk.approve(key)
    assert due(desk) == ["approved"]
    desk.ask(held="delivery-1", proved=frozenset())
    assert due(desk) == ["approved"]
    desk.ask(held="delivery-2", proved=frozenset())
    assert due(desk) == ["approved", "asked"]


def test_what_is_about_to_change_is_not_looked_for_at_once(desk: Office) -> None:
    desk.ask()
    assert due(desk, 9) == []
    assert due(desk, 1) == ["asked"]


def test_a_refusal_and_an_end_are_told_with_who_and_why(desk: Office) -> None:
    key = desk.ask(rerun=True).request.id
    desk.decline(key, BOB, "Not on a Friday")
    assert due(desk) == ["declined"]
    told = desk.channels[0].told[0]
    assert (told.declined_by, told.reason, told.rerun) == (BOB, "Not on a Friday", True)
    desk.ask(run_id="8", held="delivery")
    assert due(desk, 3600) == ["declined", "expired"]
    assert desk.channels[0].told[1].held


def test_what_arrives_and_what_does_not_is_counted(desk: Office) -> None:
    def counted(outcome: str) -> float:
        labels = {"channel": "memory", "outcome": outcome}
        return metrics.REGISTRY.get_sample_value("gate_bot_notices_total", labels) or 0

    delivered, failed = counted("delivered"), counted("failed")
    desk.channels[0].trouble = Undelivered("down")
    desk.ask()
    assert due(desk) == []
    assert (counted("delivered"), counted("failed")) == (delivered, failed + 1)
    desk.channels[0].trouble = None
    assert due(desk, 60) == ["asked"]
    assert (counted("delivered"), counted("failed")) == (delivered + 1, failed + 1)


def test_a_change_that_does_not_come_about_is_not_told(desk: Office) -> None:
    key = desk.ask().request.id
    due(desk)

    def lost(kind: str, _: str) -> None:
        if kind == "request":
            down()

    desk.state.before["put"] = lost
    with pytest.raises(Unavailable):
        desk.approve(key)
    desk.state.before.clear()
    for _ in range(10):
        due(desk, 600)
    assert "approved" not in desk.channels[0].news
    assert not [one for one in errands(desk) if one["news"] == "approved"]


def test_a_change_that_comes_about_late_is_told_all_the_same(desk: Office) -> None:
    """The bot that approves is held up between its errand and its change, while another one looks at the errand."""
    key = desk.ask().request.id
    due(desk)

    def meanwhile(kind: str, _: str) -> None:
        if kind == "request":
            desk.state.before.clear()
            assert due(desk) == ["asked"]  # not so, not yet

    desk.state.before["put"] = meanwhile
    desk.approve(key)
    assert due(desk, 60) == ["asked", "approved"]


def test_a_race_that_is_lost_after_it_was_told_tells_nothing_twice(desk: Office) -> None:
    key = desk.ask().request.id
    due(desk)

    def meanwhile(kind: str, name: str) -> None:
        if name.endswith(".approved"):
            desk.state.before.clear()
            desk.approve(key, BOB)
            due(desk)

    desk.state.before["put"] = meanwhile
    with pytest.raises(Exception, match="too late"):
        desk.approve(key, ALICE)
    for _ in range(5):
        due(desk, 20)
    assert desk.channels[0].news == ["asked", "approved"]


def test_two_heralds_tell_once(desk: Office) -> None:
    other = Office(desk.world, desk.channels)
    for run in range(6):
        desk.ask(run_id=str(run))
    desk.later(10)
    ready = threading.Barrier(2)

    def run(one: Office) -> None:
        ready.wait()
        one.herald.run_due()

    threads = [threading.Thread(target=run, args=(one,)) for one in (desk, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.channels[0].news == ["asked"] * 6
    other.herald.stop()


def test_an_errand_of_a_bot_that_died_is_another_s_after_its_lease(desk: Office) -> None:
    desk.ask()
    desk.later(10)
    [document] = [one for one in desk.state.list("errand", int(desk.world.now)) if one.value["news"] == "asked"]
    desk.herald._deliver = down  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        desk.herald._run(document)
    other = Office(desk.world)
    assert due(other, 59) == []
    assert due(other, 1) == ["asked"]
    other.herald.stop()


def test_a_channel_that_is_down_is_tried_again_with_longer_pauses(desk: Office) -> None:
    memory = desk.channels[0]
    memory.trouble = Undelivered("down")
    desk.ask()
    at = []
    start = desk.world.now
    for _ in range(2000):
        before = memory.tried
        due(desk, 5)
        if memory.tried > before:
            at.append(int(desk.world.now - start))
    pauses = [later - earlier for earlier, later in zip(at, [*at[1:], at[-1]], strict=True)]
    assert pauses[:6] == [10, 20, 40, 80, 160, 320]
    assert len(at) <= 2 * herald._MOST_TRIES  # and then given up; the end of the request is the other one


def test_one_that_is_final_is_not_tried_again(desk: Office) -> None:
    desk.channels[0].trouble = Undelivered("gone", final=True)
    desk.ask()
    for _ in range(5):
        due(desk, 600)
    assert desk.channels[0].tried == 1


def test_it_is_not_tried_before_the_channel_says(desk: Office) -> None:
    memory = desk.channels[0]
    memory.trouble = Undelivered("slow down", after=300.0)
    desk.ask()
    due(desk)
    memory.trouble = None
    assert due(desk, 290) == []
    assert due(desk, 11) == ["asked"]


@pytest.mark.parametrize("trouble", [UsageError("the secret is gone"), RuntimeError("a bug"), KeyError("x")])
def test_one_channel_s_trouble_is_not_another_s(tmp_path: Path, trouble: Exception) -> None:
    bad, good = Memory("bad"), Memory("good")
    desk = Office(office(tmp_path).world, [bad, good])
    desk.herald.hurry = lambda *_: None  # type: ignore[method-assign]
    bad.trouble = trouble
    desk.ask()
    for _ in range(4):
        due(desk, 100)
    assert good.news == ["asked"]
    assert bad.tried > 1
    bad.trouble = None
    due(desk, 600)
    assert (bad.news, good.news) == (["asked"], ["asked"])
    desk.herald.stop()


def test_a_channel_that_hangs_stops_no_other_and_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(herald, "_PATIENCE", 0.2)
    hang = threading.Event()
    slow, good = Memory("slow"), Memory("good")
    slow.before = lambda: hang.wait(20)
    desk = Office(office(tmp_path).world, [slow, good])
    for run in range(12):
        desk.ask(run_id=str(run))
    desk.later(10)
    desk.herald.run_due()
    assert good.news == ["asked"] * 12
    assert slow.told == []
    hang.set()
    for _ in range(3):
        due(desk, 100)
    assert len({notice.run_id or notice.request_id for notice in slow.told}) == 12
    desk.herald.stop()


def test_a_damaged_errand_is_in_nobody_s_way(desk: Office) -> None:
    now = int(desk.world.now)
    for key, value in {"a": {}, "b": {"due_at": "x"}, "c": {"due_at": 1}, "d": {"due_at": 1, "tries": None}}.items():
        desk.state.put("errand", key, value, expires_at=now + 999, expected=0, now=now)
    desk.ask()
    assert due(desk) == ["asked"]


def test_where_the_state_fails_the_herald_goes_on(desk: Office) -> None:
    desk.ask()
    desk.state.before["put"] = lambda kind, _: down() if kind == "errand" else None
    assert due(desk) == []
    desk.state.before.clear()
    assert due(desk) == ["asked"]


def test_what_was_told_in_time_is_told_by_hurrying_and_not_again(tmp_path: Path) -> None:
    desk = office(tmp_path)
    told = threading.Event()
    desk.channels[0].before = told.set
    key = desk.ask().request.id
    assert told.wait(20)
    told.clear()
    desk.approve(key)
    assert told.wait(20)
    desk.herald.stop()
    assert desk.channels[0].news == ["asked", "approved"]
    again = Office(desk.world)
    again.later(700)
    again.herald.run_due()
    again.herald.stop()
    assert again.channels[0].news == []


def test_stopping_lets_end_what_is_under_way_and_leaves_the_rest(tmp_path: Path) -> None:
    desk = office(tmp_path)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(20)

    desk.channels[0].before = wait
    desk.ask()
    assert begun.wait(20)
    stopping = threading.Thread(target=desk.herald.stop)
    stopping.start()
    assert desk.herald._stop.wait(20)
    desk.ask(run_id="8")  # is not begun any more
    go_on.set()
    stopping.join(20)
    assert not stopping.is_alive()
    assert desk.channels[0].news == ["asked"]
    next_one = Office(desk.world)
    next_one.later(10)
    next_one.herald.run_due()
    next_one.herald.stop()
    assert [notice.run_id for notice in next_one.channels[0].told] == ["8"]


def test_it_looks_by_itself_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "_TICK", 0.01)
    desk = office(tmp_path)
    desk.herald.hurry = lambda *_: None  # type: ignore[method-assign]
    told = threading.Event()
    desk.channels[0].before = told.set
    desk.ask()
    desk.later(10)
    desk.herald.start()
    assert told.wait(20)
    desk.herald.stop()
    assert not desk.herald._thread.is_alive()


def test_without_a_channel_nothing_is_written(tmp_path: Path) -> None:
    desk = Office(office(tmp_path).world, [])
    desk.ask()
    assert errands(desk) == []
    desk.herald.stop()


def test_a_request_that_is_gone_is_not_told(desk: Office) -> None:
    desk.ask()
    desk.change('["acme/*"]', "[acme/other]")
    for _ in range(14):
        due(desk, 600)
    assert desk.channels[0].news == []
    assert errands(desk) == []


def test_an_older_generation_is_not_told(desk: Office) -> None:
    key = desk.ask().request.id
    register = desk.register
    register.change(key, lambda newest: replace(newest.request, declined=Declined(ALICE, "no", 1)))
    desk.ask(attempt=2)
    assert due(desk) == ["asked"]
    assert desk.channels[0].told[0].attempt == 2
