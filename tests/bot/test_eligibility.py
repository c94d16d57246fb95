"""Whether somebody may approve, and every reason why not, before they try."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.bot.errors import NotAllowed
from gate.bot.request import ApprovalRequest, Declined, Facts
from tests.bot.office import Office, office
from tests.world import ALICE, BOB, CAROL, SHA


def verdict(desk: Office, key: str, person: str = ALICE) -> Any:
    return desk.notary.verdict(desk.register.find(key), person)


def changed(desk: Office, key: str, **members: Any) -> ApprovalRequest:
    return desk.register.change(key, lambda newest: replace(newest.request, **members)).request


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    return office(tmp_path, separation=True)


def facts(*identities: tuple[str, str]) -> Facts:
    return Facts(total=1, roles=((SHA, identities),))


def test_who_may_is_told_what_only_the_gate_can_judge(desk: Office) -> None:
    key = desk.ask().request.id
    found = verdict(desk, key)
    assert (found.may, found.approver, found.reason) == (True, ALICE, "")
    assert "look again" in found.caution  # the forge was not asked
    changed(desk, key, facts=facts(("login", "dave")))
    assert verdict(desk, key).caution == ""
    changed(desk, key, said=("actors",))
    assert "only what the job says" in verdict(desk, key).caution


def test_without_separation_of_duties_there_is_no_caution(tmp_path: Path) -> None:
    desk = office(tmp_path)
    assert verdict(desk, desk.ask().request.id).caution == ""


@pytest.mark.parametrize(
    ("identities", "reason"),
    [
        ((("email", ALICE),), "approver.is_author"),
        ((("email", "alice@personal.example"),), "approver.is_author"),
        ((("login", "alice"),), "approver.is_author"),
        ((), "approver.is_author"),  # somebody without a name: it can't be told that it was another
        ((("login", "bob"),), ""),
    ],
)
def test_authors_may_not(desk: Office, identities: tuple[tuple[str, str], ...], reason: str) -> None:
    key = desk.ask().request.id
    changed(desk, key, facts=facts(*identities))
    assert verdict(desk, key).reason == reason


@pytest.mark.parametrize("actors", [("alice",), ("dave", "ALICE"), ("alice@personal.example",)])
def test_whoever_started_it_may_not(desk: Office, actors: tuple[str, ...]) -> None:
    assert verdict(desk, desk.ask(actors=actors).request.id).reason == "approver.is_actor"


def test_others_may_not_and_are_told_whom_to_ask(desk: Office) -> None:
    found = verdict(desk, desk.ask().request.id, "mallory@example.com")
    assert (found.reason, found.may) == ("approver.not_allowed", False)
    assert "3 approvers" in found.hint


def test_what_is_over_is_over(tmp_path: Path) -> None:
    desk = office(tmp_path)
    open_, declined, approved = (desk.ask(run_id=run).request.id for run in "123")
    changed(desk, declined, declined=Declined(BOB, "no", 1))
    desk.approve(approved)
    assert verdict(desk, declined).reason == "declined"
    assert verdict(desk, approved, BOB).reason == "approved"
    desk.later(4000)
    assert verdict(desk, open_).reason == "expired"


def test_whoever_approved_is_told_so(tmp_path: Path) -> None:
    desk = office(tmp_path, approvals=2)
    key = desk.ask().request.id
    desk.approve(key)
    assert verdict(desk, key).reason == "given"
    assert verdict(desk, key, BOB).may


def test_a_key_that_may_not_speak_for_somebody_is_said(tmp_path: Path) -> None:
    desk = office(tmp_path)
    key = desk.ask().request.id
    desk.change('approvers: ["*@example.com"]\npeople', "approvers: [bob@example.com]\npeople")
    assert verdict(desk, key).reason == "key.not_authorized"
    assert verdict(desk, key, BOB).may


def test_without_a_passkey_where_one_is_required(tmp_path: Path) -> None:
    desk = office(tmp_path, passkey="required")
    key = desk.ask().request.id
    assert verdict(desk, key).may
    assert verdict(desk, key, CAROL).reason == "passkey.missing"


def test_people_are_told_by_any_of_their_names(tmp_path: Path) -> None:
    desk = office(tmp_path)
    desk.change("approvers: [alice@example.com, ", "approvers: [alice@personal.example, ")
    desk.change('approvers: ["*@example.com"]\npeople', 'approvers: ["*@personal.example"]\npeople')
    key = desk.ask().request.id
    found = verdict(desk, key)
    assert (found.may, found.approver) == (True, "alice@personal.example")
    desk.approve(key, ALICE)
    assert desk.register.find(key).request.approvals[0].person == ALICE


def test_two_names_that_became_one_person_s_count_once(tmp_path: Path) -> None:
    desk = office(tmp_path, approvals=2)
    desk.change("approvers: [alice@example.com, ", "approvers: [bobby@example.com, alice@example.com, ")
    key = desk.ask().request.id
    desk.approve(key, BOB)
    desk.approve(key, "bobby@example.com")
    assert desk.register.find(key).status == "approved"
    desk.change(f"  {BOB}:", f"  {BOB}: {{emails: [bobby@example.com]}}\n  nobody@example.com:")
    standing = desk.register.find(key)
    assert (standing.status, len(standing.request.approvals)) == ("open", 1)
    assert verdict(desk, key).may
    desk.change(f", {BOB}, ", ", ")
    [left] = desk.register.find(key).request.approvals
    assert left.approver == "bobby@example.com", "the one that the gate would count"


def test_an_unknown_environment_s_answer_names_those_of_the_repository_alone(tmp_path: Path) -> None:
    desk = office(tmp_path)
    with pytest.raises(NotAllowed) as ours:
        desk.ask(environment="prod")
    with pytest.raises(NotAllowed) as strangers:
        desk.ask(environment="prod", repository="mallory/mine")
    assert (ours.value.expected, strangers.value.expected) == (
        "one of production",
        "an environment that the policy lists",
    )
