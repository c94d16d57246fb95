"""`Gate.check`: what it answers, in which order it acts, and what it leaves behind."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gate
from gate.errors import AuditUnavailable, Denied, ReplayUnavailable, UsageError
from gate.forge.git import LocalGit
from gate.issuer import Issuer
from gate.lineage import Lineage
from gate.models import Commit, Identity
from gate.replay.memory import MemoryStore
from tests.core.authenticator import Authenticator
from tests.world import ALICE, BOB, CAROL, SHA, World, commit, git


class Written:
    """A history that says who wrote the commits."""

    def __init__(self, *emails: str) -> None:
        self._commits = [Commit(SHA, ((Identity("email", email),),)) for email in emails]

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> Iterable[Commit]:
        """The commits it was made with."""
        return self._commits


class Broken:
    """A store whose method `name` raises `error`; everything else is passed on."""

    def __init__(self, inner: Any, name: str, error: Exception) -> None:
        self._inner, self._name, self._error = inner, name, error

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._inner, name)

        def fail(*_: Any, **__: Any) -> None:
            raise self._error

        return fail


class Sink:
    """An audit log that takes everything and keeps nothing."""

    def put(self, *_: Any) -> str:
        """Where it went."""
        return "sink:"

    def get(self, *_: Any) -> None:
        """Nothing."""


MEMORY = MemoryStore()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def records(world: World) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((world.folder / "audit").rglob("seq=*.json"))]


def test_allow_consumes_records_and_says_so(world: World) -> None:
    decision = world.gate().check([world.token()], world.deployment(run_id="7"))
    assert (decision.allowed, decision.reason, decision.decision) == (True, "allowed", "allow")
    assert [check.status for check in decision.checks if check.status == "fail"] == []
    assert decision.approvals[0]["approver"] == ALICE
    [record] = records(world)
    assert decision.record == f"file://{next((world.folder / 'audit').rglob('seq=*.json'))}"
    assert record["decision"] == "allow"
    assert record["last_allowed_sha"] == SHA
    assert [use.run_id for use in world.loaded().replay_store().consumed()] == ["7"]


def test_a_replay_says_who_used_it_when_and_in_which_run(world: World) -> None:
    token = world.token()
    assert world.gate().check([token], world.deployment(run_id="7")).allowed
    decision = world.gate().check([token], world.deployment(run_id="8"))
    assert (decision.reason, decision.decision) == ("replay.used", "deny")
    assert ALICE in decision.message
    assert "run 7" in decision.message
    assert [check.name for check in decision.checks if check.status == "fail"] == ["replay"]
    assert [record["reason"] for record in records(world)] == ["allowed", "replay.used"]


def test_a_denial_is_recorded_without_the_token(world: World) -> None:
    token = world.token()
    decision = world.gate().check([token], world.deployment(sha="0" * 40))
    assert decision.reason == "sha.mismatch"
    [record] = records(world)
    assert record["token_digests"]
    assert token not in json.dumps(record)
    assert world.gate().check([token], world.deployment()).allowed  # a denial uses nothing up


def test_an_environment_that_no_policy_lists_gets_no_stream(world: World) -> None:
    deployment = world.deployment(environment="prodd")
    for tokens in ([], [world.token()], [world.token(environment="prodd")]):
        decision = world.gate().check(tokens, deployment)
        assert (decision.reason, decision.record) == ("environment.unknown", None)
        assert statuses(decision) | {"deployment": "fail", "record": "skip"} == statuses(decision)
    declined = world.gate().deny(Denied("approval.declined", "No."), [], deployment)
    assert (declined.reason, declined.record) == ("approval.declined", None)
    assert [*world.folder.glob("audit/*")] == []
    assert world.loaded().replay_store().head(deployment.stream) is None


def test_a_repository_that_the_policy_does_not_let_in_is_recorded(world: World) -> None:
    decision = world.gate().check([], world.deployment(repository="other/shop"))
    assert (decision.reason, [record["reason"] for record in records(world)]) == (
        "repository.not_allowed",
        ["repository.not_allowed"],
    )


def test_no_token_at_all(world: World) -> None:
    decision = world.gate().check([], world.deployment())
    assert (decision.reason, decision.hint != "") == ("token.missing", True)


def test_of_many_concurrent_gates_exactly_one_allows(world: World) -> None:
    token, decisions = world.token(), []
    barrier = threading.Barrier(8)

    def run() -> None:
        gate_ = world.gate()
        barrier.wait()
        decisions.append(gate_.check([token], world.deployment()))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decision.reason for decision in decisions) == ["allowed", *["replay.used"] * 7]
    assert len(records(world)) == 8


def test_a_quorum_needs_distinct_people(tmp_path: Path) -> None:
    world = World(tmp_path, approvals=2)
    alone = world.gate().check([world.token(ALICE), world.token(ALICE.upper())], world.deployment())
    assert alone.reason == "approvals.insufficient"
    both = [world.token(ALICE), world.token(BOB)]
    assert world.gate().check(both, world.deployment()).allowed


def test_a_quorum_is_consumed_all_or_none(tmp_path: Path) -> None:
    world = World(tmp_path, approvals=2)
    alice, bob, carol = (world.token(who) for who in (ALICE, BOB, CAROL))
    assert world.gate().check([alice, bob], world.deployment()).allowed
    assert world.gate().check([carol, bob], world.deployment()).reason == "replay.used"
    assert world.gate().check([carol, world.token(BOB)], world.deployment()).allowed


@pytest.mark.parametrize(
    ("author", "actor", "reason"),
    [
        (BOB, "bob", "allowed"),
        (ALICE, "bob", "approver.is_author"),
        ("alice@personal.example", "bob", "approver.is_author"),
        ("stranger@elsewhere.example", "bob", "approver.is_author"),
        (BOB, "alice", "approver.is_actor"),
        (BOB, "ALICE", "approver.is_actor"),
        (BOB, None, "approver.is_actor"),
    ],
)
def test_separation_of_duties(tmp_path: Path, author: str, actor: str | None, reason: str) -> None:
    world = World(tmp_path, separation=True)
    deployment = world.deployment(actors=(actor,) if actor else ())
    decision = world.gate(history=Written(author)).check([world.token()], deployment)
    assert decision.reason == reason
    if not decision.allowed:
        assert decision.hint
        assert [check.name for check in decision.checks if check.status == "fail"] == ["separation"]


def test_an_authors_approval_does_not_count_towards_the_quorum(tmp_path: Path) -> None:
    world = World(tmp_path, separation=True, approvals=2)
    tokens = [world.token(who) for who in (ALICE, BOB)]
    deployment = world.deployment(actors=("carol",))
    assert world.gate(history=Written(ALICE)).check(tokens, deployment).reason == "approver.is_author"
    enough = world.gate(history=Written(CAROL)).check(tokens, world.deployment(actors=("deployer",)))
    assert enough.allowed
    assert [approval["approver"] for approval in enough.approvals] == [ALICE, BOB]


def test_separation_without_anywhere_to_look(tmp_path: Path) -> None:
    world = World(tmp_path, separation=True)
    decision = world.gate().check([world.token()], world.deployment(actors=("bob",)))
    assert decision.reason == "approver.is_author"
    assert "fetch-depth" in decision.hint


def test_separation_reaches_back_to_the_last_allowed_commit(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    world, clone = World(tmp_path / "world", separation=True), tmp_path / "clone"

    def deploy(sha: str, approver: str) -> str:
        gate_ = world.gate(history=LocalGit(clone), checkout=clone)
        deployment = world.deployment(sha=sha, actors=("deployer",))
        return gate_.check([world.token(approver, sha=sha)], deployment).reason

    first = commit(clone, "first", BOB)
    assert deploy(first, ALICE) == "allowed"
    commit(clone, "second", ALICE)
    third = commit(clone, "third", BOB)
    assert deploy(third, ALICE) == "approver.is_author"
    loaded = world.loaded()
    lineage = Lineage(loaded.audit_log(), loaded.replay_store(), world.deployment(), loaded.policy)
    assert [*lineage.shas(LocalGit(clone))] == [first]
    assert deploy(third, CAROL) == "allowed"
    assert deploy(commit(clone, "fourth", BOB), ALICE) == "allowed"


def test_the_checkout_must_stand_at_the_approved_commit(world: World) -> None:
    clone = world.folder / "clone"
    sha = commit(clone, "one", BOB)
    commit(clone, "two", BOB)
    deployment, token = world.deployment(sha=sha), world.token(sha=sha)
    decision = world.gate(checkout=clone).check([token], deployment)
    assert (decision.reason, decision.hint != "") == ("checkout.mismatch", True)
    git(clone, "checkout", "-q", sha)
    assert world.gate(checkout=clone).check([token], deployment).allowed


def test_a_changed_file_warns_and_denies_where_the_checkout_must_be_clean(world: World) -> None:
    clone = world.folder / "clone"
    commit(clone, "one", BOB)
    (clone / "app.py").write_text("print(1)")
    git(clone, "add", "app.py")
    sha = commit(clone, "two", BOB)
    (clone / "app.py").write_text("print(2)")
    deployment = world.deployment(sha=sha)
    warned = world.gate(checkout=clone).check([world.token(sha=sha)], deployment)
    assert (warned.reason, statuses(warned)["checkout"]) == ("allowed", "warn")
    world.extra = "    checkout: clean\n"
    for checkout in (clone, None):
        denied = world.gate(checkout=checkout).check([world.token(sha=sha)], deployment)
        assert (denied.reason, statuses(denied)["checkout"]) == ("checkout.mismatch", "fail")
    git(clone, "checkout", "-q", "app.py")
    assert world.gate(checkout=clone).check([world.token(sha=sha)], deployment).allowed


def statuses(decision: gate.Decision) -> dict[str, str]:
    return {check.name: check.status for check in decision.checks}


def test_a_passkey_is_checked_where_it_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, passkey="required")
    decision = world.gate().check([world.proved()], world.deployment())
    assert (decision.reason, statuses(decision)["passkey"]) == ("allowed", "pass")
    assert [check.actual for check in decision.checks if check.name == "passkey"] == [f"of {ALICE}"]
    again = world.gate().check([world.proved("ALICE@example.com")], world.deployment())
    assert again.allowed


def test_a_passkey_that_nobody_asked_for_is_checked_too(tmp_path: Path) -> None:
    world = World(tmp_path, passkey="listed")
    assert statuses(world.gate().check([world.token()], world.deployment()))["passkey"] == "skip"
    assert statuses(world.gate().check([world.proved()], world.deployment()))["passkey"] == "pass"
    assert world.gate().check([world.proved(passkey="bob")], world.deployment()).reason == "passkey.invalid"


def test_the_signing_key_alone_makes_no_approval(tmp_path: Path) -> None:
    """Whoever has the deploy-bot has its key, and every assertion that it ever saw, but no engineer's passkey."""
    world = World(tmp_path, passkey="required")
    issuer = Issuer(world.signer, kid="test-key")
    claims = issuer.draft(world.deployment(), ALICE, now=int(world.now), ttl=600)
    seen = Authenticator().approve(claims)
    assert world.gate().check([issuer.seal(seen)], world.deployment()).allowed
    forged = {
        "passkey.missing": [claims | {"jti": "x" * 22}],
        "passkey.invalid": [
            seen | {"jti": "x" * 22},
            seen | {"jti": "y" * 22, "reason": "urgent"},
            Authenticator(name="bot").approve(claims | {"jti": "z" * 22}),
            Authenticator(name="bob").approve(claims | {"jti": "a" * 22}),
            Authenticator().approve(claims | {"jti": "b" * 22}, origin="https://phish.example"),
            Authenticator().approve(claims | {"jti": "c" * 22}, flags=0x01),
            Authenticator().approve(claims | {"jti": "d" * 22, "sub": CAROL}),
        ],
        "replay.used": [seen],
    }
    for reason, attempts in forged.items():
        for attempt in attempts:
            decision = world.gate().check([issuer.seal(attempt)], world.deployment())
            assert decision.reason == reason
            assert (statuses(decision)["passkey"] == "fail") == (reason != "replay.used")
            assert decision.hint
    [record] = [record for record in records(world) if record["decision"] == "allow"]
    assert len(record["tokens"]) == 1
    assert len(list(world.loaded().replay_store().consumed())) == 1


