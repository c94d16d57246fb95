"""The desk's side for people: what a yes and a no are worth, and what becomes of them when anything fails."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.bot.errors import BotError, Conflict, NotAllowed, Unavailable
from gate.bot.request import Facts
from gate.bot.web import status_of
from gate.errors import SignerError
from gate.tokens import decode
from tests.bot.office import ORIGIN, SESSION, Office, down, office
from tests.core.authenticator import Authenticator
from tests.world import ALICE, BOB, CAROL, SHA


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    return office(tmp_path)


@pytest.fixture
def keyed(tmp_path: Path) -> Office:
    """Where a passkey is required."""
    return office(tmp_path, passkey="required")


def test_every_claim_is_what_the_page_showed_and_the_gate_takes_it(keyed: Office) -> None:
    standing = keyed.ask()
    keyed.prove(standing.request.id, reason="hotfix: “ü”")
    [token] = keyed.tokens(standing)
    claims = dict(decode(token).claims)
    assert claims["exp"] - claims["iat"] == standing.environment.max_age == 900
    assert claims["iat"] == keyed.world.now
    assert {name: value for name, value in claims.items() if name not in ("jti", "iat", "exp", "passkey")} == {
        "iss": ORIGIN,
        "sub": ALICE,
        "aud": "deploy-gate",
        "scope": f"deploy:acme/shop:{SHA}",
        "environment": "production",
        "request_id": standing.request.id,
        "run_id": "7",
        "repository_id": "74",
        "reason": "hotfix: “ü”",
        "amr": ["mfa", "user"],
    }
    right = keyed.world.deployment(run_id="7", repository_id="74", request_id=standing.request.id)
    assert keyed.world.gate().check([token], keyed.world.deployment(run_id="8")).reason == "run.mismatch"
    assert keyed.world.gate().check([token], right).allowed


def test_without_a_passkey_nothing_is_said_of_one(desk: Office) -> None:
    standing = desk.ask()
    desk.approve(standing.request.id)
    claims = decode(desk.tokens(standing)[0]).claims
    assert not {"amr", "passkey"} & claims.keys()


def test_an_approval_is_recorded_by_its_digest_before_it_counts(desk: Office) -> None:
    from gate.record import digest

    standing = desk.ask()
    desk.approve(standing.request.id, reason="because")
    [token] = desk.tokens(standing)
    [record] = desk.records()
    assert (record.event, record.who, record.message) == ("approval", ALICE, "without a passkey: because")
    assert record.token_digests == (digest(token.encode()),)
    assert token not in "".join(path.read_text() for path in (desk.world.folder / "audit").rglob("*.json"))


@pytest.mark.parametrize("decide", ["approve", "decline"])
def test_what_can_t_be_recorded_does_not_count(desk: Office, decide: str) -> None:
    standing = desk.ask()
    (desk.world.folder / "audit").mkdir(exist_ok=True)
    (desk.world.folder / "audit").chmod(0)
    broken = type("Log", (), {"__getattr__": lambda self, name: down})()
    desk.stores = lambda: (broken, desk.world.loaded().replay_store())
    with pytest.raises(Unavailable):
        _decide(desk, decide, standing.request.id)
    (desk.world.folder / "audit").chmod(0o700)
    assert desk.register.find(standing.request.id).request == desk.register.find(standing.request.id).request
    assert desk.register.find(standing.request.id).status == "open"
    assert desk.register.find(standing.request.id).request.approvals == ()


def test_a_log_that_can_t_be_opened_is_no_traceback(desk: Office) -> None:
    standing = desk.ask()

    def fails() -> Any:
        raise SignerError("no such place")

    desk.stores = fails
    with pytest.raises(Unavailable, match="does not count"):
        desk.approve(standing.request.id)


def _decide(desk: Office, how: str, key: str) -> None:
    if how == "approve":
        desk.approve(key)
    else:
        desk.decline(key, ALICE, "no")


class _Mute:
    """A signer that is there, and can't sign."""

    def __init__(self, signer: Any) -> None:
        self.public_key = signer.public_key

    def sign(self, data: bytes) -> bytes:
        raise SignerError("The key is away.")


