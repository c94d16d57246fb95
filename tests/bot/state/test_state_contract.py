"""What every state promises, one after the other and all at once."""

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gate.bot.errors import BotError
from gate.bot.state import MAX_DOCUMENT, Document, State, open_state
from gate.bot.web import status_of
from gate.errors import UsageError
from tests.bot.state.material import LATER, NOW, Place, contenders, document, put, said
from tests.replay.material import answer, at_once, tell


def test_what_was_put_is_got_by_everybody(place: Place) -> None:
    value = {
        "text": "zoë \u202e 承認 \x00 \ud800",
        "numbers": [1, -(2**60), 1.5],
        "none": None,
        "": {"deep": [True, []]},
    }
    assert place.open().get("request", "a", NOW) is None
    stands = place.open().put("request", "a", value, expires_at=LATER, expected=0, now=NOW)
    assert stands == Document("request", "a", value, 1, LATER)
    assert place.open().get("request", "a", NOW) == stands
    assert list(place.open().list("request", NOW)) == [stands]


def test_kinds_and_keys_are_apart(state: State) -> None:
    names = [(kind, key) for kind in ("request", "Request", "re.quest") for key in ("a", "A", "a.", "-a_", "a" * 128)]
    for kind, key in names:
        assert state.put(kind, key, {"is": kind + key}, expires_at=LATER, expected=0, now=NOW)
    for kind, key in names:
        stands = state.get(kind, key, NOW)
        assert stands == Document(kind, key, {"is": kind + key}, 1, LATER)
    assert {found.key for found in state.list("Request", NOW)} == {key for _, key in names}


def test_a_document_changes_only_from_the_version_that_it_has(state: State) -> None:
    assert put(state, "a", "early", expected=1) is None
    assert put(state, "a", "one") == document("a", "one", 1)
    assert put(state, "a", "another one") is None
    assert put(state, "a", "three", expected=2) is None
    assert state.get("request", "a", NOW) == document("a", "one", 1)
    assert put(state, "a", "two", expected=1, expires_at=LATER + 1) == document("a", "two", 2, LATER + 1)
    assert put(state, "a", "another two", expected=1) is None
    assert state.get("request", "a", NOW) == document("a", "two", 2, LATER + 1)


def test_putting_the_same_again_is_ones_own_lost_answer(state: State) -> None:
    for version, value in enumerate(["one", "two"], start=1):
        for _ in range(3):
            assert put(state, "a", value, expected=version - 1) == document("a", value, version)
    assert put(state, "a", "one") is None
    assert put(state, "a", "two", expected=1, expires_at=LATER + 1) is None


@pytest.mark.parametrize("values", [(1, True), (1, 1.0), (0, False), ("1", 1)])
def test_what_python_calls_equal_is_not_the_same(state: State, values: tuple[Any, Any]) -> None:
    assert put(state, "a", values[0])
    assert put(state, "a", values[1]) is None


def test_the_order_of_members_is_no_difference(state: State) -> None:
    for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        assert state.put("request", "a", value, expires_at=LATER, expected=0, now=NOW)


def test_a_document_is_alive_before_it_expires(state: State) -> None:
    put(state, "a", "one", expires_at=NOW + 1)
    assert state.get("request", "a", NOW) == document("a", "one", 1, NOW + 1)
    assert state.get("request", "a", NOW + 1) is None
    assert list(state.list("request", NOW + 1)) == []
    assert state.take("request", "a", NOW + 1) is None


def test_in_the_place_of_an_expired_document_a_new_one_may_stand(state: State) -> None:
    put(state, "a", "one")
    put(state, "a", "two", expected=1)
    assert put(state, "a", "three", expected=2, now=LATER, expires_at=LATER + 9) is None
    assert put(state, "a", "anew", now=LATER, expires_at=LATER + 9) == document("a", "anew", 1, LATER + 9)
    assert put(state, "a", "another", now=LATER, expires_at=LATER + 9) is None
    assert state.get("request", "a", LATER) == document("a", "anew", 1, LATER + 9)


def test_a_document_is_taken_once(state: State) -> None:
    put(state, "a", "one")
    put(state, "b", "other")
    assert state.take("request", "a", NOW) == document("a", "one")
    assert state.take("request", "a", NOW) is None
    assert state.get("request", "a", NOW) is None
    assert put(state, "a", "two", expected=1) is None
    assert put(state, "a", "anew") == document("a", "anew", 1)
    assert list(state.list("request", NOW)) == [document("a", "anew"), document("b", "other")]


def test_of_concurrent_writers_exactly_one_wins(state: State) -> None:
    for trial in range(5):
        for expected in (0, 1):
            results = at_once([partial(put, state, f"a-{trial}", f"{expected} {n}", expected) for n in range(8)])
            (winner,) = filter(None, results)
            assert state.get("request", f"a-{trial}", NOW) == winner


def test_of_concurrent_takers_exactly_one_gets_it(state: State) -> None:
    for trial in range(5):
        put(state, f"a-{trial}", "one")
        results = at_once([partial(state.take, "request", f"a-{trial}", NOW)] * 8)
        assert list(filter(None, results)) == [document(f"a-{trial}", "one")]


