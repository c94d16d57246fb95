"""The proof of a log from which records were removed, or in which they were moved or inserted."""

import shutil
from dataclasses import replace
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

import pytest

from gate.audit.s3 import Bucket
from gate.aws import CONNECTIONS
from gate.canonical import canonical
from gate.models import Head, Stream
from gate.proof import Fault, prove
from gate.proof.places import Places
from gate.record import compose, digest, parse
from gate.replay.memory import MemoryStore
from tests.audit.book import COUNT, STREAM, Book, entry, faults, notes, steps


class TestRemoved:
    def test_from_the_middle(self, book: Book) -> None:
        book.file(3).unlink()
        assert book.faults() == [("removed", 3, 3)]
        assert book.faults(offline=True) == [("removed", 3, 3)]

    def test_a_run_is_told_once(self, book: Book) -> None:
        for seq in (4, 5, 6):
            book.file(seq).unlink()
        assert book.faults()[:1] == [("removed", 4, 6)]

    def test_from_the_beginning(self, book: Book) -> None:
        book.file(1).unlink()
        assert ("removed", 1, 1) in book.faults()

    def test_from_the_end(self, book: Book) -> None:
        book.file(COUNT).unlink()
        assert book.faults() == [("removed", COUNT, COUNT)]
        assert book.faults(offline=True) == []

    def test_several_from_the_end(self, book: Book) -> None:
        for seq in (7, 8, 9):
            book.file(seq).unlink()
        assert book.faults()[0] == ("removed", 7, 9)

    def test_a_whole_stream(self, book: Book) -> None:
        shutil.rmtree(book.file(1).parent)
        assert book.faults()[0] == ("removed", 1, 9)

    def test_the_consumption_of_a_removed_allow_does_not_say_that_nothing_was_allowed(self, book: Book) -> None:
        book.file(5).unlink()
        assert [fault[0] for fault in book.faults()] == ["removed", "unrecorded"]
        assert "missing or wrong" in [event for event in book.prove() if isinstance(event, Fault)][1].message

    def test_a_record_that_is_not_written_yet_is_no_fault(self, book: Book) -> None:
        data = book.file(COUNT).read_bytes()
        book.store = MemoryStore()
        book.store.advance(STREAM, Head(COUNT, data, written=False), 0)
        book.file(COUNT).unlink()
        events = book.prove()
        assert faults(events) == []
        assert "still to be written" in notes(events)[0]

    def test_more_than_anybody_would_wait_for(self, book: Book) -> None:
        far = replace(parse(book.file(3).read_bytes()))
        head = canonical(book.members(3) | {"seq": 10**11})
        book.store = MemoryStore()
        book.store.advance(STREAM, Head(10**11, head, written=True), 0)
        assert far.seq == 3
        assert book.faults() == [("removed", 10, COUNT + 10_000), ("removed", COUNT + 10_001, 10**11)]


class TestMoved:
    def test_two_that_are_swapped(self, book: Book) -> None:
        one, two = book.file(3).read_bytes(), book.file(6).read_bytes()
        book.file(3).write_bytes(two)
        book.file(6).write_bytes(one)
        assert book.faults() == [("misplaced", 3, 3), ("misplaced", 6, 6)]
        assert "3 places later" in next(event for event in book.prove() if isinstance(event, Fault)).message

    def test_allows_that_are_swapped_do_not_look_reused(self, book: Book) -> None:
        one, two = book.file(4).read_bytes(), book.file(8).read_bytes()
        book.file(4).write_bytes(two)
        book.file(8).write_bytes(one)
        assert book.faults() == [("misplaced", 4, 4), ("misplaced", 8, 8)]

    def test_a_record_of_another_stream(self, book: Book) -> None:
        staging = Stream("acme/shop", "staging")
        book.append(entry(book.world, 1, deployment=book.world.deployment(environment="staging")))
        book.file(3).write_bytes(book.file(1, staging).read_bytes())
        assert book.faults() == [("misplaced", 3, 3)]