def test_every_approval_needs_its_own_passkey(tmp_path: Path) -> None:
    world = World(tmp_path, passkey="required", approvals=2)

    def reason(*tokens: str) -> str:
        return world.gate().check(tokens, world.deployment()).reason

    assert reason(world.proved(), world.token(BOB)) == "passkey.missing"
    assert reason(world.proved(), world.proved(BOB)) == "passkey.invalid"
    assert reason(world.proved(), world.proved(BOB, "bob"), world.token(CAROL)) == "passkey.missing"
    assert reason(world.proved(), world.proved(BOB, "bob")) == "allowed"


def test_a_policy_without_passkeys_takes_no_assertion(world: World) -> None:
    decision = world.gate().check([world.proved()], world.deployment())
    assert (decision.reason, "can't check" in decision.message) == ("passkey.invalid", True)
    assert world.gate().check([world.token()], world.deployment()).allowed


def test_without_passkeys_nothing_of_them_is_loaded(world: World) -> None:
    world.now = time.time()
    script = f"""
import sys
from gate.gate import Gate
from gate.deployment import Deployment
deployment = Deployment(repository="acme/shop", sha="{SHA}", environment="production")
assert Gate.from_policy({str(world.path)!r}).check([{world.token()!r}], deployment).allowed
sys.exit(any(name.startswith("gate.passkey") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("method", ["consume", "head", "advance"])
def test_a_replay_store_that_is_down_blocks(world: World, method: str) -> None:
    store = Broken(world.loaded().replay_store(), method, ReplayUnavailable("It is down.", hint="Start it."))
    decision = world.gate(replay=store).check([world.token()], world.deployment())
    assert (decision.reason, decision.decision, decision.record) == ("replay.unavailable", "error", None)


def test_an_audit_log_that_is_down_blocks_and_burns_the_token(world: World) -> None:
    log = Broken(world.loaded().audit_log(), "put", AuditUnavailable("It is down.", hint="Start it."))
    token = world.token()
    decision = world.gate(audit=log).check([token], world.deployment())
    assert (decision.reason, decision.decision, decision.record) == ("audit.unavailable", "error", None)
    assert decision.hint == "Start it. The approval is used up: ask for a new one for the next run."
    assert world.gate().check([token], world.deployment()).reason == "replay.used"


def test_a_denial_stays_a_denial_where_it_cannot_be_recorded(world: World) -> None:
    log = Broken(world.loaded().audit_log(), "put", AuditUnavailable("It is down.", hint="Start it."))
    decision = world.gate(audit=log).check([], world.deployment())
    assert (decision.reason, decision.record) == ("token.missing", None)
    assert "used up" not in decision.hint
    assert [check.name for check in decision.checks if check.status == "fail"] == ["parse", "record"]


@pytest.mark.parametrize(("part", "method"), [("replay", "consume"), ("audit", "put")])
def test_a_bug_blocks_and_shows_no_secret(world: World, part: str, method: str) -> None:
    inner = world.loaded().replay_store() if part == "replay" else world.loaded().audit_log()
    broken = Broken(inner, method, RuntimeError("arn:aws:kms:eu-west-1:123456789012:key/x"))
    decision = world.gate(**{part: broken}).check([world.token()], world.deployment())
    assert (decision.reason, decision.decision) == ("internal.error", "error")
    assert "123456789012" not in json.dumps(decision.as_json())


def test_misuse_raises(world: World) -> None:
    with pytest.raises(UsageError):
        world.gate().check(world.token(), world.deployment())  # a string is not a list of tokens
    with pytest.raises(UsageError):
        world.gate().check([world.token()] * 17, world.deployment())
    with pytest.raises(UsageError):
        world.deployment(sha="main")


def test_the_library_as_documented(world: World) -> None:
    world.now = time.time()
    gate_ = gate.Gate.from_policy(str(world.path))
    deployment = gate.Deployment(repository="acme/shop", sha=SHA, environment="production")
    decision = gate_.check([world.token()], deployment)
    assert isinstance(decision, gate.Decision)
    assert decision.allowed
    with pytest.raises(AttributeError):
        _ = gate.Nothing


@given(tokens=st.lists(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,60}(\.[A-Za-z0-9_-]{0,60}){0,3}"), max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_handed_in_is_denied_and_recorded(world: World, tokens: list[str]) -> None:
    decision = world.gate(replay=MEMORY, audit=Sink()).check(tokens, world.deployment())
    assert decision.decision == "deny"
    assert decision.reason in ("token.missing", "token.malformed", "token.too_large")
    assert decision.record == "sink:"


@given(
    parts=st.fixed_dictionaries(
        {name: st.text(max_size=300) for name in ("repository", "sha", "environment", "run_id")}
    )
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_deployment_is_called_it_is_one_or_a_usage_error(parts: dict[str, str]) -> None:
    try:
        deployment = gate.Deployment(**parts)
    except UsageError as error:
        assert error.message.isprintable()
        assert error.actual.isprintable()
    else:
        assert ".." not in deployment.stream.path.split("/")
        assert deployment.stream.path.isascii()
