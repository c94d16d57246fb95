"""What every signer promises: what it signs, the gate accepts; and what it can't sign, it says before it tries."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from gate.cli import cli
from gate.deployment import Deployment
from gate.errors import Denied, SignerError
from gate.issuer import Issuer
from gate.keys import PublicKey
from gate.policyfile import compile_policy
from gate.signers import Signer
from gate.verification import judge
from tests.signers.places import Place
from tests.world import ALICE, NOW, POLICY, SHA

DEPLOYMENT = Deployment(repository="acme/shop", sha=SHA, environment="production")


def policy_text(key: PublicKey) -> str:
    return POLICY.format(
        replay="sqlite:replay.db",
        audit="file:audit",
        alg=key.alg,
        public_key=base64.b64encode(key.spki).decode(),
        separation="false",
        approvals=1,
        **dict.fromkeys(("alice", "bob", "passkeys"), ""),
    )


def issue(signer: Signer, reason: str = "") -> str:
    return Issuer(signer, kid="test-key").issue(DEPLOYMENT, ALICE, now=NOW, ttl=600, reason=reason)


def test_what_it_signs_the_gate_accepts(place: Place) -> None:
    signer = place.open()
    policy = compile_policy(policy_text(signer.public_key).encode())
    assert signer.public_key.alg == place.alg
    for reason in ("", "r" * 500, *(f"hotfix {number}" for number in range(20))):  # an ECDSA number is short at times
        (approval,) = judge([issue(signer, reason)], DEPLOYMENT, policy, NOW)
        assert approval.approver == ALICE


def test_what_it_did_not_sign_the_gate_refuses(place: Place) -> None:
    signer = place.open()
    policy = compile_policy(policy_text(signer.public_key).encode())
    signing_input, _, _ = issue(signer).rpartition(".")
    _, _, other_signature = issue(signer).rpartition(".")
    with pytest.raises(Denied) as caught:
        judge([f"{signing_input}.{other_signature}"], DEPLOYMENT, policy, NOW)
    assert caught.value.reason == "signature.invalid"


@pytest.mark.parametrize("length", [0, 1, 4096])
def test_it_signs_up_to_4096_bytes(place: Place, length: int) -> None:
    signer = place.open()
    data = b"\xff" * length
    assert signer.public_key.verify(signer.sign(data), data)


def test_it_refuses_longer_data_before_it_signs(place: Place) -> None:
    signer = place.open()
    with pytest.raises(SignerError) as caught:
        signer.sign(b"x" * 4097)
    assert (caught.value.expected, caught.value.actual) == ("at most 4,096 bytes", "4,097 bytes")
    assert caught.value.hint


def test_many_threads_may_sign_at_once(place: Place) -> None:
    signer = place.open()
    messages = [b"message %d" % number for number in range(48)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(signer.sign, messages))
    assert all(signer.public_key.verify(*pair) for pair in zip(signatures, messages, strict=True))


def test_its_public_key_stays_the_same(place: Place) -> None:
    signer, again = place.open(), place.open()
    before = signer.public_key
    assert again.public_key.verify(signer.sign(b"data"), b"data")
    assert signer.public_key is before
    assert again.public_key.spki == before.spki


def test_the_commands_take_it(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(place.base or tmp_path)
    if place.pin:
        monkeypatch.setenv("GATE_PKCS11_PIN", place.pin())
    about = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    entry = _run("keys", "show", place.uri, "--approvers", "*@example.com")
    text = policy_text(place.open().public_key)
    start, end = text.index("  - kid"), text.index("people:")
    Path("gate.yaml").write_text(text[:start] + entry + text[end:])
    token = _run("approve", *about, "--approver", ALICE, "--signer", place.uri).splitlines()[0]
    assert json.loads(_run("verify", *about, "--json", "--approval", token))["reason"] == "allowed"


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
