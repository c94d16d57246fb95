"""Verification: each reason to refuse, and which one comes first."""

from dataclasses import replace
from typing import Any

import pytest

from gate.deployment import Deployment
from gate.errors import Denied, PolicyError, UsageError, exit_code
from gate.identity import identity
from gate.models import Commit, Identity
from gate.policyfile import compile_policy
from gate.steps import STEPS
from gate.tokens import Approval
from gate.trace import CheckName, Trace
from gate.verification import CHECKS, check_separation, judge
from tests.core.decide import BOB, DEPLOYMENT, GATE, PAIR, decide, denial
from tests.core.faults import IN_ORDER, OTHERS, Fault
from tests.core.mint import (
    CLAIMS,
    KEYS,
    NOW,
    SHA,
    STRANGER,
    token,
)


def of(fault: Fault) -> Denied:
    """What the gate says of it."""
    return denial(fault.token, deployment=replace(DEPLOYMENT, **fault.deployment))


@pytest.mark.parametrize("fault", IN_ORDER + OTHERS, ids=lambda fault: f"{fault.reason}-{fault.step}")
def test_each_reason(fault: Fault) -> None:
    denied = of(fault)
    assert (denied.reason, denied.step) == (fault.reason, fault.step)


PAIRS = [(first, second) for index, first in enumerate(IN_ORDER) for second in IN_ORDER[index + 1 :]]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda fault: fault.step)
def test_of_two_faults_the_earlier_is_reported(first: Fault, second: Fault) -> None:
    assert of(first.over(second)).reason == first.reason


def test_the_order_is_that_of_the_checks() -> None:
    order = [name.value for name in CHECKS]
    assert list(CHECKS) == list(CheckName)[: len(CHECKS)]
    assert [order.index(fault.step) for fault in IN_ORDER] == sorted(order.index(fault.step) for fault in IN_ORDER)


@pytest.mark.parametrize(
    ("where", "reason"),
    [({"environment": "prodd"}, "environment.unknown"), ({"repository": "other/shop"}, "repository.not_allowed")],
)
def test_what_no_approval_could_change_is_said_before_one_is_asked_for(where: dict[str, str], reason: str) -> None:
    denied = denial(deployment=replace(DEPLOYMENT, **where))
    assert (denied.reason, denied.step) == (reason, "deployment")


def test_an_unknown_environment_is_answered_with_those_that_this_repository_may_go_into() -> None:
    assert denial(deployment=Deployment("acme/web", SHA, "prodd")).expected == "one of production"
    assert "production" not in denial(deployment=Deployment("other/web", SHA, "prodd")).expected


def test_nothing_was_handed_in() -> None:
    assert (denial().reason, denial().step) == ("token.missing", "parse")


def test_each_step_looks_at_every_approval_before_the_next_one_runs() -> None:
    late, early = token(aud="another-gate"), token(kid="nobody", **BOB)
    assert denial(late, early).reason == denial(early, late).reason == "key.unknown"


def test_one_bad_approval_spoils_the_good_ones() -> None:
    assert denial(token(), token(key=STRANGER, **BOB)).reason == "signature.invalid"


def test_one_jti_in_two_tokens_is_a_replay() -> None:
    denied = denial(token(), token(sub="bob@example.com"), deployment=PAIR)
    assert (denied.reason, denied.step) == ("replay.used", "parse")


def test_a_policy_that_does_not_compile_is_policy_invalid() -> None:
    with pytest.raises(PolicyError) as caught:
        compile_policy(b"version: 1")
    assert (caught.value.reason, exit_code(caught.value.reason)) == ("policy.invalid", 2)


@pytest.mark.parametrize("tokens", ["abc", b"abc", [b"abc"], [None], [1], ["x"] * 17], ids=repr)
def test_what_is_no_list_of_tokens_is_misuse(tokens: Any) -> None:
    with pytest.raises(UsageError):
        judge(tokens, DEPLOYMENT, GATE, NOW)


