"""Only the engineer's own passkey, used for these very claims, once, makes an approval."""

import base64
import json
import time
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from gate.issuer import Issuer
from tests.bot.browser import Browser
from tests.bot.stage import Asked, Stage
from tests.bot.visitor import Answer, Visitor
from tests.core.authenticator import AT, BE, BS, UP, UV, Authenticator, base64url

NOT_USED = "The passkey was not used: it was cancelled, took too long, or is not on this device."


def trouble(browser: Browser) -> str:
    """What stands below the button once the passkey was not used."""
    shown = browser.driver.find_element(By.ID, "trouble")
    browser.wait(shown.is_displayed)
    assert shown.get_attribute("role") == "alert", "read out at once"
    return str(shown.text)


def still_open(stage: Stage, asked: Asked) -> bool:
    return bool(stage.poll(asked)["status"] == "open") and stage.poll(asked)["approvals"] == []


def test_a_passkey_that_verifies_nobody(stage: Stage, browser: Browser) -> None:
    """A finger that is not the owner's, or a prompt that is cancelled: nothing is sent, and the button works again."""
    asked = stage.ask("production")
    browser.become(stage.visitor("alice"))
    browser.open(asked.url)
    browser.driver.set_user_verified(False)
    before = stage.records()
    browser.push("Approve with your passkey")
    assert NOT_USED in trouble(browser)
    assert "Nothing was sent." in trouble(browser)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "trouble", "read out to who can't see it"
    assert still_open(stage, asked)
    assert stage.records() == before
    browser.driver.set_user_verified(True)
    browser.press("Approve with your passkey")
    assert "Approved." in browser.text


