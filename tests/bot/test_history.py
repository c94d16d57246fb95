"""The history page's reading of the log: newest first, in pages."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from gate.bot.history import SHOWN, History, Selected
from gate.bot.historypages import HistoryPages
from gate.bot.logbook import Logbook
from gate.bot.request import Declined
from gate.bot.sessions import Visitor
from gate.bot.views import Views
from gate.bot.web import Call
from tests.bot.office import Office, office
from tests.world import SHA


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    return office(tmp_path)


def test_pages_of_the_newest_first(desk: Office) -> None:
    book, history = Logbook(desk.stores, desk.clock), History(lambda: [desk.stores()])
    assert history.streams() == []
    total = SHOWN + 5
    for number in range(total):
        desk.later(1)
        book.enrolled("alice@example.com", f"id{number}")
    [path] = history.streams()
    first, older = history.select(path, "", 0)
    assert [entry.place for entry in first] == [f"Event {number}" for number in range(total, total - SHOWN, -1)]
    second, end = history.select(path, "", older)
    assert ([entry.place for entry in second], end) == ([f"Event {number}" for number in (5, 4, 3, 2, 1)], 0)
    assert (first[0].who, first[0].word) == ("alice@example.com", "Passkey enrolled")
    assert history.select(path, "0", 0).entries == []  # none of them is on a commit


def test_decisions_of_people_and_of_the_gate_stand_together(desk: Office) -> None:
    standing = desk.ask()
    desk.approve(standing.request.id, reason="hotfix")
    tokens = desk.tokens(standing)
    right = desk.world.deployment(run_id="7", repository_id="74", request_id=standing.request.id)
    desk.world.gate().check(tokens, right)
    desk.world.gate().check(tokens, right)
    history = History(lambda: [desk.stores()])
    entries = history.select("acme/shop/production", SHA[:8], 0).entries
    assert [entry.word for entry in entries] == ["Denied", "Allowed", "Approved on the page"]
    assert entries[1].reason == "hotfix"
    assert history.select("acme/shop/production", "abc", 0).entries == []


def test_what_people_said_is_told_from_what_the_bot_says(desk: Office) -> None:
    book, history = Logbook(desk.stores, desk.clock), History(lambda: [desk.stores()])
    standing = desk.ask()
    desk.approve(standing.request.id, reason="Now: at once")
    desk.later(1)
    book.declined(standing.request.deployment, Declined("bob@example.com", "Not: on a Friday", 1))
    desk.later(1)
    book.enrolled("alice@example.com", "abc")
    said = [(entry.who, entry.message, entry.reason) for path in history.streams()
            for entry in history.select(path, "", 0).entries]  # fmt: skip
    assert said == [
        ("bob@example.com", "", "Not: on a Friday"),
        ("alice@example.com", "without a passkey", "Now: at once"),
        ("alice@example.com", "its id is abc", ""),
    ]


@pytest.mark.parametrize("each", [0, 1, -1])
def test_no_page_holds_more_and_none_leaves_any_out(desk: Office, each: int) -> None:
    """Whether they are of one second or not, and whatever clocks they are told by."""
    book, history = Logbook(desk.stores, desk.clock), History(lambda: [desk.stores()])
    total = 2 * SHOWN + 3
    for number in range(total):
        desk.later(each)
        book.enrolled("alice@example.com", f"id{number}")
    [path] = history.streams()
    pages, skip = [], 0
    for _ in range(3):
        entries, skip = history.select(path, "", skip)
        pages.append([entry.place for entry in entries])
    assert [len(page) for page in pages] == [SHOWN, SHOWN, 3]
    assert [place for page in pages for place in page] == [f"Event {number}" for number in range(total, 0, -1)]
    assert skip == 0


def test_a_place_beyond_the_list_can_be_named() -> None:
    streams = [f"acme/shop/place{number:03}" for number in range(130)]

    def page(template: str, call: Call, **values: Any) -> Any:
        return Views().page(template, visitor=call.visitor, csrf="", dev=False, **values)

    history = SimpleNamespace(streams=lambda: streams, select=lambda *_: Selected([], 0))
    site: Any = SimpleNamespace(visitor_or_none=lambda call: call.visitor, history=history, page=page)
    query = {"type": "http", "path": "/history", "query_string": b"stream=acme/shop/place120", "headers": []}
    visitor = Visitor("session", "alice@example.com", "Alice", "Example SSO", ())
    text = bytes(HistoryPages(site).history(Call(Request(query), b"", "", visitor)).body).decode()
    assert text.count("<option>") == 100
    assert "<option selected>acme/shop/place120</option>" in text
    assert "30 other places can be named in the address" in text
