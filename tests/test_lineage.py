"""What a deployment goes back to: under changed names, from forged records, and after keys came and went."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.canonical import canonical
from gate.errors import ReplayUnavailable
from gate.forge import Unattributed
from gate.forge.firstwhole import FirstWhole
from gate.forge.git import LocalGit
from gate.gate import Gate
from gate.issuer import Issuer
from gate.models import Decision, Head, Stream
from gate.policyfile import compile_policy
from gate.record import digest
from gate.signers import create_key
from gate.tokens import decode
from tests.audit.test_chain import Wrapped, raising
from tests.world import ALICE, BOB, CAROL, World, commit, git

AUTHOR = "approver.is_author"
STORE = {"repository": "acme/store"}


class Shop:
    """A clone of acme/shop whose first commit, by Carol, was approved by Bob; Alice wrote the second, Carol the third.

    A gate that takes the third for a first deployment sees Carol alone, and lets Alice approve her own work.
    """

    def __init__(self, folder: Path, repository_id: str = "42") -> None:
        self.clone = folder / "clone"
        (folder / "world").mkdir()
        self.world = World(folder / "world", separation=True)
        self.edit: Callable[[str], str] = str
        self.signer, self.kid = self.world.signer, "test-key"
        self.repository_id = repository_id
        self.first = commit(self.clone, "first", CAROL)
        assert self.deploy(BOB).allowed
        commit(self.clone, "hers", ALICE)
        self.tip = commit(self.clone, "third", CAROL)

    def deploy(self, approver: str = ALICE, *, history: Any = None, replay: Any = None, **changes: Any) -> Decision:
        """What the gate answers, for the clone's HEAD unless another commit is given, to a run by somebody else."""
        what = {"sha": git(self.clone, "rev-parse", "HEAD"), "repository_id": self.repository_id, **changes}
        deployment = self.world.deployment(actors=("deployer",), **what)
        token = Issuer(self.signer, kid=self.kid).issue(deployment, approver, now=int(self.world.now), ttl=600)
        policy, loaded = compile_policy(self.edit(self.world.text).encode()), self.world.loaded()
        gate = Gate(
            policy,
            replay or loaded.replay_store(),
            loaded.audit_log(),
            history=history or LocalGit(self.clone),
            clock=lambda: self.world.now,
        )
        return gate.check([token], deployment)

    def say(self, entry: str) -> None:
        """Let the policy say what was renamed."""
        self.edit = lambda text: f"{text}renamed: {{{entry}}}\n"

    def forge(self, *, written: bool = True, **changes: Any) -> None:
        """Edit the newest record where the replay store anchors it, as an attacker could who writes there."""
        store, stream = self.world.loaded().replay_store(), Stream("acme/shop", "production")
        head = store.head(stream)
        assert head
        data = canonical(json.loads(head.record) | changes)
        assert store.advance(stream, Head(head.seq, data, written=written), head.seq)

    def allow_forged(self, token: str, **changes: Any) -> None:
        """Put an allow of the tip there, which continues the chain, and which no gate decided."""
        store, stream = self.world.loaded().replay_store(), Stream("acme/shop", "production")
        head = store.head(stream)
        assert head
        record = json.loads(head.record)
        approval = decode(token).summary()
        made = record | {
            "seq": head.seq + 1,
            "previous": digest(head.record),
            "deployment": record["deployment"] | {"sha": self.tip},
            "approvals": [approval],
            "tokens": [token],
            "last_allowed_sha": self.tip,
        }
        data = canonical(made | changes)
        assert store.advance(stream, Head(head.seq + 1, data, written=False), head.seq)

    def rotate(self, *, keep: str = "") -> None:
        """Sign with another key from now on; of the old one the policy keeps `keep`, or nothing."""
        old = base64.b64encode(self.world.signer.public_key.spki).decode()
        self.signer, self.kid = create_key("file:new.pem", self.world.folder, "Ed25519"), "new-key"
        new = base64.b64encode(self.signer.public_key.spki).decode()
        entry = f"""  - kid: new-key
    alg: Ed25519
    public_key: {new}
    approvers: ["*@example.com"]
"""
        gone = f"""  - kid: test-key
    alg: Ed25519
    public_key: {old}
    approvers: ["*@example.com"]
"""
        kept = f"{gone}    {keep}\n" if keep else ""
        self.edit = lambda text: text.replace(gone, entry + kept)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_alice_does_not_approve_what_she_wrote(shop: Shop) -> None:
    assert shop.deploy().reason == AUTHOR
    assert shop.deploy(BOB).allowed


