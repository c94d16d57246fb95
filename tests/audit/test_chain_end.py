"""Where a chain ends: what must hold of both stores, and of the clock, before a record follows."""

from pathlib import Path
from typing import Any

import pytest

from gate.chain import Outdated, append
from gate.clocks import FAR_OFF
from gate.errors import AuditUnavailable, ClockMismatch
from gate.replay.memory import MemoryStore
from tests.audit.book import STREAM, Book, entry, happening
from tests.audit.test_chain import Wrapped


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.mark.parametrize("made", [entry, happening])
def test_a_record_far_before_the_newest_blocks(book: Book, made: Any) -> None:
    book.append(made(book.world, 1))
    book.world.now -= FAR_OFF
    book.append(made(book.world, 2))
    book.world.now -= FAR_OFF + 1
    with pytest.raises(ClockMismatch, match="301 s behind record 2 of acme/shop/production"):
        book.append(made(book.world, 3))
    assert book.faults() == []
    book.world.now += 400 * 86400
    book.append(made(book.world, 3))


def test_a_replay_store_that_was_lost_blocks(book: Book) -> None:
    book.write(2)
    book.store = MemoryStore()
    for _ in range(2):
        with pytest.raises(Outdated, match="in it acme/shop/production has no record; the log goes on") as caught:
            book.append(entry(book.world, 9))
    assert "new audit prefix" in caught.value.hint
    assert book.store.head(STREAM) is None


def test_two_stores_on_one_log_block_each_other(book: Book) -> None:
    """Also where neither has seen the other's record yet."""
    log = Wrapped(book.log, get=lambda *_: None)
    append(log, MemoryStore(), entry(book.world, 1))
    with pytest.raises(AuditUnavailable, match="Another record already stands at"):
        append(log, MemoryStore(), entry(book.world, 2))


@pytest.mark.parametrize("written", [True, False])
def test_a_log_that_something_was_put_into_is_no_older_store(book: Book, *, written: bool) -> None:
    book.write(2)
    place = 3 if written else 2
    if not written:
        head = book.store.head(STREAM)
        assert head
        book.store = MemoryStore()
        book.store.advance(STREAM, head._replace(written=False), 0)
    book.file(place).write_bytes(book.file(1).read_bytes())
    with pytest.raises(AuditUnavailable, match=rf"^Record {place} of acme/shop/production") as caught:
        book.append(entry(book.world, 9))
    assert not isinstance(caught.value, Outdated)
    assert "gate audit verify" in caught.value.hint