def test_a_change_and_a_taking_at_once_lose_nothing(state: State) -> None:
    for trial in range(5):
        key = f"a-{trial}"
        put(state, key, "one")
        changed, taken = at_once([partial(put, state, key, "two", 1), partial(state.take, "request", key, NOW)])
        assert taken == (document(key, "two", 2) if changed else document(key, "one", 1))
        assert state.get("request", key, NOW) is None


def test_of_processes_that_write_at_once_exactly_one_wins(place: Place) -> None:
    with contenders(place, 3) as processes:
        for trial in range(10):
            for n, process in enumerate(processes):
                tell(process, "put", [f"a-{trial}", str(n)])
            answers = list(said(processes))
            assert sorted(answers) == ["lost", "lost", "won"]
            assert place.open().get("request", f"a-{trial}", NOW) == document(f"a-{trial}", str(answers.index("won")))
            for process in processes:
                tell(process, "take", [f"a-{trial}"])
            assert sorted(said(processes)) == ["got", "nothing", "nothing"]


def test_processes_that_count_together_miss_nothing(place: Place) -> None:
    with contenders(place, 3) as processes:
        for process in processes:
            tell(process, "count", ["a", "10"])
        counted = [int(answer(process)) for _ in range(10) for process in processes]
    assert sorted(counted) == list(range(1, 31))
    stands = place.open().get("request", "a", NOW)
    assert stands
    assert (stands.version, stands.value["is"][0]) == (30, 30)


def test_a_writer_that_is_killed_leaves_a_whole_document_and_locks_nobody_out(place: Place) -> None:
    state = place.open()
    for trial in range(3):
        with contenders(place, 1) as (process,):
            tell(process, "count", [f"a-{trial}", "10000"])
            counted = [int(answer(process)) for _ in range(3 + 4 * trial)][-1]
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
        stands = state.get("request", f"a-{trial}", NOW)
        assert stands
        assert stands == document(f"a-{trial}", [stands.version, process.pid], stands.version)
        assert stands.version >= counted
        again = put(state, f"a-{trial}", [stands.version, process.pid], stands.version - 1)  # the answer was lost
        assert again == stands
        assert put(state, f"a-{trial}", "on", stands.version)


def test_a_list_is_complete_beyond_one_page(state: State) -> None:
    for n in range(120):
        put(state, f"a-{n}", "x" * 20_000)
    state.put("draft", "a", {}, expires_at=LATER, expected=0, now=NOW)
    found = [document.key for document in state.list("request", NOW)]
    assert sorted(found) == sorted(f"a-{n}" for n in range(120))
    assert [document.key for document in state.list("draft", NOW)] == ["a"]
    assert list(state.list("session", NOW)) == []


def test_a_list_stands_in_nobodys_way(state: State) -> None:
    for n in range(120):
        put(state, f"a-{n}", "one")
    for found in state.list("request", NOW):
        assert put(state, found.key, "two", expected=1)
        if found.key.endswith("7"):
            assert state.take("request", found.key, NOW)
    left = list(state.list("request", NOW))
    assert {found.value["is"] for found in left} == {"two"}
    assert len(left) == 108


def test_the_largest_document_fits_and_no_larger_one(state: State) -> None:
    room = MAX_DOCUMENT - len('{"is":""}')
    largest = document("a", "x" * room)
    assert put(state, "a", "x" * room) == largest
    assert put(state, "a", "y" * room, expected=1)
    assert state.take("request", "a", NOW) == largest._replace(value={"is": "y" * room}, version=2)
    with pytest.raises(BotError) as caught:
        put(state, "a", "x" * (room + 1))
    assert (caught.value.expected, caught.value.actual) == ("at most 262,144 bytes", "262,145 bytes")
    assert state.get("request", "a", NOW) is None


def _nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes", _nested()], ids=["nan", "set", "bytes", "nested"])
def test_what_is_no_json_is_refused(state: State, value: object) -> None:
    with pytest.raises(BotError, match="JSON can't say"):
        put(state, "a", value)
    assert list(state.list("request", NOW)) == []


_ACCESSES: list[Callable[[State, str, str], object]] = [
    lambda state, kind, key: state.get(kind, key, NOW),
    lambda state, kind, key: state.put(kind, key, {}, expires_at=LATER, expected=0, now=NOW),
    lambda state, kind, key: state.take(kind, key, NOW),
]


@pytest.mark.parametrize("name", ["", "a" * 129, "a/b", "a b", "a\n", "\n", "ä", "a\x00", "*", "'; --", "\ud800"])
def test_odd_names_are_refused(state: State, name: str) -> None:
    accesses = [lambda: list(state.list(name, NOW))]
    for access in _ACCESSES:
        accesses += [partial(access, state, name, "a"), partial(access, state, "request", name)]  # type: ignore[list-item]
    for access_it in accesses:
        with pytest.raises(BotError) as caught:
            access_it()
        assert status_of(caught.value) == 400
        assert caught.value.expected
        assert caught.value.actual.isprintable()


def test_a_state_as_it_should_be_is_well(state: State) -> None:
    put(state, "a", "one")
    (finding,) = state.diagnose()
    assert (finding.severity, finding.fix) == ("ok", "")
    assert finding.subject.startswith("deploy-bot's state ")


@pytest.mark.parametrize("uri", ["memory:", "redis://x", "sqlite:", "sqlite:a?b=c", "dynamodb://ab?region=eu-west-1"])
def test_a_uri_that_no_state_takes_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        open_state(uri, None)