@pytest.mark.parametrize("alg", KEYS)
def test_a_good_approval_passes_every_step(alg: str) -> None:
    approvals = decide(token(alg, run_id="7"), deployment=replace(DEPLOYMENT, run_id="7", actors=("bob",)))
    assert approvals[0].claims == CLAIMS | {"run_id": "7"}
    trace = Trace()
    judge(approvals, replace(DEPLOYMENT, run_id="7"), GATE, NOW, only=[step.name for step in STEPS], trace=trace)
    checks = trace.checks()[2 : 2 + len(STEPS)]
    assert [check.name for check in checks] == [step.name.value for step in STEPS]
    assert all(check.status == "pass" and check.expected and check.actual.isprintable() for check in checks)


def test_tokens_that_nothing_parses_are_misuse() -> None:
    with pytest.raises(UsageError, match="parsed"):
        judge([token()], DEPLOYMENT, GATE, NOW, only=[CheckName.KEY])


def test_separation_of_duties_without_commits_to_look_at_denies() -> None:
    environment = GATE.environments["production"]._replace(separation_of_duties=True)
    policy = replace(GATE, environments=GATE.environments | {"production": environment})
    with pytest.raises(Denied) as caught:
        judge([token()], DEPLOYMENT, policy, NOW)
    assert (caught.value.reason, caught.value.step) == ("approver.is_author", "separation")


def test_repositories_match_whatever_their_case() -> None:
    assert decide(token(scope=f"deploy:Acme/SHOP:{SHA}"), deployment=replace(DEPLOYMENT, repository="ACME/shop"))


def test_two_people_are_two() -> None:
    approvals = decide(token(environment="pair"), token(environment="pair", **BOB), deployment=PAIR)
    assert [approval.approver for approval in approvals] == ["alice@example.com", "bob@example.com"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("alice@example.com", "Alice@Example.COM"),
        ("bob@example.com", "dave"),  # whom the policy calls bob's login
        ("DAVE", "Bob@example.com"),
    ],
)
def test_one_person_under_two_names_counts_once(first: str, second: str) -> None:
    tokens = [token(environment="pair", sub=sub, jti=jti * 22) for sub, jti in ((first, "a"), (second, "b"))]
    denied = denial(*tokens, deployment=PAIR)
    assert (denied.reason, denied.actual) == ("approvals.insufficient", "1")
    third = token(environment="pair", sub="carol@example.com", jti="c" * 22)
    assert len(decide(*tokens, third, deployment=PAIR)) == 3


def test_one_token_handed_in_twice_counts_once() -> None:
    assert len(decide(token(), token())) == 1
    text = token(environment="pair")
    assert denial(text, text, deployment=PAIR).reason == "approvals.insufficient"


def test_sixteen_approvals_are_looked_at() -> None:
    assert len(decide(*(token(jti=f"{number:022}") for number in range(16)))) == 16


CAROL = "carol@example.com"


def test_separation_counts_those_who_neither_triggered_nor_wrote_it() -> None:
    approvals = decide(token(environment="pair"), token(environment="pair", **BOB), deployment=PAIR)
    assert GATE.people.canonical("dave") == "bob@example.com"

    def counted(author: str, actor: str = CAROL) -> tuple[Approval, ...]:
        commits = [Commit(SHA, ((identity(author),),))]
        return check_separation(approvals, replace(PAIR, actors=(actor,)), GATE, commits)

    assert counted(CAROL) == approvals
    one = [Commit(SHA, ((identity("dave"),),))]
    stranger = [Commit(SHA, ((Identity("login", "mallory"),),))]
    with pytest.raises(Denied, match="It can't be told whether mallory, who had a hand"):
        check_separation(approvals, replace(PAIR, actors=(CAROL,)), GATE, stranger)
    alone = decide(token(), token(**BOB))
    assert check_separation(alone, replace(DEPLOYMENT, actors=(CAROL,)), GATE, one) == alone[:1]
    for author, actor, reason in (("dave", CAROL, "approver.is_author"), (CAROL, "alice", "approver.is_actor")):
        with pytest.raises(Denied) as caught:
            counted(author, actor)
        assert caught.value.reason == reason
        assert caught.value.hint
