"""The proof of a log that is whole, and of one whose records were altered."""

import json
from pathlib import Path
from typing import Any

import pytest

from gate.audit import MAX_RECORD
from gate.models import Commit
from gate.policyfile import compile_policy
from gate.proof import Fault
from tests.audit.book import COUNT, STREAM, Book, faults, notes, steps
from tests.parts import Aws
from tests.world import ALICE, BOB


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
        book.rewrite(1, deployment=book.members(1)["deployment"] | {"actors": ["alice"]})
        assert book.faults()[0] == ("forged", 1, 1)

    def test_an_actor_whom_nobody_listed_was_for_the_gate_of_that_time_to_judge(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Older gates took any other login for another person; their records are as good as ever."""
        book = Book(tmp_path, separation=True)
        monkeypatch.setattr("gate.verification.check_separation", lambda approvals, *_: approvals)
        gate = book.world.gate(replay=book.store, audit=book.log, history=Nobody())
        assert gate.check([book.world.token(ALICE)], book.world.deployment(actors=("mallory",))).allowed
        assert [step.evidence for step in steps(book.prove())] == ["policy"]
        book.rewrite(1, deployment=book.members(1)["deployment"] | {"actors": []})
        assert book.faults()[0] == ("forged", 1, 1)

    def test_the_quorum_is_counted_again(self, tmp_path: Path) -> None:
        book = Book(tmp_path, approvals=2)
        deployment = book.world.deployment()
        tokens = [book.world.token(ALICE), book.world.token(BOB)]
        assert book.world.gate(replay=book.store, audit=book.log).check(tokens, deployment).allowed
        assert [step.evidence for step in steps(book.prove())] == ["policy"]
        fewer = book.members(1)["approvals"][:1]
        book.rewrite(1, approvals=fewer)
        assert ("forged", 1, 1) in book.faults()


def uris(book: Book) -> list[str]:
    return [event.uri for event in book.prove() if isinstance(event, Fault)]


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
        book.rewrite(seq, **changes)
        assert book.faults()[-1] == ("altered", seq, seq)
        assert set(uris(book)) == {book.log.uri(STREAM, seq)}

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", b"[" * 100_000, bytes(MAX_RECORD * 2)])
    def test_what_is_no_record(self, book: Book, data: bytes) -> None:
        book.file(3).write_bytes(data)
        assert book.faults() == [("altered", 3, 3)]

    def test_white_space(self, book: Book) -> None:
        book.file(3).write_bytes(json.dumps(book.members(3)).encode())
        assert book.faults() == [("altered", 3, 3)]

    def test_the_first_and_the_newest(self, book: Book) -> None:
        book.rewrite(1, message="x")
        book.rewrite(COUNT, message="x")
        assert book.faults() == [("altered", 1, 1), ("altered", COUNT, COUNT)]

    def test_a_beginning_that_is_none(self, book: Book) -> None:
        book.rewrite(1, previous="1" * 64)
        assert book.faults() == [("altered", 1, 1)]

    def test_several_apart(self, book: Book) -> None:
        book.rewrite(3, message="x")
        book.rewrite(6, message="x")
        assert book.faults() == [("altered", 3, 3), ("altered", 6, 6)]

    def test_two_neighbours(self, book: Book) -> None:
        book.rewrite(5, message="x")
        book.rewrite(6, message="x")
        [fault] = [event for event in book.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("altered", 6)
        assert "nothing vouches for" in fault.message
        assert "record 5" in fault.message

    def test_three_neighbours(self, book: Book) -> None:
        for seq in (4, 5, 6):
            book.rewrite(seq, message="x")
        assert book.faults() == [("altered", 5, 5), ("altered", 6, 6)]
        assert "record 4" in next(event for event in book.prove() if isinstance(event, Fault)).message

    def test_every_other(self, book: Book) -> None:
        for seq in (2, 4, 6, 8):
            book.rewrite(seq, message="x")
        assert book.faults() == [("altered", seq, seq) for seq in (2, 4, 6, 8)]

    def test_an_end_that_was_rewritten_with_whole_links(self, book: Book) -> None:
        book.rewrite(6, message="x")
        book.rechain(7, COUNT)
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