def test_where_the_signer_is_down_nothing_is_approved_and_nothing_recorded(desk: Office) -> None:
    standing = desk.ask()
    desk.signer = lambda: _Mute(desk.world.signer)
    with pytest.raises(Unavailable, match="can't be signed"):
        desk.approve(standing.request.id)

    def gone() -> Any:
        raise SignerError("The key is gone.")

    desk.signer = gone
    with pytest.raises(Unavailable, match="key can't be used"):
        desk.approve(standing.request.id)
    with pytest.raises(Unavailable, match="key can't be used"):
        desk.notary.check_signer(desk.policy.current().policy)
    assert desk.records() == []
    assert desk.tokens(standing) == []
    verdict = desk.notary.verdict(standing, ALICE)
    assert (verdict.may, verdict.reason) == (False, "bot.unavailable"), "the page can be read"
    desk.decline(standing.request.id, ALICE, "Not without the key")


def test_a_key_that_the_policy_does_not_list_is_said_and_signs_nothing(desk: Office, tmp_path: Path) -> None:
    standing = desk.ask()
    other = office(tmp_path / "other").world.signer
    desk.notary.check_signer(desk.policy.current().policy)
    desk.signer = lambda: other
    with pytest.raises(Unavailable, match="does not list"):
        desk.notary.check_signer(desk.policy.current().policy)
    verdict = desk.notary.verdict(desk.register.find(standing.request.id), ALICE)
    assert verdict.reason == "key.unknown"
    with pytest.raises(NotAllowed):
        desk.approve(standing.request.id)
    assert desk.records() == []


def test_where_the_state_is_down_at_the_last_moment_the_approval_does_not_count(desk: Office) -> None:
    standing = desk.ask()
    desk.state.before["put"] = lambda kind, key: down() if kind == "request" else None
    with pytest.raises(Unavailable):
        desk.approve(standing.request.id)
    desk.state.before.clear()
    assert desk.tokens(standing) == []
    desk.herald.run_due()
    assert "approved" not in desk.channels[0].news


def test_nobody_counts_twice_under_two_names(tmp_path: Path) -> None:
    desk = office(tmp_path, approvals=2)
    key = desk.ask().request.id
    desk.approve(key, ALICE)
    with pytest.raises(NotAllowed, match="You have approved this"):
        desk.approve(key, ALICE)
    desk.approve(key, BOB)
    with pytest.raises(NotAllowed, match="all the approvals"):
        desk.approve(key, CAROL)


def test_an_approval_that_runs_out_before_the_quorum_is_complete_can_be_given_again(tmp_path: Path) -> None:
    desk = office(tmp_path, approvals=2)
    standing = desk.ask()
    desk.approve(standing.request.id, ALICE)
    desk.later(900)
    desk.approve(standing.request.id, BOB)
    assert desk.tokens(standing) == []
    desk.approve(standing.request.id, ALICE)
    tokens = desk.tokens(standing)
    assert [decode(token).approver for token in tokens] == [BOB, ALICE]
    right = desk.world.deployment(run_id="7", repository_id="74", request_id=standing.request.id)
    assert desk.world.gate().check(tokens, right).allowed


@pytest.mark.parametrize("person", ["mallory@example.com", "dave@example.com", ""])
def test_who_may_not_approve_may_neither_approve_nor_decline(desk: Office, person: str) -> None:
    key = desk.ask().request.id
    with pytest.raises(NotAllowed):
        desk.approve(key, person)
    with pytest.raises(NotAllowed):
        desk.draft(key, person, SESSION, "")
    with pytest.raises(NotAllowed):
        desk.decline(key, person, "no")
    assert desk.records() == []


@pytest.mark.parametrize("reason", ["\ud800", "x" * 600])
def test_a_reason_that_no_token_can_carry_is_refused_before_anybody_looks_for_a_passkey(
    keyed: Office, reason: str
) -> None:
    key = keyed.ask().request.id
    with pytest.raises(BotError) as caught:
        keyed.draft(key, ALICE, SESSION, reason)
    assert status_of(caught.value) == 400
    assert keyed.records() == []


