"""The history page's reading of the log: newest first, in pages."""

from pathlib import Path

import pytest

from gate.bot.history import SHOWN, History
from gate.bot.logbook import Logbook
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
    first, older = history.select(path, "", None)
    assert [entry.place for entry in first] == [f"Event {number}" for number in range(total, total - SHOWN, -1)]
    second, end = history.select(path, "", older)
    assert ([entry.place for entry in second], end) == ([f"Event {number}" for number in (5, 4, 3, 2, 1)], None)
    assert (first[0].who, first[0].word) == ("alice@example.com", "Passkey enrolled")
    assert history.select(path, "0", None).entries == []  # none of them is on a commit


def test_decisions_of_people_and_of_the_gate_stand_together(desk: Office) -> None:
    standing = desk.ask()
    desk.approve(standing.request.id, reason="hotfix")
    tokens = desk.tokens(standing)
    right = desk.world.deployment(run_id="7", repository_id="74", request_id=standing.request.id)
    desk.world.gate().check(tokens, right)
    desk.world.gate().check(tokens, right)
    history = History(lambda: [desk.stores()])
    entries = history.select("acme/shop/production", SHA[:8], None).entries
    assert [entry.word for entry in entries] == ["Denied", "Allowed", "Approved on the page"]
    assert entries[1].reason == "hotfix"
    assert history.select("acme/shop/production", "abc", None).entries == []


@pytest.mark.parametrize("each", [0, 1])
def test_no_page_holds_more_and_none_leaves_any_out(desk: Office, each: int) -> None:
    """Whether they are of one second or not."""
    book, history = Logbook(desk.stores, desk.clock), History(lambda: [desk.stores()])
    total = 2 * SHOWN + 3
    for number in range(total):
        desk.later(each)
        book.enrolled("alice@example.com", f"id{number}")
    [path] = history.streams()
    pages, start = [], None
    for _ in range(3):
        entries, start = history.select(path, "", start)
        pages.append([entry.place for entry in entries])
    assert [len(page) for page in pages] == [SHOWN, SHOWN, 3]
    assert [place for page in pages for place in page] == [f"Event {number}" for number in range(total, 0, -1)]
    assert start is None
