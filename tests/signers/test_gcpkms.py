"""The Google Cloud KMS signer, against a local server that speaks the real protocol: signatures, and the URI."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gate.errors import UsageError
from gate.installation import install_command
from gate.issuer import Issuer
from gate.signers import create_key, gcpclient, open_signer
from tests.core.decide import DEPLOYMENT, decide
from tests.core.mint import KEYS, KIDS, NOW, spki
from tests.signers.gcp import NAME, Kms, misuse, refusal, sdk


def test_the_gate_accepts_what_it_signs_one_round_trip_each(gcp: Kms) -> None:
    signer = open_signer(gcp.uri, None)
    alg = signer.public_key.alg
    assert signer.public_key.spki == spki(KEYS[alg])
    issuer = Issuer(signer, kid=KIDS[alg])
    for _ in range(20):  # an ECDSA number is short now and then
        token = issuer.issue(DEPLOYMENT, "alice@example.com", now=NOW, ttl=600)
        assert decide(token)[0].approver == "alice@example.com"
    assert gcp.calls == ["GetPublicKey"] + ["AsymmetricSign"] * 20
    assert {call["x-goog-request-params"] for call in gcp.metadata} == {f"name={NAME}"}
    assert not any("authorization" in call for call in gcp.metadata)


def test_threads_may_share_it(gcp: Kms) -> None:
    signer = open_signer(gcp.uri, None)
    messages = [b"%d" % number for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(signer.sign, messages))
    assert all(map(signer.public_key.verify, signatures, messages))


def test_what_is_too_long_is_refused_before_the_key_is_asked(gcp: Kms) -> None:
    signer = open_signer(gcp.uri, None)
    assert signer.public_key.verify(signer.sign(b"x" * 4096), b"x" * 4096)
    del gcp.calls[:]
    refusal(lambda: signer.sign(b"x" * 4097))
    assert gcp.calls == []


def test_a_key_without_its_version_is_refused() -> None:
    error = misuse("gcpkms://" + NAME.rpartition("/cryptoKeyVersions")[0])
    assert "without its version" in str(error)
    assert "/cryptoKeyVersions/1" in error.hint


@pytest.mark.parametrize(
    "uri",
    [
        "gcpkms:",
        "gcpkms://",
        f"gcpkms:{NAME}",
        f"gcpkms:///{NAME}",
        f"gcpkms://{NAME}/",
        f"gcpkms://{NAME}0x",
        f"gcpkms://{NAME.removesuffix('1')}",
        f"gcpkms://{NAME.removesuffix('1')}0",
        f"gcpkms://{NAME.removesuffix('1')}latest",
        f"gcpkms://{NAME.replace('gate', '..')}",
        f"gcpkms://{NAME.replace('gate', 'g%2Fate')}",
        f"gcpkms://{NAME.replace('gate', '')}",
        f"gcpkms://{NAME.replace('projects', 'folders')}",
        f"gcpkms://{NAME}?region=x",
        *(f"gcpkms://{NAME}?endpoint={text}" for text in ("x", "x:", ":1", "x:0", "x:65536", "http://x:1", "u@x:1")),
    ],
)
def test_what_names_no_key_version_is_refused(uri: str) -> None:
    misuse(uri)


def test_a_new_key_is_made_with_the_command_that_it_says() -> None:
    for alg, kind in (("Ed25519", "ec-sign-ed25519"), ("ES256", "ec-sign-p256-sha256")):
        for version in ("", "/cryptoKeyVersions/1"):
            with pytest.raises(UsageError) as caught:
                create_key(f"gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k{version}", None, alg)
            assert caught.value.hint == (
                "gcloud kms keys create k --project p --location global --keyring r"
                f" --purpose asymmetric-signing --default-algorithm {kind} --protection-level hsm"
            )


@pytest.mark.parametrize("library", ["grpc", "google.cloud.kms_v1.types", "google_crc32c"])
def test_a_missing_library_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    sdk()
    monkeypatch.setattr(gcpclient, "_sdk", gcpclient._sdk.__wrapped__)
    monkeypatch.setitem(sys.modules, library, None)
    assert misuse(f"gcpkms://{NAME}").hint == install_command("gcpkms")