def test_a_decision_is_final(desk: Office) -> None:
    standing = desk.ask()
    desk.decline(standing.request.id, BOB, "Not on a Friday")
    for again in (desk.approve, lambda key: desk.decline(key, ALICE, "no")):
        with pytest.raises((NotAllowed, Conflict), match="declined"):
            again(standing.request.id)
    assert desk.tokens(standing) == []
    declined = desk.register.find(standing.request.id).request.declined
    assert declined and (declined.by, declined.reason) == (BOB, "Not on a Friday")
    [record] = desk.records()
    assert (record.event, record.who, record.message) == ("refusal", BOB, "Not on a Friday")


def test_what_ran_out_can_t_be_decided(desk: Office) -> None:
    key = desk.ask().request.id
    desk.later(3600)
    with pytest.raises(NotAllowed, match="run out"):
        desk.approve(key)
    with pytest.raises(Conflict, match="expired"):
        desk.decline(key, ALICE, "no")


# --- passkeys ---------------------------------------------------------------------------------------------------------


def test_a_draft_is_for_one_session_one_request_and_one_use(keyed: Office) -> None:
    first, other = keyed.ask().request.id, keyed.ask(run_id="8").request.id
    claims, _ = keyed.draft(first, ALICE, SESSION, "")
    assertion = Authenticator(name="alice").approve(claims)["passkey"]
    for key, session in ((first, "another"), (other, SESSION)):
        with pytest.raises(Conflict, match="begun too long ago"):
            keyed.submit(key, ALICE, session, assertion, "")
    with pytest.raises((NotAllowed, Conflict)):
        keyed.submit(first, BOB, SESSION, assertion, "")
    with pytest.raises(Conflict):
        keyed.submit(first, ALICE, SESSION, assertion, "")  # bob has used it up
    keyed.prove(first)


def test_a_draft_lives_five_minutes_and_a_second_one_takes_its_place(keyed: Office) -> None:
    key = keyed.ask().request.id
    old, _ = keyed.draft(key, ALICE, SESSION, "")
    new, _ = keyed.draft(key, ALICE, SESSION, "")
    assert old["jti"] != new["jti"]
    alice = Authenticator(name="alice")
    with pytest.raises(NotAllowed):
        keyed.submit(key, ALICE, SESSION, alice.approve(old)["passkey"], "")
    late, _ = keyed.draft(key, ALICE, SESSION, "")
    keyed.later(300)
    with pytest.raises(Conflict):
        keyed.submit(key, ALICE, SESSION, alice.approve(late)["passkey"], "")


def test_the_reason_is_the_one_that_was_signed(keyed: Office) -> None:
    standing = keyed.ask()
    claims, _ = keyed.draft(standing.request.id, ALICE, SESSION, "first")
    assertion = Authenticator(name="alice").approve(claims)["passkey"]
    keyed.submit(standing.request.id, ALICE, SESSION, assertion, "second")
    assert decode(keyed.tokens(standing)[0]).claims["reason"] == "first"


@pytest.mark.parametrize(
    "assertion",
    [{}, {"id": "x"}, {"id": "", "authenticatorData": "", "clientDataJSON": "", "signature": ""}, {"x": "y" * 5000}],
)
def test_what_is_no_assertion_is_refused_and_recorded(keyed: Office, assertion: dict[str, str]) -> None:
    key = keyed.ask().request.id
    keyed.draft(key, ALICE, SESSION, "")
    with pytest.raises(NotAllowed):
        keyed.submit(key, ALICE, SESSION, assertion, "")
    assert keyed.records() == []  # not in the deployment's stream
    [path] = (keyed.world.folder / "audit" / "deploy-gate/bot/events").glob("*.json")
    assert json.loads(path.read_text())["event"] == "sign_in_failure"


def test_somebody_elses_passkey_is_refused(keyed: Office) -> None:
    standing = keyed.ask()
    claims, _ = keyed.draft(standing.request.id, ALICE, SESSION, "")
    with pytest.raises(NotAllowed):
        keyed.submit(standing.request.id, ALICE, SESSION, Authenticator(name="bob").approve(claims)["passkey"], "")
    assert keyed.tokens(standing) == []


