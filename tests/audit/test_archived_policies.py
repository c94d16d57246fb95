"""An older policy is believed because one that was given leads to it, not because it lies beside the log."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gate.audit import AuditLog, is_policy_path, named, open_audit_log, policy_path
from gate.errors import AuditUnavailable
from gate.issuer import Issuer
from gate.policy import Policy
from gate.policyfile import compile_policy
from gate.proof import Fault, prove
from gate.proof.search import records_on
from gate.rotation import revoke
from gate.signers import create_key
from gate.tokens import decode
from tests.audit.book import Book, entry, faults, notes, sha, steps
from tests.audit.proxy import proxy
from tests.parts import Aws
from tests.world import ALICE


def current(book: Book) -> Policy:
    return book.world.loaded().policy


def succeed(book: Book) -> Policy:
    """Replace the policy by one that says so; the former one."""
    former = book.world.loaded()
    book.log.archive(former.data)
    book.world.extra = f"replaces: [{former.policy.sha256}]\n"
    book.policies = [current(book)]
    return former.policy


def place(book: Book, policy: Policy) -> Path:
    return book.world.folder / "audit" / policy_path(policy.sha256)


def evidence(book: Book) -> list[str]:
    return [step.evidence for step in steps(book.prove())]


Plant = Callable[[str, bytes], object]


@pytest.fixture(params=["file", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AuditLog, Plant]:
    """A log, and a way to put bytes at a path in it behind its back."""
    if request.param == "file":
        return open_audit_log("file:log", tmp_path), lambda path, data: (tmp_path / "log" / path).write_bytes(data)
    aws: Aws = request.getfixturevalue("aws")
    bucket, s3 = aws.bucket(), aws.client("s3")
    log = open_audit_log(f"s3://{bucket}/some/prefix?region={aws.region}&endpoint={aws.endpoint}", None)
    return log, lambda path, data: s3.put_object(Bucket=bucket, Key=f"some/prefix/{path}", Body=data)


def test_a_policy_is_kept_once_under_its_digest(kept: tuple[AuditLog, Plant]) -> None:
    log, plant = kept
    policy = b"version: 1\n# \xc3\xbc\r\n"
    sha256 = hashlib.sha256(policy).hexdigest()
    assert log.archived(sha256) is None
    assert log.archive(policy) == log.archive(policy) == log.policy_uri(sha256)
    assert log.policy_uri(sha256).endswith(f"/policy={sha256}.yaml")
    assert log.archived(sha256) == policy
    assert list(log.listing()) == [policy_path(sha256)]
    plant(policy_path(sha256), b"other bytes")
    with pytest.raises(AuditUnavailable, match="is not that policy"):
        log.archive(policy)
    assert log.archived(sha256) == b"other bytes"


@pytest.mark.parametrize("path", [f"policy={'a' * 63}.yaml", f"acme/policy={'a' * 64}.yaml", f"policy={'A' * 64}.yaml"])
def test_what_is_no_policys_place(path: str) -> None:
    assert not is_policy_path(path)


@pytest.fixture
def history(blank: Book) -> tuple[Book, list[Policy]]:
    """A log with an allow under each of three policies, the newest of which is given; and the others, newest first."""
    blank.allow(1)
    first = succeed(blank)
    blank.allow(2)
    second = succeed(blank)
    blank.allow(3)
    return blank, [second, first]


def test_the_newest_policy_alone_proves_what_older_ones_allowed(history: tuple[Book, list[Policy]]) -> None:
    book, _ = history
    assert (book.faults(), notes(book.prove())) == ([], [])
    assert evidence(book) == ["archived", "archived", "policy"]


def test_one_that_is_given_is_not_looked_for(history: tuple[Book, list[Policy]]) -> None:
    book, older = history
    for policy in older:
        place(book, policy).unlink()
    book.policies = [*book.policies, *older]
    assert (book.faults(), notes(book.prove()), evidence(book)) == ([], [], ["policy"] * 3)


def test_where_one_is_missing_the_older_ones_are_not_believed(history: tuple[Book, list[Policy]]) -> None:
    book, (second, first) = history
    place(book, second).unlink()
    assert evidence(book) == ["signatures", "signatures", "policy"]
    missing, unled = notes(book.prove())
    assert second.sha256 in missing
    assert first.sha256 in unled
    assert "none that you gave leads to it" in unled


def test_bytes_that_are_not_the_policy_of_that_digest(history: tuple[Book, list[Policy]]) -> None:
    book, (second, _) = history
    place(book, second).write_bytes(place(book, second).read_bytes().replace(b"approvals: 1", b"approvals: 2"))
    assert ("altered", 0, 0) in book.faults()
    assert "archived" not in evidence(book)


def test_something_else_in_a_policys_place(history: tuple[Book, list[Policy]]) -> None:
    book, (second, first) = history
    place(book, second).unlink()
    place(book, second).symlink_to(book.world.path)
    place(book, first).unlink()
    place(book, first).symlink_to(book.world.path)
    assert book.faults() == [("altered", 0, 0)]


def test_a_policy_that_this_gate_can_not_read(blank: Book) -> None:
    strange = b"version: 9\n"
    blank.log.archive(strange)
    blank.allow(1)
    succeed(blank)
    blank.world.extra = blank.world.extra.replace("[", f"[{named(strange)}, ")
    blank.policies = [current(blank)]
    assert evidence(blank) == ["archived"]
    [note] = notes(blank.prove())
    assert "version 9 is not known" in note


class TestAnAttackerWhoMayWriteBoth:
    """The log and the heads, as a job that skips the gate can."""

    def forge(self, book: Book, number: int, policy: Policy, issuer: Issuer) -> None:
        token = issuer.issue(book.world.deployment(sha=sha(number)), ALICE, now=int(book.world.now), ttl=600)
        signed = {"tokens": (token,), "approvals": (decode(token).summary(),)}
        book.append(entry(book.world, number, reason="allowed", policy_sha256=policy.sha256, **signed))

    def test_gains_nothing_by_a_policy_of_their_own(self, blank: Book) -> None:
        blank.allow(1)
        mine = create_key("file:mallory.pem", blank.world.folder, "Ed25519")
        real, blank.world.signer = blank.world.signer, mine
        forged = blank.world.loaded()
        blank.world.signer = real
        blank.log.archive(forged.data)
        self.forge(blank, 2, forged.policy, Issuer(mine, kid="test-key"))
        assert blank.faults() == [("forged", 2, 2)]

    def test_gains_nothing_by_a_looser_policy_of_their_own(self, tmp_path: Path) -> None:
        """The key is real, one approval of the two that the real policy asks for as well."""
        book = Book(tmp_path, approvals=2)
        loose = book.world.text.replace("approvals: 2", "approvals: 1")
        book.log.archive(loose.encode())
        self.forge(book, 1, compile_policy(loose.encode()), Issuer(book.world.signer, kid="test-key"))
        assert evidence(book) == ["signatures"]
        assert "none that you gave leads to it" in notes(book.prove())[0]

    def test_gains_nothing_by_a_policy_that_was_replaced(self, history: tuple[Book, list[Policy]]) -> None:
        """One asks for less than today's, or lists a key that has leaked since."""
        book, (_, first) = history
        self.forge(book, 4, first, Issuer(book.world.signer, kid="test-key"))
        assert book.faults() == [("unproved", 4, 4)]
        assert evidence(book) == ["archived", "archived", "policy", ""]
        book.policies = [*book.policies, first]
        assert book.faults() == []

    def test_gains_nothing_by_a_key_that_was_revoked(self, blank: Book) -> None:
        blank.allow(1)
        former = blank.world.loaded()
        blank.log.archive(former.data)
        blank.policies = [compile_policy(revoke(blank.world.text, "test-key", int(blank.world.now)).encode())]
        [fault] = [event for event in blank.prove() if isinstance(event, Fault)]
        assert (fault.kind, fault.first) == ("unproved", 1)
        assert "revoked since" in fault.message
        blank.policies = [*blank.policies, former.policy]
        assert blank.faults() == []


