"""One order of checks decides: a check that is dropped or renamed is so for the gate, the proof and the page alike, and
each of them has a deployment with that one fault that tells."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gate import verification
from gate.audit.directory import Directory
from gate.bot import eligibility, notary
from gate.bot.request import ApprovalRequest, Given
from gate.cli import approve
from gate.deployment import Deployment
from gate.errors import Denied
from gate.gate import Gate
from gate.proof import evidence
from gate.proof.policies import Policies
from gate.record import Record, parse
from gate.replay.memory import MemoryStore
from gate.reverify import _LASTING, reverify
from gate.tokens import decode
from gate.trace import EXPECTED, CheckName, Trace
from gate.verification import CHECKS, judge
from tests.core.decide import DEPLOYMENT, GATE
from tests.core.faults import IN_ORDER, Fault
from tests.core.mint import NOW

# Without the parser there is nothing to look at, and without its environment nothing to look it up in.
BY_ANOTHER_KEY = Fault("key.not_authorized", "authority", {"sub": "bob@example.com"}, made={"alg": "ES256"})
FAULTS = [
    BY_ANOTHER_KEY if fault.step == "authority" else fault
    for fault in IN_ORDER
    if fault.reason not in ("token.malformed", "environment.unknown")
]
NAMES = {fault.step for fault in FAULTS}
DEPENDENT = {"key": ["signature", "authority"]}  # what asks for the key that was found


def drop(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take a check out of the table, and what can't be made without it."""
    gone = {name, *DEPENDENT.get(name, ())}
    monkeypatch.setattr(verification, "CHECKS", {one: check for one, check in CHECKS.items() if one.value not in gone})


def of(fault: Fault) -> Deployment:
    return replace(DEPLOYMENT, **fault.deployment)


def decided(fault: Fault, folder: Path) -> tuple[str, Record | None]:
    """What the gate says, and its record."""
    folder.mkdir(exist_ok=True)
    gate = Gate(GATE, MemoryStore(), Directory(folder), clock=lambda: NOW)
    decision = gate.check([fault.token], of(fault))
    record = parse(Path(str(decision.record).removeprefix("file://")).read_bytes()) if decision.record else None
    return decision.reason, record if isinstance(record, Record) else None


@pytest.fixture
def forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Record]:
    """The record of an allow by a gate that lacked one check."""

    def make(fault: Fault) -> Record:
        with monkeypatch.context() as patch:
            drop(patch, fault.step)
            reason, record = decided(fault, tmp_path / "forged")
        assert reason == "allowed"
        assert record is not None
        return record

    return make


def request(fault: Fault) -> ApprovalRequest:
    """A request that somebody has approved with that token, and that one more looks at."""
    approval = decode(fault.token)
    given = Given(
        approval.approver, approval.approver, fault.token, approval.issued_at, approval.expires_at, "", passkey=False
    )
    return ApprovalRequest(of(fault), 1, 1, NOW, NOW + 3600, approvals=(given,))


def test_every_check_that_looks_at_approvals_has_its_fault() -> None:
    assert {name.value for name in CHECKS} - NAMES == {"parse", "separation"}
    assert list(EXPECTED) == list(CheckName)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.step)
def test_the_gate_notices(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided(fault, tmp_path / "whole")[0] == fault.reason
    drop(monkeypatch, fault.step)
    assert decided(fault, tmp_path / "mutated")[0] == "allowed"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.step)
def test_the_proof_notices(
    fault: Fault, forged: Callable[[Fault], Record], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = forged(fault)
    policies = Policies([replace(GATE, sha256=record.policy_sha256)], Directory(tmp_path))
    with pytest.raises(Denied) as caught:
        evidence.prove_allow(record, policies)
    assert caught.value.reason == fault.reason
    drop(monkeypatch, fault.step)
    if fault.step != "quorum":  # which the proof counts once more, by what the record says
        assert evidence.prove_allow(record, policies).strength == "policy"


LASTING = [fault for fault in FAULTS if fault.step in {name.value for name in _LASTING} - {"key"}]


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.step)
def test_the_proof_by_signatures_notices(
    fault: Fault, forged: Callable[[Fault], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = forged(fault)
    with pytest.raises(Denied) as caught:
        reverify(record, [GATE])
    assert caught.value.reason == fault.reason
    drop(monkeypatch, fault.step)
    assert reverify(record, [GATE])


PAGE = [fault for fault in FAULTS if fault.step not in ("quorum", "deployment")]


@pytest.mark.parametrize("fault", PAGE, ids=lambda fault: fault.step)
def test_the_page_s_count_notices(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    assert eligibility.counted(request(fault), GATE, NOW).approvals == ()
    drop(monkeypatch, fault.step)
    assert eligibility.counted(request(fault), GATE, NOW).approvals


@pytest.mark.parametrize(
    ("caller", "left_out"),
    [
        (evidence._UNATTRIBUTED, {"separation"}),
        (eligibility._ALONE, {"quorum"}),
        (eligibility._UNSIGNED, {"quorum", "parse", "signature", "passkey"}),
        (notary._OWN, {"quorum", "separation"}),
        (approve._KNOWN, {"quorum", "parse", "signature", "separation"}),
    ],
)
def test_who_asks_for_less_says_what_is_left_out(caller: set[CheckName], left_out: set[str]) -> None:
    """A new check is one for all of them."""
    assert {name.value for name in CHECKS.keys() - caller} == left_out


def test_a_check_that_has_another_name_is_no_check() -> None:
    with pytest.raises(ValueError, match="is not a valid CheckName"):
        CheckName("runs")
    with pytest.raises(AttributeError):
        _ = CheckName.RUNS  # type: ignore[attr-defined]


def test_who_counts_is_told_as_far_as_it_is_known() -> None:
    """A denial that comes after the approvals were found valid names them."""
    late, early = Trace(), Trace()
    with pytest.raises(Denied):
        judge([Fault("", "", {"exp": NOW + 3601}).token], DEPLOYMENT, GATE, NOW, trace=late)
    with pytest.raises(Denied):
        judge([Fault("", "", {"aud": "x"}).token], DEPLOYMENT, GATE, NOW, trace=early)
    assert ([one.approver for one in late.counted], early.counted) == (["alice@example.com"], ())
