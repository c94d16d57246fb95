"""The chain: many writers, dying writers, lost answers; one gapless chain."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gate.audit import open_audit_log
from gate.chain import append
from gate.errors import AuditUnavailable, ReplayUnavailable
from gate.models import Head, Stream
from gate.record import parse
from tests.audit.book import STREAM, Book, Nowhere, entry, faults, notes, sha, steps
from tests.audit.proxy import proxy
from tests.parts import Aws

POINTS = ["consume", "head", "advance", "put", "settle"]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


class TestOneWriter:
    def test_the_first_record_starts_the_chain(self, book: Book) -> None:
        assert book.allowed() == []
        uri = book.append(entry(book.world, 1))
        data = book.file(1).read_bytes()
        assert uri == book.log.uri(STREAM, 1)
        assert parse(data).previous == "0" * 64
        assert book.store.head(STREAM) == Head(1, data, written=True)

    def test_the_last_allowed_sha_is_carried_along(self, book: Book) -> None:
        book.allow(1)
        book.deny(2)
        assert book.allowed() == [sha(1)]
        book.allow(3)
        assert book.allowed() == [sha(3), sha(1)]

    def test_streams_do_not_touch(self, book: Book) -> None:
        book.append(entry(book.world, 1))
        book.append(entry(book.world, 2, deployment=book.world.deployment(environment="staging")))
        other = Stream("acme/shop", "staging")
        assert [parse(book.file(1, stream).read_bytes()).seq for stream in (STREAM, other)] == [1, 1]

    def test_a_denial_keeps_no_token(self, book: Book) -> None:
        token = book.world.token()
        book.world.now += 3600
        book.world.gate(replay=book.store, audit=book.log).check([token], book.world.deployment())
        assert token.encode() not in book.file(1).read_bytes()
        assert b"token_digests" in book.file(1).read_bytes()

    def test_a_head_that_is_no_record_blocks(self, book: Book) -> None:
        book.store.advance(STREAM, Head(1, b"{}", written=True), 0)
        with pytest.raises(AuditUnavailable, match="unusable"):
            book.append(entry(book.world, 1))
        with pytest.raises(AuditUnavailable, match="unusable"):
            book.allowed()

    def test_a_head_of_another_stream_blocks(self, book: Book) -> None:
        book.append(entry(book.world, 1, deployment=book.world.deployment(environment="staging")))
        stolen = book.store.head(Stream("acme/shop", "staging"))
        assert stolen
        book.store.advance(STREAM, stolen, 0)
        with pytest.raises(AuditUnavailable, match="another place"):
            book.append(entry(book.world, 2))

    def test_a_head_that_can_not_be_settled_is_no_matter(self, book: Book) -> None:
        store = Wrapped(book.store, settle=raising(ReplayUnavailable("down")))
        append(book.log, store, entry(book.world, 1))
        append(book.log, store, entry(book.world, 2))
        assert book.store.head(STREAM) == Head(2, book.file(2).read_bytes(), written=False)
        assert book.faults() == []

    def test_a_stream_that_is_never_free_ends_in_bounded_time(self, book: Book, monkeypatch: Any) -> None:
        monkeypatch.setattr("gate.chain._LONGEST_PAUSE", 0)
        with pytest.raises(AuditUnavailable, match="too busy"):
            append(book.log, Wrapped(book.store, advance=lambda *_, **__: False), entry(book.world, 1))


class TestAllowedShas:
    def test_newest_first_each_once(self, book: Book) -> None:
        for number in (1, 2, 1, 3, 3):
            book.allow(number)
            book.deny(number)
        assert book.allowed() == [sha(3), sha(1), sha(2)]

    def test_many_records_back(self, book: Book) -> None:
        book.allow(1)
        for number in range(80):
            book.append(entry(book.world, number))
        book.allow(2)
        assert book.allowed() == [sha(2), sha(1)]

    def test_one_decision_looks_back_only_so_far(self, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(1, 60):
            book.allow(number)
        monkeypatch.setattr("gate.chain.MOST_RECORDS", 50)
        assert book.allowed() == [sha(number) for number in range(59, 9, -1)]

    def test_that_nothing_was_allowed_is_read_in_the_log(self, book: Book) -> None:
        book.deny(1)
        book.deny(2)
        assert book.allowed() == []
        book.log = Wrapped(book.log, read=raising(AuditUnavailable("down")))
        with pytest.raises(AuditUnavailable, match="down"):
            book.allowed()

    def test_the_newest_needs_no_log(self, book: Book) -> None:
        book.deny(1)
        book.allow(2)
        book.log = Wrapped(book.log, read=raising(AuditUnavailable("down")))
        allowed = book.lineage().shas(Nowhere())
        assert next(allowed) == sha(2)
        with pytest.raises(AuditUnavailable, match="down"):
            next(allowed)

    def test_a_denial_is_believed_only_with_the_allow_that_it_leads_to(self, book: Book) -> None:
        book.allow(1)
        book.deny(2)
        book.log = Wrapped(book.log, read=raising(AuditUnavailable("down")))
        with pytest.raises(AuditUnavailable, match="down"):
            book.allowed()

    def test_over_s3(self, aws: Aws, book: Book) -> None:
        book.log = open_audit_log(f"s3://{aws.bucket()}?region={aws.region}&endpoint={aws.endpoint}", None)
        assert book.write(9).allowed() == [sha(number) for number in (8, 7, 5, 4, 2, 1)]

    @pytest.mark.parametrize("changes", [{"last_allowed_sha": sha(7)}, {"previous": "0" * 64}, {"message": "x"}])
    @pytest.mark.parametrize("rechained", [False, True])
    def test_a_record_that_was_edited(self, book: Book, changes: dict[str, str], *, rechained: bool) -> None:
        """Even where the links in the log are made whole again: the anchored head names the real one before it."""
        book.write(9).rewrite(4, **changes)
        if rechained:
            book.rechain(5, 9)
        with pytest.raises(AuditUnavailable, match="not the one that was written") as caught:
            book.allowed()
        assert "gate audit verify" in caught.value.hint

    @pytest.mark.parametrize("data", [b"", b"{}", b"x" * 300_000])
    def test_what_is_no_record(self, book: Book, data: bytes) -> None:
        book.write(9).file(4).write_bytes(data)
        with pytest.raises(AuditUnavailable, match=r"Record 4 .* not the one that was written"):
            book.allowed()

    def test_a_record_of_another_place(self, book: Book) -> None:
        book.write(9).file(4).write_bytes(book.file(5).read_bytes())
        with pytest.raises(AuditUnavailable, match="Record 4"):
            book.allowed()

    def test_a_record_that_is_gone(self, book: Book) -> None:
        book.write(9).file(4).unlink()
        with pytest.raises(AuditUnavailable, match=r"Record 4 .* is gone"):
            book.allowed()


class TestLostAnswers:
    def test_an_advance_that_worked_and_was_finished_by_another_is_not_repeated(self, book: Book) -> None:
        def advance(*args: Any, **kwargs: Any) -> bool:
            del store.replacements["advance"]
            assert book.store.advance(*args, **kwargs)
            book.append(entry(book.world, 2))  # helps record 1 into the log, and stands on it
            return False  # as the store says to the repeated request

        store = Wrapped(book.store, advance=advance)
        assert append(book.log, store, entry(book.world, 1)) == book.log.uri(STREAM, 1)
        assert [step.record.message for step in steps(book.prove())] == ["denial 1", "denial 2"]

    @pytest.mark.parametrize("tricks", [["lose"], ["conflict"], ["conflict", "lose"], ["lose", "lose"]])
    def test_a_put_is_written_once(self, aws: Aws, book: Book, tricks: list[str]) -> None:
        with proxy(aws.endpoint) as between:
            uri = f"s3://{aws.bucket()}/log?region={aws.region}&endpoint={between.endpoint}"
            book.log = open_audit_log(uri, None)
            book.write(1)
            between.tricks.extend(tricks)
            book.allow(5)
            assert between.tricks == []
            assert book.faults() == []
            assert len(steps(book.prove())) == 2

    def test_a_conflict_that_does_not_end_is_audit_unavailable(self, aws: Aws, book: Book) -> None:
        with proxy(aws.endpoint) as between:
            between.tricks.extend(["conflict"] * 50)
            log = open_audit_log(f"s3://{aws.bucket()}?region={aws.region}&endpoint={between.endpoint}", None)
            with pytest.raises(AuditUnavailable):
                log.put(STREAM, 1, b"one")
            assert len(between.seen) == 5


class TestManyWriters:
    def test_threads(self, book: Book) -> None:
        with ThreadPoolExecutor(8) as pool:
            uris = list(pool.map(lambda number: book.append(entry(book.world, number)), range(64)))
        assert len(set(uris)) == 64
        assert book.faults() == []
        assert {step.record.message for step in steps(book.prove())} == {f"denial {number}" for number in range(64)}

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
            list(pool.map(book.allow, range(12)))
        assert book.faults() == []
        assert {step.evidence for step in steps(book.prove())} == {"policy"}
        assert len(steps(book.prove())) == 12

    def test_processes(self, book: Book) -> None:
        writers = [writer(book, str(number), "8") for number in range(4)]
        assert [process.wait(timeout=60) for process in writers] == [0] * 4
        book.store = book.world.loaded().replay_store()
        assert book.faults() == []
        assert len(steps(book.prove())) == 32


class TestDyingWriters:
    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("point", POINTS)
    def test_the_next_writer_goes_on(self, book: Book, point: str, moment: str) -> None:
        book.store = book.world.loaded().replay_store()
        book.write(2)
        died = writer(book, "7", "1", point, moment)
        assert died.wait(timeout=60) == -signal.SIGKILL
        consumed = (point, moment) != ("consume", "before")
        recorded = POINTS.index(point) > POINTS.index("advance") or (point, moment) == ("advance", "after")

        events = book.prove()
        assert faults(events) == ([("unrecorded", 0, 0)] if consumed and not recorded else [])
        pending = (point, moment) in {("advance", "after"), ("put", "before")}
        assert [note for note in notes(events) if "still to be written" in note] == notes(events)
        assert len(notes(events)) == pending

        book.allow(9)
        events = book.prove()
        assert faults(events) == ([("unrecorded", 0, 0)] if consumed and not recorded else [])
        assert notes(events) == []
        assert len(steps(events)) == 3 + recorded


class Wrapped:
    """A store some of whose methods are others."""

    def __init__(self, inner: Any, **replacements: Any) -> None:
        self._inner = inner
        self.replacements = replacements

    def __getattr__(self, name: str) -> Any:
        return self.replacements.get(name) or getattr(self._inner, name)


def raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def writer(book: Book, *args: str) -> "subprocess.Popen[bytes]":
    """A process of its own that allows in the world of `book`; see tests/audit/writer.py."""
    folder = str(book.world.folder)
    return subprocess.Popen([sys.executable, "-m", "tests.audit.writer", folder, str(int(book.world.now)), *args])
