"""The proof of whatever stands in a log, in bounded memory."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.audit import open_audit_log
from gate.chain import append
from gate.models import Head
from gate.proof import Fault, prove
from gate.proof.used import Used
from gate.record import compose, digest, parse
from gate.replay.memory import MemoryStore
from gate.tokens import decode
from tests.audit.book import STREAM, Book, entry


class TestAnything:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(data=st.binary(max_size=300))
    def test_any_bytes_are_a_fault_that_can_be_shown(self, book: Book, data: bytes) -> None:
        original = book.file(5).read_bytes()
        book.file(5).write_bytes(data)
        found = [event for event in book.prove() if isinstance(event, Fault)]
        book.file(5).write_bytes(original)
        assert ("altered", 5) in {(fault.kind, fault.first) for fault in found}
        assert all(fault.message.isprintable() for fault in found)

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        seq=st.sampled_from([2, 3, 9]),
        path=st.lists(st.integers(0, 20), min_size=1, max_size=3),
        value=st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
    def test_any_change_names_its_record(self, book: Book, seq: int, path: list[int], value: Any) -> None:
        original = book.file(seq).read_bytes()
        changed = mutated(json.loads(original), path, value)
        book.file(seq).write_bytes(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode())
        same = book.file(seq).read_bytes() == original
        found = [event for event in book.prove() if isinstance(event, Fault)]
        book.file(seq).write_bytes(original)
        assert same or {fault.first for fault in found} - {0} == {seq}
        assert all(fault.message.isprintable() for fault in found)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        tokens=st.lists(st.text(max_size=30) | st.sampled_from(["", ".", "..", "a.b.c"]), max_size=3),
        texts=st.lists(st.text(max_size=10), min_size=4, max_size=4),
        times=st.tuples(*[st.integers(0, 2**53 - 1)] * 3),
        whole=st.booleans(),
    )
    def test_an_allow_that_somebody_made_up(
        self, blank: Book, tokens: list[str], texts: list[str], times: tuple[int, int, int], whole: bool
    ) -> None:
        approver, jti, kid, reason = texts
        approval = {"approver": approver, "jti": jti, "kid": kid, "issued_at": times[0], "expires_at": times[1]}
        made = entry(blank.world, 1, reason="allowed", approvals=(approval | {"reason": reason},), tokens=tuple(tokens))
        blank.store = MemoryStore()
        blank.file(1).unlink(missing_ok=True)
        append(blank.log, blank.store, replace(made, decided_at=times[2]))
        policies = blank.policies if whole else []
        [fault] = [event for event in prove(blank.log, blank.store, policies, 0) if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("forged", 1)
        assert fault.message.isprintable()


def mutated(node: Any, path: list[int], value: Any) -> Any:
    """`node` with the member that `path` leads to replaced."""
    if not path or not isinstance(node, dict | list) or not node:
        return value
    if isinstance(node, list):
        index = path[0] % len(node)
        return [*node[:index], mutated(node[index], path[1:], value), *node[index + 1 :]]
    name = sorted(node)[path[0] % len(node)]
    return node | {name: mutated(node[name], path[1:], value)}


def test_memory_does_not_grow_with_the_approvals(book: Book) -> None:
    record = parse(book.file(1).read_bytes())
    [approval] = [decode(token) for token in record.tokens]

    def peak(count: int) -> int:
        used = Used()
        tracemalloc.start()
        for number in range(count):
            claims = {**approval.claims, "jti": f"{number:022d}", "exp": number * 60 + 600}
            complaints = used.take(replace(record, decided_at=number * 60), [approval._replace(claims=claims)])
            assert list(complaints) == []
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(20_000) < 1.2 * peak(2_000) + 400_000  # CPython keeps up to 2,000 freed tuples


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        book = Book(folder)
        made = entry(book.world, 0, tokens=(book.world.token(),))
        data = compose(made, None)
        book.file(1).parent.mkdir(parents=True)
        book.file(1).write_bytes(data)
        for number in range(2, count + 1):
            data = compose(replace(made, invocation=f"{number:022d}"), parse(data), digest(data))
            book.file(number).write_bytes(data)
        book.store.advance(STREAM, Head(count, data, written=True), 0)
        log = open_audit_log("file:audit", folder)
        tracemalloc.start()
        seen = 0
        for event in prove(log, book.store, book.policies, 0):
            assert not isinstance(event, Fault)
            seen += 1
        assert seen == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # fills the caches
    assert peak(20_000) < 1.2 * peak(2_000) + 50_000
