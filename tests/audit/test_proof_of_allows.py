"""The proof of a log whose records allow what nobody approved, or lack what was consumed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.canonical import canonical
from gate.chain import append
from gate.issuer import Issuer
from gate.models import Consumption, Head
from gate.policyfile import compile_policy
from gate.proof import Fault
from gate.record import digest, parse
from gate.tokens import decode
from tests.audit.book import COUNT, STREAM, Book, entry, faults, notes, sha
from tests.core.authenticator import Authenticator
from tests.world import ALICE


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
                (book.world.token(sha=sha(50)), {"decided_at": int(book.world.now) - 31}),
                (book.world.token(sha=sha(50))[:-3] + "AAA", {}),
                (book.world.token(sha=sha(50)), {"decided_at": int(book.world.now) + 631}),
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
        book.force(first)
        assert book.faults() == [("reused", 11, 11)]

    def test_a_last_allowed_sha_that_skips_one(self, book: Book) -> None:
        head = book.store.head(STREAM)
        assert head
        data = canonical(book.members(COUNT) | {"seq": 10, "previous": digest(head.record), "last_allowed_sha": sha(1)})
        book.store.advance(STREAM, Head(10, data, written=True), 9)
        book.log.put(STREAM, 10, data)
        assert book.faults() == [("forged", 10, 10)]


class TestPasskeys:
    """An allow under a policy that asks for passkeys is proved with them."""

    @pytest.fixture
    def asking(self, tmp_path: Path) -> Book:
        (tmp_path / "asking").mkdir()
        return Book(tmp_path / "asking", passkey="required")

    def allow(self, book: Book) -> None:
        decision = book.world.gate(replay=book.store, audit=book.log).check(
            [book.world.proved(sha=sha(1))], book.world.deployment(sha=sha(1))
        )
        assert decision.allowed, decision

    def test_it_proves_itself(self, asking: Book) -> None:
        self.allow(asking)
        assert asking.faults() == []

    @pytest.mark.parametrize("made", ["without one", "by another's", "for another token"])
    def test_one_that_the_gate_would_have_denied_is_forged(self, asking: Book, made: str) -> None:
        self.allow(asking)
        world = asking.world
        issuer = Issuer(world.signer, kid="test-key")
        claims = issuer.draft(world.deployment(sha=sha(2)), ALICE, now=int(world.now), ttl=600)
        token = issuer.seal({
            "without one": claims,
            "by another's": Authenticator(name="bob").approve(claims),
            "for another token": Authenticator().approve(claims) | {"jti": "x" * 22},
        }[made])  # fmt: skip
        approvals = (decode(token).summary(),)
        asking.append(entry(world, 2, reason="allowed", tokens=(token,), approvals=approvals))
        assert asking.faults() == [("forged", 2, 2)]

    def test_a_record_whose_assertion_was_altered(self, asking: Book) -> None:
        self.allow(asking)
        [token] = asking.members(1)["tokens"]
        claims = dict(decode(token).claims)
        claims["passkey"] = claims["passkey"] | {"signature": "AAAA"}
        asking.rewrite(1, tokens=[Issuer(asking.world.signer, kid="test-key").seal(claims)])
        assert asking.faults(offline=True) == [("forged", 1, 1)]
        assert asking.faults() != []

    def test_under_another_policy_it_proves_its_signature_alone(self, asking: Book) -> None:
        self.allow(asking)
        asking.policies = [compile_policy(asking.world.text.replace("15m", "14m").encode())]
        assert asking.faults() == []


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


class TestPoliciesOfOtherTimes:
    """Whoever has the signing key, and may write to both stores, would rather be judged by another policy."""

    def forge(self, book: Book, policy_sha256: str, number: int = 50) -> None:
        """An allow that the key alone signed, said to be under that policy."""
        token = book.world.token(sha=sha(number))
        deployment = book.world.deployment(sha=sha(number))
        made = entry(book.world, number, reason="allowed", deployment=deployment, tokens=(token,))
        approvals = (decode(token).summary(),)
        append(book.log, book.store, replace(made, approvals=approvals, policy_sha256=policy_sha256))

    def test_a_policy_that_nobody_has_lets_no_passkey_be_missing(self, book: Book) -> None:
        self.forge(book, "0" * 64)
        assert book.faults() == []  # nobody asks for passkeys, so a signature is what there ever was
        book.world.passkey = "required"
        book.policies = [compile_policy(book.world.text.encode()), *book.policies]
        assert book.faults() == [("unproved", 10, 10)]

    def test_a_policy_that_comes_back_is_pointed_out(self, book: Book) -> None:
        old = book.policies[0]
        newer = compile_policy(book.world.text.replace("15m", "14m").encode())
        book.policies = [newer, old]
        self.forge(book, newer.sha256, 50)
        assert [note for note in notes(book.prove()) if "replaced" in note] == []
        self.forge(book, old.sha256, 51)
        (note,) = [note for note in notes(book.prove()) if "replaced before" in note]
        assert old.sha256[:12] in note