def test_a_draft_of_a_request_that_was_declined_and_asked_anew_is_worth_nothing(keyed: Office) -> None:
    standing = keyed.ask()
    claims, _ = keyed.draft(standing.request.id, ALICE, SESSION, "")
    keyed.decline(standing.request.id, BOB, "look at the logs first")
    keyed.ask(attempt=2)
    with pytest.raises(Conflict):
        keyed.submit(standing.request.id, ALICE, SESSION, Authenticator(name="alice").approve(claims)["passkey"], "")
    assert keyed.register.find(standing.request.id).request.approvals == ()


def test_a_request_that_is_asked_anew_in_the_last_moment_is_not_approved(desk: Office) -> None:
    standing = desk.ask()

    def meanwhile(kind: str, key: str) -> None:
        if key.endswith(".approved"):
            desk.state.before.clear()
            other = Office(desk.world)
            other.decline(standing.request.id, BOB, "no")
            other.ask(attempt=2)

    desk.state.before["put"] = meanwhile
    with pytest.raises(Conflict, match="has changed since you opened"):
        desk.approve(standing.request.id)
    assert desk.register.find(standing.request.id).request.approvals == ()


def test_a_job_that_somebody_else_runs_again_in_the_last_moment_is_not_approved(desk: Office) -> None:
    standing = desk.ask()

    def meanwhile(kind: str, key: str) -> None:
        if key.endswith(".approved"):
            desk.state.before.clear()
            Office(desk.world).ask(attempt=2, actors=("erin",))

    desk.state.before["put"] = meanwhile
    with pytest.raises(Conflict, match="has changed since you opened"):
        desk.approve(standing.request.id)
    assert desk.register.find(standing.request.id).request.approvals == ()
    desk.approve(standing.request.id)


def test_a_draft_of_a_job_that_somebody_else_ran_again_is_worth_nothing(keyed: Office) -> None:
    key = keyed.ask().request.id
    claims, _ = keyed.draft(key, ALICE, SESSION, "")
    keyed.ask(attempt=2, actors=("erin",))
    with pytest.raises(Conflict, match="begun too long ago"):
        keyed.submit(key, ALICE, SESSION, Authenticator(name="alice").approve(claims)["passkey"], "")
    assert keyed.register.find(key).request.approvals == ()


@pytest.mark.parametrize("question", ["", "x"])
def test_a_decision_on_another_question_is_none(desk: Office, question: str) -> None:
    key = desk.ask().request.id
    for decide in (
        lambda: desk.desk.approve(key, question, ALICE, SESSION, None, ""),
        lambda: desk.desk.decline(key, question, ALICE, "no"),
        lambda: desk.desk.draft(key, question, ALICE, SESSION, ""),
    ):
        with pytest.raises(Conflict, match="has changed since you opened"):
            decide()
    assert desk.register.find(key).status == "open"


def test_a_draft_that_no_bot_wrote_is_worth_nothing(keyed: Office) -> None:
    key = keyed.ask().request.id
    keyed.draft(key, ALICE, SESSION, "")
    slot = keyed.keyring.derive("draft", SESSION, key)
    keyed.state.put("draft", slot, {"generation": 1}, expires_at=2**40, expected=1, now=int(keyed.world.now))
    with pytest.raises(Conflict):
        keyed.submit(key, ALICE, SESSION, {}, "")


def test_two_drafts_in_one_moment_end_in_a_plain_answer(keyed: Office) -> None:
    key = keyed.ask().request.id

    def meanwhile(kind: str, _: str) -> None:
        if kind == "draft":
            keyed.state.before.clear()
            keyed.draft(key, ALICE, SESSION, "other")

    keyed.state.before["put"] = meanwhile
    with pytest.raises(Unavailable, match="Too many"):
        keyed.draft(key, ALICE, SESSION, "")


# --- the policy changes -----------------------------------------------------------------------------------------------

_CHANGES = {
    "approver": ("approvers: [alice@example.com, bob", "approvers: [bob"),
    "passkey": (f", passkeys: [{Authenticator(name='alice').credential_yaml}]", ""),
    "origin": ("https://gate.example.com", "https://login.gate.example.com"),
    "max_age": ("max_age: 15m", "max_age: 10m"),
    "audience": ("version: 1", "version: 1\naudience: other"),
    "key": ('approvers: ["*@example.com"]\npeople', "approvers: [bob@example.com]\npeople"),
    "repository": ('["acme/*"]', "[acme/other]"),
}


