"""The chain of decisions and events: they queue at the same head, and neither leaves a gap."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gate.audit import open_audit_log
from gate.chain import append
from gate.errors import AuditUnavailable
from gate.models import Head
from gate.record import BOT_STREAM, Happened, RecordError, parse
from tests.audit.book import STREAM, Book, entry, happening, sha, steps
from tests.audit.test_chain import Wrapped, raising, writer
from tests.parts import Aws


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def kinds(book: Book) -> list[bool]:
    """Of each record in the order of the log, whether it is an event."""
    return [isinstance(step.record, Happened) for step in steps(book.prove())]


class TestOneWriter:
    def test_events_and_decisions_are_one_chain(self, book: Book) -> None:
        book.tell(1)
        book.allow(1)
        book.tell(2)
        book.deny(3)
        assert book.faults() == []
        assert kinds(book) == [True, False, True, False]
        assert [book.members(seq)["last_allowed_sha"] for seq in (1, 2, 3, 4)] == [None, sha(1), sha(1), sha(1)]

    def test_an_event_without_a_deployment(self, book: Book) -> None:
        uri = book.tell(1, event="enrolment", deployment=None)
        assert uri == book.log.uri(BOT_STREAM, 1)
        book.tell(2, event="sign_in_failure", deployment=None)
        book.allow(1)
        assert [parse(book.file(1, stream).read_bytes()).seq for stream in (STREAM, BOT_STREAM)] == [1, 1]
        assert book.faults() == []

    def test_what_no_record_can_hold_leaves_nothing(self, book: Book) -> None:
        with pytest.raises(RecordError):
            book.tell(1, deployment=None)
        assert (book.store.head(BOT_STREAM), [*book.log.listing()]) == (None, [])

    def test_a_decision_finishes_the_event_of_a_bot_that_died(self, book: Book) -> None:
        log = Wrapped(book.log, put=raising(AuditUnavailable("down")))
        with pytest.raises(AuditUnavailable, match="down"):
            append(log, book.store, happening(book.world, 1))
        assert not book.file(1).exists()
        book.allow(1)
        assert kinds(book) == [True, False]
        assert book.faults() == []

    def test_an_event_of_another_stream_as_head_blocks(self, book: Book) -> None:
        book.tell(1, event="enrolment", deployment=None)
        stolen = book.store.head(BOT_STREAM)
        assert stolen
        book.store.advance(STREAM, Head(1, stolen.record, written=True), 0)
        with pytest.raises(AuditUnavailable, match="another place"):
            book.append(entry(book.world, 2))


class TestAllowedShas:
    def test_they_are_found_across_events(self, book: Book) -> None:
        for number in (1, 2):
            book.tell(number)
            book.allow(number)
            book.tell(50 + number)
        assert book.allowed() == [sha(2), sha(1)]

    def test_events_alone_allow_nothing(self, book: Book) -> None:
        for number in range(3):
            book.tell(number, event="approval")
        assert book.allowed() == []

    def test_events_count_among_those_that_one_decision_looks_back_over(
        self, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gate.chain.MOST_RECORDS", 10)
        book.allow(1)
        book.allow(2)
        for number in range(8):
            book.tell(number)
        assert book.allowed() == [sha(2), sha(1)]
        book.tell(9)
        assert book.allowed() == [sha(2)]

    def test_an_event_that_was_edited(self, book: Book) -> None:
        book.allow(1)
        book.tell(2)
        book.allow(3)
        book.rewrite(2, last_allowed_sha=sha(9))
        with pytest.raises(AuditUnavailable, match=r"Record 2 .* not the one that was written"):
            book.allowed()

    def test_over_s3(self, aws: Aws, book: Book) -> None:
        book.log = open_audit_log(f"s3://{aws.bucket()}?region={aws.region}&endpoint={aws.endpoint}", None)
        for number in (1, 2, 3):
            book.tell(number)
            book.allow(number)
        assert book.allowed() == [sha(3), sha(2), sha(1)]
        assert book.faults() == []


class TestManyWriters:
    def test_threads(self, book: Book) -> None:
        made = [happening(book.world, number) if number % 2 else entry(book.world, number) for number in range(64)]
        with ThreadPoolExecutor(8) as pool:
            uris = list(pool.map(book.append, made))
        assert len(set(uris)) == 64
        assert book.faults() == []
        assert sorted(kinds(book)) == [False] * 32 + [True] * 32
        assert {step.record.message for step in steps(book.prove())} == {each.message for each in made}

    def test_threads_over_aws(self, aws: Aws, book: Book) -> None:
        where = f"region={aws.region}&endpoint={aws.endpoint}"
        book = Book(
            book.world.folder / "aws",
            audit=f"s3://{aws.bucket()}/log?{where}",
            replay=f"dynamodb://{aws.table()}?{where}",
        )
        loaded = book.world.loaded()
        book.log, book.store = loaded.audit_log(), loaded.replay_store()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: (book.tell if number % 2 else book.allow)(number), range(12)))
        assert book.faults() == []
        assert sorted(step.evidence for step in steps(book.prove())) == [""] * 6 + ["policy"] * 6
        assert set(book.allowed()) == {sha(number) for number in range(0, 12, 2)}

    def test_processes_of_gates_and_of_bots(self, book: Book) -> None:
        gates = [writer(book, str(number), "8") for number in (1, 2)]
        bots = [teller(book, str(number), "8") for number in (3, 4)]
        assert [process.wait(timeout=60) for process in (*gates, *bots)] == [0] * 4
        book.store = book.world.loaded().replay_store()
        assert book.faults() == []
        assert sorted(kinds(book)) == [False] * 16 + [True] * 16
        assert len(book.allowed()) == 16


def teller(book: Book, *args: str) -> "subprocess.Popen[bytes]":
    """A process of its own that records events in the world of `book`; see tests/audit/teller.py."""
    folder = str(book.world.folder)
    return subprocess.Popen([sys.executable, "-m", "tests.audit.teller", folder, str(int(book.world.now)), *args])