class TestInserted:
    def test_in_the_middle(self, book: Book) -> None:
        for seq in range(COUNT, 4, -1):
            book.file(seq).rename(book.file(seq + 1))
        book.file(5).write_bytes(compose(entry(book.world, 99), parse(book.file(4).read_bytes())))
        found = book.faults()
        assert ("inserted", COUNT + 1, COUNT + 1) in found
        assert ("misplaced", 6, COUNT) in found

    def test_at_the_end_with_whole_links(self, book: Book) -> None:
        head = book.file(COUNT).read_bytes()
        book.file(COUNT + 1).write_bytes(compose(entry(book.world, 99), parse(head), digest(head)))
        assert book.faults() == [("unanchored", COUNT + 1, COUNT + 1)], (
            "as in a log whose replay store is an older copy"
        )
        assert book.faults(offline=True) == []

    def test_at_the_end_without_them(self, book: Book) -> None:
        before = book.file(COUNT - 1).read_bytes()
        changes = {"seq": COUNT + 1, "message": "x"}
        made = book.members(COUNT) | changes | {"previous": digest(before)}
        book.file(COUNT + 1).write_bytes(canonical(made))
        assert book.faults() == [("inserted", COUNT + 1, COUNT + 1)]

    def test_a_run_is_told_once_and_in_order(self, book: Book) -> None:
        for seq in (*range(COUNT + 10, COUNT, -1), COUNT + 12):
            book.file(seq).write_bytes(b"{}")
        assert book.faults() == [("inserted", COUNT + 1, COUNT + 10), ("inserted", COUNT + 12, COUNT + 12)]

    def test_before_the_first(self, book: Book) -> None:
        book.file(0).write_bytes(b"{}")
        assert book.faults() == [("stray", 0, 0)]

    def test_a_number_that_no_log_reaches(self, book: Book) -> None:
        book.file(10**12 - 1).write_bytes(b"{}")
        assert book.faults() == [("inserted", 10**12 - 1, 10**12 - 1)]
        assert book.faults(offline=True) == [("removed", 10, COUNT + 10_000), ("removed", COUNT + 10_001, 10**12 - 1)]

    def test_a_stray_file(self, book: Book) -> None:
        (book.world.folder / "audit" / "acme\n\x1b[31m").write_bytes(b"")
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert fault.kind == "stray"
        assert fault.message.isprintable()

    @pytest.mark.parametrize(
        "name",
        [".DS_Store", "._.DS_Store", "._seq=000000000001.json", "Thumbs.db", "desktop.ini", ".nfs00000000004a1c03"],
    )
    @pytest.mark.parametrize("offline", [True, False])
    def test_what_desktops_leave_behind_is_a_note(self, book: Book, name: str, *, offline: bool) -> None:
        for folder in (book.world.folder / "audit", book.file(1).parent, book.file(1).parent.parent):
            (folder / name).write_bytes(b"\0")
        events = book.prove(offline=offline)
        assert faults(events) == []
        [note] = [note for note in notes(events) if not note.startswith("OFFLINE")]
        assert note.startswith("3 files that desktops leave behind, and no record: ")
        assert name in note

    @pytest.mark.parametrize(
        "name",
        [
            "seq=1.json", "seq=000000000001.json~", "seq=000000000001 2.json", "Seq=000000000001.json", ".seq=1.json",
            "DS_Store", ".DS_Store.json", ".nfs", ".nfs-record", "thumbs.db/seq", "x._", ".DS_Store\n",
        ],
    )  # fmt: skip
    def test_what_only_resembles_that_or_a_record_is_a_finding(self, book: Book, name: str) -> None:
        file = book.file(1).parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(book.file(1).read_bytes())
        assert book.faults() == [("stray", 0, 0)]

    def test_a_stream_that_nobody_anchored(self, book: Book) -> None:
        shutil.copytree(book.file(1).parent, book.file(1).parent.with_name("staging"))
        assert book.faults() == [("unanchored", 0, 0), ("misplaced", 1, COUNT)]


class TestAnchor:
    def test_a_replay_store_that_was_lost(self, book: Book) -> None:
        book.store = MemoryStore()
        assert book.faults() == [("unanchored", 0, 0)]

    def test_a_replay_store_of_another_log(self, book: Book, tmp_path: Path) -> None:
        book.store = Book(tmp_path / "other").write(4).store
        found = book.faults()
        assert ("altered", 4, 4) in found
        assert ("inserted", 5, COUNT) in found

    def test_a_head_that_is_no_record(self, book: Book) -> None:
        book.store = MemoryStore()
        book.store.advance(STREAM, Head(COUNT, b"junk", written=True), 0)
        assert book.faults() == [("unanchored", COUNT, COUNT)]

    def test_a_log_that_grows_meanwhile(self, book: Book) -> None:
        class Growing:
            def __init__(self, inner: Any) -> None:
                self._inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

            def listing(self) -> Any:
                yield from self._inner.listing()
                book.log = self._inner
                book.world.now += 60
                book.deny(20)
                yield from self._inner.listing()

        events = list(prove(Growing(book.log), book.store, book.policies, int(book.world.now) + 86400))
        assert faults(events) == []
        assert len(steps(events)) == COUNT + 1


class TestSeveralStreams:
    """Places are read ahead across the borders of streams."""

    @pytest.fixture
    def several(self, book: Book) -> list[Stream]:
        """Streams of one to seven records beside that of the book."""
        streams = [Stream(f"acme/app-{number}", "production") for number in range(1, 8)]
        for number, stream in enumerate(streams, 1):
            for one in range(number):
                book.append(entry(book.world, one, deployment=book.world.deployment(repository=stream.repository)))
        return streams

    def test_each_is_proved_to_its_end(self, book: Book, several: list[Stream]) -> None:
        events = book.prove()
        assert faults(events) == []
        assert len(steps(events)) == COUNT + sum(range(1, 8))

    def test_one_of_which_nothing_is_left_does_not_shift_the_others(
        self, book: Book, several: list[Stream], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gate.proof.places._PATIENCE", 3)
        shutil.rmtree(book.file(1, several[4]).parent)
        found = [event for event in book.prove() if isinstance(event, Fault)]
        assert {fault.stream for fault in found} == {several[4]}
        assert [(fault.kind, fault.first, fault.last) for fault in found] == [("removed", 1, 3), ("removed", 4, 5)]

    def test_a_place_that_can_not_hold_a_record_is_one_finding(self, book: Book, several: list[Stream]) -> None:
        book.file(2, several[2]).unlink()
        book.file(2, several[2]).symlink_to("/etc/passwd")
        [found] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (found.kind, found.stream, found.first) == ("altered", several[2], 2)

    def test_many_short_streams_in_s3_are_read_in_parallel_and_no_further_ahead_than_the_bound(
        self, book: Book
    ) -> None:
        under_way = most = 0
        lock = Lock()

        class Slow(Bucket):
            def object(self, key: str, limit: int) -> bytes | None:
                nonlocal under_way, most
                with lock:
                    under_way, most = under_way + 1, max(most, under_way + 1)
                sleep(0.02)
                with lock:
                    under_way -= 1
                return b"x"

        ends = [(Stream(f"acme/app-{number}", "production"), 2) for number in range(200)]
        places = Places(Slow("bucket", "", {}), ends)
        started = monotonic()
        found = [data for stream, last in ends for _, data in places.along(stream, last)]
        assert found == [b"x"] * 400
        assert 16 < most <= CONNECTIONS
        assert monotonic() - started < 400 * 0.02 / 4