class TestRenamed:
    def test_by_its_id_a_repository_is_the_same_under_another_name(self, shop: Shop) -> None:
        denied = shop.deploy(**STORE)
        assert (denied.reason, f"{ALICE} also had a hand" in denied.message) == (AUTHOR, True)
        assert shop.deploy(BOB, **STORE).allowed
        assert shop.deploy(sha=shop.first, **STORE).allowed  # a rollback to before the rename: nothing is new

    def test_denials_under_the_new_name_do_not_make_it_known(self, shop: Shop) -> None:
        """Whoever may start runs can open any stream, and claim any id there."""
        assert shop.deploy(**STORE).reason == AUTHOR
        assert shop.deploy(repository_id="77").reason == AUTHOR
        assert shop.deploy(**STORE).reason == AUTHOR

    @pytest.mark.parametrize("theirs", ["", "42"])
    @pytest.mark.parametrize("mine", ["", "43"])
    def test_without_the_id_it_blocks_until_the_policy_says(self, tmp_path: Path, mine: str, theirs: str) -> None:
        shop = Shop(tmp_path, theirs)
        other = STORE | {"repository_id": mine}
        for approver in (ALICE, BOB):
            denied = shop.deploy(approver, **other)
            assert denied.reason == AUTHOR
            assert "acme/store looks like one that was renamed, moved or copied" in denied.message
            assert "renamed: {acme/store: acme/shop}" in denied.hint
            assert "renamed: {acme/store: none}" in denied.hint
        shop.say("acme/store: acme/shop")
        assert f"{ALICE} also had a hand" in shop.deploy(**other).message
        assert shop.deploy(BOB, **other).allowed

    def test_a_chain_of_names(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path, "")
        shop.say("acme/new: acme/store, acme/store: acme/shop, acme/shop: acme/new")
        assert f"{ALICE} also had a hand" in shop.deploy(repository="acme/new").message
        assert shop.deploy(BOB, repository="acme/new").allowed

    def test_a_former_name_that_is_another_repository_s_by_now_lends_it_nothing(self, shop: Shop) -> None:
        """The policy says both truths, and what was allowed of the new shop is no base for the store."""
        shop.say("acme/store: acme/shop, acme/shop: none")
        shop.deploy(repository_id="43")
        assert shop.deploy(**STORE).reason == AUTHOR

    def test_another_one_by_the_policys_word(self, shop: Shop) -> None:
        shop.say("acme/store: none")
        assert shop.deploy(repository_id="43", **STORE).allowed

    def test_a_new_repository_needs_no_word(self, shop: Shop) -> None:
        git(shop.clone, "checkout", "-q", "--orphan", "other")
        fresh = Shop.__new__(Shop)
        fresh.__dict__.update(shop.__dict__, clone=shop.clone.parent / "fresh")
        commit(fresh.clone, "another history", CAROL)
        assert fresh.deploy(repository_id="43", **STORE).allowed

    def test_a_repository_under_a_name_that_another_gave_up(self, shop: Shop) -> None:
        """Alice renames acme/shop, and pushes its history to a new acme/shop."""
        denied = shop.deploy(repository_id="99")
        assert denied.reason == AUTHOR
        assert "renamed: {acme/shop: acme/shop}" in denied.hint
        shop.say("acme/shop: acme/shop")
        assert f"{ALICE} also had a hand" in shop.deploy(repository_id="99").message
        shop.say("acme/shop: none")
        assert shop.deploy(repository_id="99").allowed

    def test_a_copy_of_a_part_of_the_history(self, shop: Shop) -> None:
        """Not even where the newest release is no part of it, and dates in between hide the way to an older one."""
        assert shop.deploy(BOB).allowed
        git(shop.clone, "checkout", "-q", shop.first)
        hidden = {"GIT_AUTHOR_DATE": "100000000 +0000", "GIT_COMMITTER_DATE": "100000000 +0000"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in hidden.items():
                patch.setenv(name, value)
            commit(shop.clone, "backdoor", ALICE)
        tip = commit(shop.clone, "harmless", CAROL)
        part = shop.clone.parent / "part"
        git(shop.clone, "branch", "part")
        git(shop.clone.parent, "clone", "-q", "--single-branch", "--branch=part", f"file://{shop.clone}", "part")
        assert git(part, "rev-parse", "HEAD") == tip
        denied = shop.deploy(repository_id="99", sha=tip, history=LocalGit(part), **STORE)
        assert "looks like one that was renamed" in denied.message

    def test_another_environment_is_another_matter(self, shop: Shop) -> None:
        shop.edit = lambda text: text.replace("  production:", "  staging:")
        assert shop.deploy(environment="staging").allowed

    def test_a_settled_stream_costs_no_listing(self, shop: Shop) -> None:
        store = Wrapped(shop.world.loaded().replay_store(), heads=raising(AssertionError()))
        assert shop.deploy(BOB, replay=store).allowed

    def test_heads_that_can_not_be_listed_block(self, shop: Shop) -> None:
        down = ReplayUnavailable("It denies access.", hint="Grant it.")
        store = Wrapped(shop.world.loaded().replay_store(), heads=raising(down))
        blocked = shop.deploy(replay=store, **STORE)
        assert (blocked.decision, blocked.reason) == ("error", "replay.unavailable")
        assert "dynamodb:Scan" in blocked.hint
        assert "renamed: {acme/store: none}" in blocked.hint
        shop.say("acme/store: acme/shop")
        assert shop.deploy(BOB, replay=store, **STORE).allowed

    def test_a_clone_that_can_not_tell_blocks_though_another_history_would_answer(self, shop: Shop) -> None:
        shallow = shop.clone.parent / "shallow"
        git(shop.clone.parent, "clone", "-q", "--depth=2", f"file://{shop.clone}", str(shallow))
        history = FirstWhole([LocalGit(shallow), Forgetful(shallow)])
        denied = shop.deploy(repository_id="43", history=history, **STORE)
        assert denied.reason == AUTHOR
        assert "had another name before can't be told" in denied.message

    def test_more_streams_than_one_decision_looks_at_block(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(3):
            shop.deploy(repository="acme/other", sha=f"{number:040x}")
        monkeypatch.setattr("gate.lineage.MOST_ELSEWHERE", 2)
        blocked = shop.deploy(**STORE)
        assert (blocked.reason, "more records than one decision looks at" in blocked.message) == (AUTHOR, True)
        assert "renamed: {acme/store: none}" in blocked.hint


class Forgetful(LocalGit):
    """A history that can't tell what it holds, but would call everything new."""

    def holds(self, *_: Any) -> str | None:
        raise Unattributed("It is down.", hint="Try again.")


class TestForged:
    @pytest.mark.parametrize("written", [True, False])
    @pytest.mark.parametrize("claim", ["tip", None])
    def test_a_denial_that_claims_another_allowed_commit_or_none(
        self, shop: Shop, claim: str | None, *, written: bool
    ) -> None:
        """Either would make Alice's commit old."""
        assert shop.deploy().reason == AUTHOR
        shop.forge(written=written, last_allowed_sha=claim and shop.tip)
        blocked = shop.deploy()
        assert (blocked.decision, blocked.reason) == ("error", "audit.unavailable")

    @pytest.mark.parametrize("claim", ["tip", None])
    def test_one_that_the_log_does_not_have_yet(self, shop: Shop, claim: str | None) -> None:
        assert shop.deploy().reason == AUTHOR
        shop.world.folder.joinpath("audit/acme/shop/production/seq=000000000002.json").unlink()
        shop.forge(written=False, last_allowed_sha=claim and shop.tip)
        blocked = shop.deploy()
        assert (blocked.reason, "claims another allowed commit" in blocked.message) == ("audit.unavailable", True)

    def test_a_first_record_that_is_none_any_more(self, shop: Shop) -> None:
        denial = {"decision": "deny", "reason": "token.expired", "approvals": [], "last_allowed_sha": None}
        store, stream = shop.world.loaded().replay_store(), Stream("acme/shop", "production")
        head = store.head(stream)
        assert head
        members = json.loads(head.record) | denial | {"token_digests": []}
        del members["tokens"]
        assert store.advance(stream, Head(1, canonical(members), written=True), 1)
        assert shop.deploy().reason == "audit.unavailable"

    def test_an_allow_of_another_commit_than_it_says(self, shop: Shop) -> None:
        shop.forge(last_allowed_sha=shop.tip)
        blocked = shop.deploy()
        assert blocked.reason == "audit.unavailable"
        assert "last_allowed_sha" in blocked.message

    @pytest.mark.parametrize("forged", ["signature", "commit", "environment", "repository", "late", "approver"])
    def test_an_allow_whose_tokens_do_not_allow_it(self, shop: Shop, forged: str) -> None:
        deployment, now = shop.world.deployment(sha=shop.tip), int(shop.world.now)
        issuer, changes = Issuer(shop.world.signer, kid="test-key"), dict[str, Any]()
        if forged == "signature":
            issuer = Issuer(create_key("file:forger.pem", shop.world.folder, "Ed25519"), kid="test-key")
        elif forged == "commit":
            deployment = replace(deployment, sha=shop.first)
        elif forged == "environment":
            deployment = replace(deployment, environment="staging")
        elif forged == "repository":
            deployment = replace(deployment, repository="acme/other")
        elif forged == "late":
            changes["decided_at"] = now + 3600
            shop.world.now += 3600
        token = issuer.issue(deployment, ALICE, now=now, ttl=600)
        if forged == "approver":
            changes["approvals"] = [decode(token).summary() | {"approver": BOB}]
        shop.allow_forged(token, **changes)
        denied = shop.deploy()
        assert denied.reason == AUTHOR
        assert "Record 2 of acme/shop/production" in denied.hint
        assert shop.deploy(BOB).allowed

    def test_an_allow_with_tokens_that_hold_is_the_limit(self, shop: Shop) -> None:
        """An attacker who writes the replay store and has a signed approval gets this far (docs/threat-model.md)."""
        token = shop.world.token(sha=shop.tip)
        shop.allow_forged(token)
        assert shop.deploy().allowed


class TestKeys:
    def test_a_key_that_is_listed_with_its_end_still_vouches(self, shop: Shop) -> None:
        shop.rotate(keep="not_after: 2027-02-01T00:00:00Z")
        assert shop.deploy().reason == AUTHOR
        assert shop.deploy(BOB).allowed

    def test_a_key_that_was_taken_out_too_early_blocks_and_says_what_to_do(self, shop: Shop) -> None:
        shop.rotate()
        for approver in (ALICE, BOB):
            denied = shop.deploy(approver)
            assert denied.reason == AUTHOR
            assert "does not list its key, test-key" in denied.message
            assert "not_after" in denied.hint
        shop.edit = lambda text, rotated=shop.edit: rotated(text).replace("duties: true", "duties: false")
        assert shop.deploy(BOB).allowed
        shop.edit = lambda text, off=shop.edit: off(text).replace("duties: false", "duties: true")
        assert shop.deploy().allowed  # from there on nothing is new
        commit(shop.clone, "hers again", ALICE)
        assert shop.deploy().reason == AUTHOR

    def test_what_a_revoked_key_signed_does_not_count(self, shop: Shop) -> None:
        shop.rotate(keep="not_after: 1970-01-01T00:00:00Z")
        denied = shop.deploy(BOB)
        assert (denied.reason, "docs/policy.md, Keys" in denied.hint) == (AUTHOR, True)

    def test_an_older_allow_by_a_key_that_is_still_trusted_is_the_base_then(self, shop: Shop) -> None:
        old, kid = shop.signer, shop.kid
        shop.rotate(keep="not_after: 2027-02-01T00:00:00Z")
        assert shop.deploy(BOB).allowed
        shop.edit, shop.signer, shop.kid = str, old, kid  # the new key is taken out again
        denied = shop.deploy()
        assert (denied.reason, f"{ALICE} also had a hand" in denied.message) == (AUTHOR, True)
        assert "does not list its key, new-key" in denied.hint
        assert shop.deploy(BOB).allowed