@pytest.mark.parametrize("what", _CHANGES)
def test_a_change_of_the_policy_between_challenge_and_submit_is_respected(keyed: Office, what: str) -> None:
    key = keyed.ask().request.id
    claims, _ = keyed.draft(key, ALICE, SESSION, "")
    keyed.change(*_CHANGES[what])
    with pytest.raises(BotError) as caught:
        keyed.submit(key, ALICE, SESSION, Authenticator(name="alice").approve(claims)["passkey"], "")
    assert status_of(caught.value) in (403, 404, 409)
    assert keyed.records() == []


def test_a_longer_life_is_not_taken_for_the_one_that_was_shown(keyed: Office) -> None:
    key = keyed.ask().request.id
    claims, _ = keyed.draft(key, ALICE, SESSION, "")
    keyed.change("max_age: 15m", "max_age: 20m")
    with pytest.raises(Conflict):
        keyed.submit(key, ALICE, SESSION, Authenticator(name="alice").approve(claims)["passkey"], "")


def test_a_passkey_that_is_asked_for_since_the_page_was_shown_is_asked_for(tmp_path: Path) -> None:
    desk = office(tmp_path, passkey="listed")
    key = desk.ask().request.id
    desk.change("    approvals: 1\n", "    approvals: 1\n    passkey: required\n")
    with pytest.raises(NotAllowed):
        desk.approve(key)
    assert "none of yours" in desk.notary.verdict(desk.register.find(key), CAROL).message


@pytest.mark.parametrize("what", ["approver", "passkey", "origin", "max_age", "audience", "key"])
def test_an_approval_that_the_gate_would_not_count_any_more_does_not_count_here(tmp_path: Path, what: str) -> None:
    desk = office(tmp_path, passkey="required", approvals=2)
    carol = Authenticator(name="carol").credential_yaml
    desk.change("{github: carol}", f"{{github: carol, passkeys: [{carol}]}}")
    standing = desk.ask()
    desk.prove(standing.request.id, "alice")
    assert len(desk.register.find(standing.request.id).request.approvals) == 1
    desk.change(*_CHANGES[what])
    assert desk.register.find(standing.request.id).request.approvals == ()
    if what in ("approver", "passkey", "max_age"):
        desk.prove(standing.request.id, "bob")
        assert desk.register.find(standing.request.id).status == "open"
        assert desk.tokens(standing) == []


def test_whoever_re_runs_it_after_having_approved_it_no_longer_counts(tmp_path: Path) -> None:
    desk = office(tmp_path, separation=True, approvals=2)
    standing = desk.ask()
    desk.approve(standing.request.id, ALICE)
    desk.ask(attempt=2, actors=("alice",))
    assert desk.register.find(standing.request.id).request.approvals == ()
    verdict = desk.notary.verdict(desk.register.find(standing.request.id), ALICE)
    assert verdict.reason == "approver.is_actor"


def test_an_author_who_is_found_later_no_longer_counts(tmp_path: Path) -> None:
    desk = office(tmp_path, separation=True, approvals=2)
    standing = desk.ask()
    desk.approve(standing.request.id, ALICE)
    facts = Facts(total=1, roles=((SHA, (("email", ALICE),)),))
    desk.register.change(standing.request.id, lambda newest: replace(newest.request, facts=facts))
    assert desk.register.find(standing.request.id).request.approvals == ()


def test_what_a_job_has_stays_as_it_was(desk: Office) -> None:
    standing = desk.ask()
    desk.approve(standing.request.id)
    given = desk.tokens(standing)
    desk.change("approvers: [alice@example.com, bob", "approvers: [bob")
    assert desk.tokens(standing) == given  # the gate decides, and says why


def test_a_token_that_no_bot_wrote_does_not_count(desk: Office) -> None:
    from dataclasses import replace

    standing = desk.ask()
    desk.approve(standing.request.id)
    register = desk.register

    def damage(newest: Any) -> Any:
        [given] = newest.request.approvals
        return replace(newest.request, approvals=(given._replace(token="x.y.z"),))

    register.change(standing.request.id, damage)
    assert desk.tokens(standing) == []
