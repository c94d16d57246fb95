"""The proof of a log with events in it: they are as safe as decisions, and never taken for one."""

from pathlib import Path
from typing import Any

import pytest

from gate.canonical import canonical
from gate.models import Consumption, Head
from gate.proof import Fault
from gate.record import Record, compose, digest, parse
from tests.audit.book import STREAM, Book, entry, happening, sha, steps
from tests.world import ALICE

EVENTS = (2, 4, 6)  # the records that are events; the others allow


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A log of allows and events, in turn, whose heads are in memory; the newest is an event."""
    book = Book(tmp_path)
    for seq in (1, 3, 5):
        book.world.now += 60
        book.allow(seq)
        book.tell(seq + 1, event="approval", token_digests=("0" * 64,))
    return book


def test_an_untouched_log_has_no_fault(book: Book) -> None:
    events = book.prove()
    assert len(steps(events)) == len(events) == 6
    assert [step.evidence for step in steps(events)] == ["policy", ""] * 3
    assert [isinstance(step.record, Record) for step in steps(events)] == [True, False] * 3


class TestTampered:
    @pytest.mark.parametrize(
        "changes",
        [
            {"who": "mallory@example.com"},
            {"message": ""},
            {"event": "refusal", "token_digests": []},
            {"token_digests": []},
            {"happened_at": 1},
            {"invocation": "1" * 22},
            {"previous": "0" * 64},
            {"last_allowed_sha": None},
            {"last_allowed_sha": "f" * 40},
            {"gate": "9"},
            {"decision": "allow"},
        ],
    )
    @pytest.mark.parametrize("seq", EVENTS)
    def test_an_edited_event(self, book: Book, seq: int, changes: dict[str, Any]) -> None:
        book.rewrite(seq, **changes)
        assert book.faults()[-1] == ("altered", seq, seq)
        assert {first for _, first, _ in book.faults()} == {seq}

    def test_a_flipped_byte_anywhere_names_that_event(self, book: Book) -> None:
        data = book.file(4).read_bytes()
        for position in range(0, len(data), 7):
            flipped = bytearray(data)
            flipped[position] ^= 1
            book.file(4).write_bytes(flipped)
            assert {first for _, first, _ in book.faults()} == {4}, position

    @pytest.mark.parametrize("seq", EVENTS)
    def test_a_removed_event(self, book: Book, seq: int) -> None:
        book.file(seq).unlink()
        assert book.faults() == [("removed", seq, seq)]

    def test_events_that_are_swapped(self, book: Book) -> None:
        one, two = book.file(2).read_bytes(), book.file(4).read_bytes()
        book.file(2).write_bytes(two)
        book.file(4).write_bytes(one)
        assert book.faults() == [("misplaced", 2, 2), ("misplaced", 4, 4)]

    def test_an_event_of_the_bots_own_stream(self, book: Book) -> None:
        book.tell(9, event="enrolment", deployment=None)
        stream = happening(book.world, 9, deployment=None).stream
        book.file(4).write_bytes(book.file(1, stream).read_bytes())
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("misplaced", 4)
        assert "deploy-gate/bot/events" in fault.message

    def test_an_inserted_event(self, book: Book) -> None:
        head = book.file(6).read_bytes()
        book.file(7).write_bytes(compose(happening(book.world, 99), parse(head), digest(head)))
        assert book.faults() == [("unanchored", 7, 7)]

    def test_an_event_in_place_of_an_allow(self, book: Book) -> None:
        before = book.file(2).read_bytes()
        book.file(3).write_bytes(compose(happening(book.world, 99), parse(before), digest(before)))
        assert ("altered", 3, 3) in book.faults()


class TestNoDecision:
    """By somebody who may write to both stores, and knows how."""

    def chained(self, book: Book, data: bytes) -> None:
        head = book.store.head(STREAM)
        assert head
        assert book.store.advance(STREAM, Head(head.seq + 1, data, written=True), head.seq)
        book.log.put(STREAM, head.seq + 1, data)

    def next(self, book: Book, **changes: Any) -> bytes:
        head = book.file(6).read_bytes()
        made: dict[str, Any] = happening(book.world, 9).members()
        place = {"seq": 7, "previous": digest(head), "last_allowed_sha": sha(5)}
        return canonical(made | place | changes)

    def test_an_event_in_its_place_is_believed(self, book: Book) -> None:
        self.chained(book, self.next(book))
        assert book.faults() == []

    @pytest.mark.parametrize("lie", [sha(9), sha(1), None])
    def test_an_event_that_claims_to_have_allowed(self, book: Book, lie: str | None) -> None:
        self.chained(book, self.next(book, last_allowed_sha=lie))
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("forged", 7)
        assert "last_allowed_sha" in fault.message

    @pytest.mark.parametrize(
        "changes",
        [
            {"decision": "allow", "reason": "allowed"},
            {"tokens": ["a.b.c"]},
            {"approvals": [{"approver": ALICE, "jti": "j" * 32, "kid": "k", "issued_at": 1, "expires_at": 2}]},
            {"event": "allowed"},
            {"version": 1},
        ],
    )
    def test_an_event_with_a_verdict_is_no_record(self, book: Book, changes: dict[str, Any]) -> None:
        self.chained(book, self.next(book, **changes))
        assert {fault[0] for fault in book.faults()} == {"unanchored", "altered"}
        assert all(step.record.seq != 7 for step in steps(book.prove()))

    def test_an_approval_on_the_page_settles_no_consumption(self, book: Book) -> None:
        token = book.world.token(sha=sha(9))
        book.tell(9, event="approval", token_digests=(digest(token.encode()),))
        book.store.consume(
            [Consumption("j" * 32, "n", int(book.world.now) + 90_000, int(book.world.now), STREAM, sha(9), ALICE)]
        )
        assert book.faults() == [("unrecorded", 0, 0)]

    def test_an_approval_on_the_page_uses_nothing_up(self, book: Book) -> None:
        token = book.world.token(sha=sha(9))
        for number in (1, 2):
            book.tell(number, event="approval", token_digests=(digest(token.encode()),))
        gate = book.world.gate(replay=book.store, audit=book.log)
        assert gate.check([token], book.world.deployment(sha=sha(9))).allowed
        assert book.faults() == []

    def test_a_log_of_events_alone_has_no_allow(self, tmp_path: Path) -> None:
        book = Book(tmp_path / "bot")
        for number in range(3):
            book.tell(number, event="approval")
        assert book.faults() == []
        assert {step.evidence for step in steps(book.prove())} == {""}
        book.append(entry(book.world, 9))
        assert book.allowed() == []