def test_a_device_with_another_persons_passkey(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("production")
    browser.become(stage.visitor("alice"))
    browser.driver.remove_all_credentials()
    browser.hold(stage.passkeys["bob"])
    browser.open(asked.url)
    browser.push("Approve with your passkey")
    assert NOT_USED in trouble(browser)
    assert still_open(stage, asked)


def refused(visitor: Visitor, asked: Asked, assertion: dict[str, str], word: str) -> None:
    answer = visitor.approve(asked.id, assertion)
    assert answer.status == 403, answer.text
    assert word in answer.text


def test_assertions_that_do_not_hold(stage: Stage) -> None:
    asked, alice = stage.ask("production"), stage.visitor("alice")
    before = len(stage.records())
    refused(alice, asked, alice.assertion(asked.id, flags=UP), "did not verify who used it")
    refused(alice, asked, stage.passkeys["bob"].assert_(alice.challenge(asked.id)), "passkey")
    refused(alice, asked, stage.passkeys["mallory"].assert_(alice.challenge(asked.id)), "passkey")
    refused(alice, asked, alice.assertion(asked.id, origin="https://evil.example"), "another origin")
    refused(alice, asked, alice.assertion(asked.id, rp_id="evil.example"), "another site")
    refused(alice, asked, alice.assertion(asked.id, type="webauthn.create"), "not that of an assertion")
    refused(alice, asked, alice.assertion(asked.id) | {"signature": "AAAA"}, "signature")
    assert alice.passkey
    alice.challenge(asked.id)
    refused(alice, asked, alice.passkey.assert_(bytes(32)), "something else than this approval says")
    assert still_open(stage, asked)
    assert len(stage.records()) == before + 8, "each failure stands in the bot's own stream"


@pytest.mark.parametrize("credential", ["", "null", "[]", '{"id": 1}', "{", '{"id": {}}', "[" * 5000])
def test_credentials_that_are_none(stage: Stage, credential: str) -> None:
    asked, bob = stage.ask("production"), stage.visitor("bob")
    answer = bob.submit(f"/requests/{asked.id}/approve", credential=credential)
    assert answer.status == 403
    assert "the form came without it" in answer.text
    assert still_open(stage, asked)


def test_an_assertion_of_another_request(stage: Stage) -> None:
    one, other, bob = stage.ask("production"), stage.ask("production"), stage.visitor("bob")
    assertion = bob.assertion(one.id)
    bob.challenge(other.id)
    refused(bob, other, assertion, "something else than this approval says")
    assert bob.approve(one.id, assertion).status == 303, "where it was made for, it is good"
    assert still_open(stage, other)


def test_an_assertion_is_good_once(stage: Stage) -> None:
    asked, alice = stage.ask("pair"), stage.visitor("alice")
    assertion = alice.assertion(asked.id)
    assert alice.approve(asked.id, assertion).status == 303
    again = alice.approve(asked.id, assertion)
    assert again.status in (403, 409), again.text
    assert len(stage.poll(asked)["approvals"]) == 1
    assert stage.request(asked).approvals[0].approver == "alice@example.com"


def test_an_assertion_in_another_session(stage: Stage) -> None:
    """A draft is of one session: what alice's passkey signed there is not bob's to send."""
    asked, alice, bob = stage.ask("pair"), stage.visitor("alice"), stage.visitor("bob")
    assertion = alice.assertion(asked.id)
    answer = bob.approve(asked.id, assertion)
    assert answer.status == 409
    bob.challenge(asked.id)
    refused(bob, asked, assertion, "passkey")
    assert still_open(stage, asked)


def test_an_approval_that_took_too_long(stage: Stage) -> None:
    asked, alice = stage.ask("production"), stage.visitor("alice")
    assertion = alice.assertion(asked.id)
    now = int(time.time())
    for draft in stage.state.list("draft", now):
        assert stage.state.put("draft", draft.key, draft.value, expires_at=now, expected=draft.version, now=now)
    answer = alice.approve(asked.id, assertion)
    assert answer.status == 409
    assert "begun too long ago" in answer.text
    assert still_open(stage, asked)


def test_what_was_said_when_the_passkey_was_used_counts(stage: Stage) -> None:
    """The reason is part of what is signed: one that is sent later changes nothing."""
    asked, alice = stage.ask("production"), stage.visitor("alice")
    assertion = alice.assertion(asked.id, "said before")
    assert alice.approve(asked.id, assertion, reason="said after").status == 303
    assert stage.request(asked).approvals[0].reason == "said before"


def enrolling(stage: Stage, flags: int) -> Answer:
    """What erin gets who makes a passkey with these flags."""
    erin = stage.visitor("erin")
    options = erin.submit("/passkeys/options").json
    assert options["authenticatorSelection"]["userVerification"] == "required"
    passkey = Authenticator(stage.url, "localhost", name="erin")
    challenge = base64.urlsafe_b64decode(options["challenge"] + "==")
    return erin.submit("/passkeys", credential=json.dumps(passkey.create(challenge, flags=flags)))


def test_a_new_passkey_that_verified_nobody(stage: Stage) -> None:
    """One that answers to any finger is nobody's: it is not even shown for the policy."""
    before = stage.records()
    for flags in (UP | AT, UP | BE | BS | AT):
        answer = enrolling(stage, flags)
        assert answer.status == 403, answer.text
        assert "ask for your finger, face or PIN" in answer.json["error"]["hint"]
    assert stage.records() == before


def test_a_new_passkey_is_recorded(stage: Stage) -> None:
    """Whoever audits the policy's passkeys finds who made each, and when."""
    before = {*stage.records()}
    answer = enrolling(stage, UP | UV | AT)
    assert answer.status == 200, answer.text
    [path] = {*stage.records()} - before
    told = json.loads(Path(path).read_bytes())
    key_id = base64url(Authenticator(name="erin").credential.id)
    assert (told["event"], told["who"], told["message"]) == ("enrolment", "erin@example.com", f"its id is {key_id}")
    assert told["deployment"] is None
    assert key_id in answer.text


def forged(stage: Stage, asked: Asked, assertion: str) -> str:
    """An approval in alice's name, by whoever has the bot's own signing key, and not her passkey."""
    deployment = stage.request(asked).deployment
    issuer = Issuer(stage.place.signer, name=stage.url, kid="bot")
    claims = issuer.draft(deployment, "alice@example.com", now=int(time.time()), ttl=600, amr=("mfa", "user"))
    forger = {"made up": Authenticator(stage.url, "localhost", name="alice", alg="Ed25519"),
              "mallory's": stage.passkeys["mallory"], "bob's": stage.passkeys["bob"]}  # fmt: skip
    if assertion in forger:
        claims = forger[assertion].approve(claims)
    elif assertion == "of another approval":
        alice = stage.visitor("alice")
        claims |= {"passkey": alice.assertion(asked.id)}
    elif assertion == "hers":
        claims = stage.passkeys["alice"].approve(claims)
    return issuer.seal(claims)


FORGED = [("none", "passkey.missing", 1)] + [
    (assertion, "passkey.invalid", 1) for assertion in ("made up", "mallory's", "bob's", "of another approval")
]


@pytest.mark.parametrize(("assertion", "word", "code"), [*FORGED, ("hers", "allowed", 0)])
def test_the_bots_own_key_makes_no_approval(stage: Stage, assertion: str, word: str, code: int) -> None:
    """The proof that a stolen deploy-bot approves nothing: all that is missing is the engineer's passkey."""
    asked = stage.ask("solo")
    token = forged(stage, asked, assertion)
    done = stage.gate("verify", "--repository", "acme/shop", "--sha", asked.sha, "--environment", "solo", "--run-id",
                      asked.run_id, "--request-id", asked.id, "--approval", token, "--json")  # fmt: skip
    decision = json.loads(done.stdout)
    assert (done.returncode, decision["reason"]) == (code, word), decision
    told = {check["name"]: check["status"] for check in decision["checks"]}
    assert told["signature"] == "pass", "the forged token is signed as well as any"
