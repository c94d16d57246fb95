"""The proof: whatever is done to a log, it names the record and says how."""

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.audit import MAX_RECORD, open_audit_log
from gate.canonical import canonical
from gate.chain import append
from gate.models import Commit, Consumption, Head, Stream
from gate.policyfile import compile_policy
from gate.proof import Fault, prove
from gate.proof.used import Used
from gate.record import compose, digest, parse
from gate.replay.memory import MemoryStore
from gate.tokens import decode
from tests.audit.book import STREAM, Book, entry, faults, notes, sha, steps
from tests.parts import Aws
from tests.world import ALICE, BOB

COUNT = 9  # records 3, 6 and 9 are denials


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path).write(COUNT)


@pytest.fixture
def blank(tmp_path: Path) -> Book:
    return Book(tmp_path)


def members(book: Book, seq: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(book.file(seq).read_bytes())
    return found


def rewrite(book: Book, seq: int, **changes: Any) -> None:
    """Edit a record, as somebody would who knows its form."""
    book.file(seq).write_bytes(canonical(members(book, seq) | changes))


def rechain(book: Book, first: int, last: int) -> None:
    """Make every link from `first` to `last` whole again."""
    for seq in range(first, last + 1):
        rewrite(book, seq, previous=digest(book.file(seq - 1).read_bytes()))


def uris(book: Book) -> list[str]:
    return [event.uri for event in book.prove() if isinstance(event, Fault)]


class Nobody:
    """A history without commits."""

    def commits(self, *_: str | None) -> list[Commit]:
        return []


class TestWhole:
    def test_an_untouched_log_has_no_fault(self, book: Book) -> None:
        events = book.prove()
        assert faults(events) == []
        assert notes(events) == []
        assert [step.evidence for step in steps(events)] == ["policy", "policy", ""] * 3
        assert [step.uri for step in steps(events)] == [book.log.uri(STREAM, seq) for seq in range(1, COUNT + 1)]

    def test_an_empty_log(self, tmp_path: Path) -> None:
        assert Book(tmp_path).prove() == []

    def test_offline_says_loudly_what_it_can_not_see(self, book: Book) -> None:
        events = book.prove(offline=True)
        assert faults(events) == []
        assert "OFFLINE" in notes(events)[0]

    def test_over_aws(self, aws: Aws, tmp_path: Path) -> None:
        where = f"region={aws.region}&endpoint={aws.endpoint}"
        bucket = aws.bucket()
        book = Book(tmp_path, audit=f"s3://{bucket}/a/b?{where}", replay=f"dynamodb://{aws.table()}?{where}")
        book.log, book.store = book.world.loaded().audit_log(), book.world.loaded().replay_store()
        book.write(5)
        assert book.faults() == []
        key = "a/b/acme/shop/production/seq=000000000003.json"
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}")
        assert book.faults() == [("altered", 3, 3)]
        aws.client("s3").delete_object(Bucket=bucket, Key=key)
        assert book.faults() == [("altered", 3, 3)]
        aws.client("s3").put_object(Bucket=bucket, Key="a/b/x", Body=b"{}")
        assert book.faults() == [("stray", 0, 0), ("altered", 3, 3)]

    def test_a_policy_that_has_changed_leaves_signatures_and_claims(self, book: Book) -> None:
        book.policies = [compile_policy(book.world.text.replace("15m", "14m").encode())]
        events = book.prove()
        assert faults(events) == []
        assert [step.evidence for step in steps(events)] == ["signatures", "signatures", ""] * 3

    def test_of_several_policies_the_right_one_is_found(self, book: Book) -> None:
        other = compile_policy(book.world.text.replace("15m", "14m").encode())
        book.policies = [other, *book.policies]
        assert {step.evidence for step in steps(book.prove())} == {"policy", ""}

    def test_a_key_that_no_policy_lists_is_said_to_be_missing(self, book: Book) -> None:
        book.policies = [compile_policy(book.world.text.replace("test-key", "later").encode())]
        assert book.faults() == [("unproved", 1, 2), ("unproved", 4, 5), ("unproved", 7, 8)]

    def test_another_key_of_the_same_name_is_not_believed(self, book: Book, tmp_path: Path) -> None:
        book.policies = [Book(tmp_path / "other").policies[0]]
        assert {kind for kind, _, _ in book.faults()} == {"forged"}

    def test_separation_of_duties_is_run_again(self, tmp_path: Path) -> None:
        book = Book(tmp_path, separation=True)
        deployment = book.world.deployment(actors=("bob",))
        gate = book.world.gate(replay=book.store, audit=book.log, history=Nobody())
        assert gate.check([book.world.token(ALICE), book.world.token(BOB)], deployment).allowed
        assert [step.evidence for step in steps(book.prove())] == ["policy"]
        rewrite(book, 1, deployment=members(book, 1)["deployment"] | {"actors": ["alice"]})
        assert book.faults()[0] == ("forged", 1, 1)

    def test_the_quorum_is_counted_again(self, tmp_path: Path) -> None:
        book = Book(tmp_path, approvals=2)
        deployment = book.world.deployment()
        tokens = [book.world.token(ALICE), book.world.token(BOB)]
        assert book.world.gate(replay=book.store, audit=book.log).check(tokens, deployment).allowed
        assert [step.evidence for step in steps(book.prove())] == ["policy"]
        fewer = members(book, 1)["approvals"][:1]
        rewrite(book, 1, approvals=fewer)
        assert ("forged", 1, 1) in book.faults()