def test_a_key_that_was_revoked_on_the_way_stays_revoked_where_its_entry_is_gone(blank: Book) -> None:
    blank.allow(1)
    blank.log.archive(blank.world.text.encode())
    revoked = revoke(blank.world.text, "test-key", int(blank.world.now))
    blank.log.archive(revoked.encode())
    blank.world.signer = create_key("file:new.pem", blank.world.folder, "Ed25519")
    blank.world.extra = f"replaces: [{compile_policy(revoked.encode()).sha256}]\n"
    blank.policies = [current(blank)]
    assert blank.faults() == [("unproved", 1, 1)]


def test_show_finds_them_too(history: tuple[Book, list[Policy]]) -> None:
    book, (second, _) = history
    [answer] = records_on(book.log, sha(1), lambda _: True, book.policies)
    assert answer.doubt == ""
    place(book, second).write_bytes(b"")
    [answer] = records_on(book.log, sha(1), lambda _: True, book.policies)
    assert answer.doubt == ""


def test_an_archive_that_can_not_be_read_proves_and_forges_nothing(aws: Aws, tmp_path: Path) -> None:
    bucket = aws.bucket()
    with proxy(aws.endpoint, denying="/policy=") as between:
        book = Book(tmp_path)
        book.log = open_audit_log(f"s3://{bucket}/prod?region={aws.region}&endpoint={aws.endpoint}", None)
        book.allow(1)
        succeed(book)
        assert evidence(book) == ["archived"]
        log = open_audit_log(f"s3://{bucket}/prod?region={aws.region}&endpoint={between.endpoint}", None)
        with pytest.raises(AuditUnavailable, match="denies access"):
            faults(prove(log, book.store, book.policies, int(book.world.now)))
        with pytest.raises(AuditUnavailable, match="denies access"):
            list(records_on(log, sha(1), lambda _: True, book.policies))