class TestAltered:
    def test_a_flipped_byte_anywhere_names_that_record(self, book: Book) -> None:
        data = book.file(5).read_bytes()
        for position in range(0, len(data), 7):
            flipped = bytearray(data)
            flipped[position] ^= 1
            book.file(5).write_bytes(flipped)
            found = book.faults()
            assert found, position
            assert {(first, last) for _, first, last in found if first} == {(5, 5)}, (position, found)

    @pytest.mark.parametrize(
        "changes",
        [
            {"message": "nothing to see"},
            {"previous": "0" * 64},
            {"invocation": "1" * 22},
            {"decided_at": 1},
            {"gate": "9"},
            {"policy_sha256": "1" * 64},
            {"last_allowed_sha": None},
            {"last_allowed_sha": "f" * 40},
            {"reason": "signature.invalid"},
            {"token_digests": []},
        ],
    )
    @pytest.mark.parametrize("seq", [3, 6, 9])
    def test_an_edited_denial(self, book: Book, seq: int, changes: dict[str, Any]) -> None:
        rewrite(book, seq, **changes)
        assert book.faults()[-1] == ("altered", seq, seq)
        assert set(uris(book)) == {book.log.uri(STREAM, seq)}

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", b"[" * 100_000, bytes(MAX_RECORD * 2)])
    def test_what_is_no_record(self, book: Book, data: bytes) -> None:
        book.file(3).write_bytes(data)
        assert book.faults() == [("altered", 3, 3)]

    def test_white_space(self, book: Book) -> None:
        book.file(3).write_bytes(json.dumps(members(book, 3)).encode())
        assert book.faults() == [("altered", 3, 3)]

    def test_the_first_and_the_newest(self, book: Book) -> None:
        rewrite(book, 1, message="x")
        rewrite(book, COUNT, message="x")
        assert book.faults() == [("altered", 1, 1), ("altered", COUNT, COUNT)]

    def test_a_beginning_that_is_none(self, book: Book) -> None:
        rewrite(book, 1, previous="1" * 64)
        assert book.faults() == [("altered", 1, 1)]

    def test_several_apart(self, book: Book) -> None:
        rewrite(book, 3, message="x")
        rewrite(book, 6, message="x")
        assert book.faults() == [("altered", 3, 3), ("altered", 6, 6)]

    def test_two_neighbours(self, book: Book) -> None:
        rewrite(book, 5, message="x")
        rewrite(book, 6, message="x")
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("altered", 6)
        assert "nothing vouches for" in fault.message
        assert "record 5" in fault.message

    def test_three_neighbours(self, book: Book) -> None:
        for seq in (4, 5, 6):
            rewrite(book, seq, message="x")
        assert book.faults() == [("altered", 5, 5), ("altered", 6, 6)]
        assert "record 4" in next(event for event in book.prove() if isinstance(event, Fault)).message

    def test_every_other(self, book: Book) -> None:
        for seq in (2, 4, 6, 8):
            rewrite(book, seq, message="x")
        assert book.faults() == [("altered", seq, seq) for seq in (2, 4, 6, 8)]

    def test_an_end_that_was_rewritten_with_whole_links(self, book: Book) -> None:
        rewrite(book, 6, message="x")
        rechain(book, 7, COUNT)
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("altered", COUNT)
        assert "anchors" in fault.message

    def test_a_link_to_elsewhere(self, book: Book) -> None:
        book.file(3).unlink()
        book.file(3).symlink_to(book.file(6))
        assert book.faults() == [("altered", 3, 3)]

    def test_a_stream_that_is_a_link(self, book: Book) -> None:
        folder = book.file(1).parent
        folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to("elsewhere")
        assert ("altered", 1, COUNT) in book.faults()


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
        head = canonical(members(book, 3) | {"seq": 10**11})
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
        assert book.faults() == [("inserted", COUNT + 1, COUNT + 1)]
        assert book.faults(offline=True) == []

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

    def test_a_stream_that_nobody_anchored(self, book: Book) -> None:
        shutil.copytree(book.file(1).parent, book.file(1).parent.with_name("staging"))
        assert book.faults() == [("unanchored", 0, 0), ("misplaced", 1, COUNT)]


class TestAnchor:
    def test_a_replay_store_that_was_lost(self, book: Book) -> None:
        book.store = MemoryStore()
        assert book.faults() == [("unanchored", 0, 0)]

    def test_a_replay_store_of_another_log(self, book: Book, tmp_path: Path) -> None:
        book.store = Book(tmp_path / "other").write(4).store
        kinds = {fault[:2] for fault in book.faults()}
        assert kinds >= {("altered", 4), ("inserted", 5), ("inserted", COUNT)}

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


class TestForged:
    def chained(self, book: Book, **changes: Any) -> None:
        """An allow by somebody who may write to both stores, and knows how."""
        deployment = book.world.deployment(sha=sha(50))
        approvals = ({"approver": ALICE, "jti": "j" * 32, "kid": "test-key", "issued_at": 1, "expires_at": 2},)
        made = entry(book.world, 50, reason="allowed", deployment=deployment, approvals=approvals, tokens=("x.y.z",))
        append(book.log, book.store, replace(made, **changes))

    def test_an_allow_without_a_token_that_holds(self, book: Book) -> None:
        self.chained(book)
        assert book.faults() == [("forged", 10, 10)]

    @pytest.mark.parametrize("tokens", [(), ("",), ("é.é.é",), ("\x00",), ("a" * 200_000,), ("x",) * 17])
    def test_tokens_that_are_none(self, book: Book, tokens: tuple[str, ...]) -> None:
        self.chained(book, tokens=tokens)
        assert book.faults() == [("forged", 10, 10)]
        book.policies = []
        assert ("forged", 10, 10) in book.faults() or tokens == ()

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_token_for_something_else(self, book: Book, whole: bool) -> None:
        if not whole:
            book.policies = [compile_policy(book.world.text.replace("15m", "14m").encode())]
        for number, (token, changes) in enumerate(
            [
                (book.world.token(sha=sha(51)), {}),
                (book.world.token(sha=sha(50), environment="staging"), {}),
                (book.world.token(sha=sha(50), repository="acme/other"), {}),
                (book.world.token(sha=sha(50), run_id="8"), {}),
                (book.world.token(sha=sha(50)), {"decided_at": int(book.world.now) + 631}),
                (book.world.token(sha=sha(50)), {"decided_at": int(book.world.now) - 31}),
                (book.world.token(sha=sha(50))[:-3] + "AAA", {}),
            ]
        ):
            self.chained(book, tokens=(token,), **changes)
            assert book.faults()[-1] == ("forged", 10 + number, 10 + number)

    def test_an_approver_who_gave_no_token(self, book: Book) -> None:
        token = book.world.token(sha=sha(50))
        self.chained(book, tokens=(token,))
        assert book.faults() == [("forged", 10, 10)]

    def test_an_approval_used_twice(self, book: Book) -> None:
        first = parse(book.file(8).read_bytes())
        append(book.log, book.store, first)
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("reused", 10)
        assert "record 8" in fault.message

    def test_an_approval_used_again_after_it_was_forgotten(self, book: Book) -> None:
        first = parse(book.file(8).read_bytes())
        book.world.now += 86400
        book.allow(60)
        append(book.log, book.store, first)
        assert book.faults() == [("reused", 11, 11)]

    def test_a_last_allowed_sha_that_skips_one(self, book: Book) -> None:
        head = book.store.head(STREAM)
        assert head
        data = canonical(
            members(book, COUNT) | {"seq": 10, "previous": digest(head.record), "last_allowed_sha": sha(1)}
        )
        book.store.advance(STREAM, Head(10, data, written=True), 9)
        book.log.put(STREAM, 10, data)
        assert book.faults() == [("forged", 10, 10)]


class TestUnrecorded:
    def use(self, book: Book, used_at: int) -> Consumption:
        expires = used_at + 90_000
        return Consumption("j" * 32, "n", expires, used_at, STREAM, sha(77), "al\x1bice@example.com", "run\n7")

    def test_a_consumption_without_a_record(self, book: Book) -> None:
        book.store.consume([self.use(book, int(book.world.now))])
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.stream) == ("unrecorded", STREAM)
        assert "nothing was allowed" in fault.message
        assert "al\\x1bice@example.com" in fault.message
        assert fault.message.isprintable()
        assert book.faults(offline=True) == []

    def test_a_gate_that_is_still_at_work_is_no_fault(self, book: Book) -> None:
        book.store.consume([self.use(book, int(book.world.now) + 86400 - 10)])
        events = book.prove()
        assert faults(events) == []
        assert "still be at work" in notes(events)[0]


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
