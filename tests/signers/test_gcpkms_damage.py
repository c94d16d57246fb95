"""What Google Cloud KMS answers is believed only where its name, its checksums and its signature are right."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gate.signers import gcpkms, open_signer
from tests.core.mint import KEYS, STRANGER, spki
from tests.signers.gcp import NAME, Kms, pem, refusal, running_kms, sdk

DATA = b"header.claims"


def put(field: str, value: Any) -> Callable[[Any], None]:
    return lambda answer: setattr(answer, field, value)


def put_pem(text: Callable[[], str]) -> Callable[[Any], None]:
    """Another PEM with the right checksum."""

    def spoil(answer: Any) -> None:
        answer.pem = text()
        answer.pem_crc32c = sdk().crc32c(answer.pem.encode())

    return spoil


def put_signature(signature: Callable[[bytes], bytes]) -> Callable[[Any], None]:
    """Another signature with the right checksum."""

    def spoil(answer: Any) -> None:
        answer.signature = signature(answer.signature)
        answer.signature_crc32c = sdk().crc32c(answer.signature)

    return spoil


def flip_signature(answer: Any) -> None:
    answer.signature = answer.signature[:-1] + bytes([answer.signature[-1] ^ 1])


def change_pem(answer: Any) -> None:
    answer.pem = answer.pem.replace("\n", "\r\n")  # the same key, other bytes


P384 = ec.generate_private_key(ec.SECP384R1())
OTHER = NAME.removesuffix("1") + "2"
DAMAGED_KEYS = {
    "another version": put("name", OTHER),
    "no name": put("name", ""),
    "other PEM": change_pem,
    "no checksum": put("pem_crc32c", None),
    "a wrong checksum": put("pem_crc32c", 1),
    "no PEM": put_pem(str),
    "a garbled PEM": put_pem(lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    "a key of another curve": put_pem(lambda: pem(P384)),
}


@pytest.mark.parametrize("damage", DAMAGED_KEYS)
def test_a_damaged_public_key_is_discarded(gcp: Kms, damage: str) -> None:
    gcp.spoil = DAMAGED_KEYS[damage]
    assert "answered wrongly twice" in str(refusal(lambda: open_signer(gcp.uri, None)))
    assert gcp.calls == ["GetPublicKey"] * 2
    gcp.times = 1
    assert open_signer(gcp.uri, None).public_key.spki == spki(gcp.key)


def test_a_public_key_that_is_not_of_its_algorithm_is_discarded(gcp: Kms) -> None:
    other = next(key for key in KEYS.values() if key is not gcp.key)
    gcp.spoil = put_pem(lambda: pem(other))
    assert "not of its algorithm" in str(refusal(lambda: open_signer(gcp.uri, None)))


DAMAGED_SIGNATURES = {
    "another version": put("name", OTHER),
    "no name": put("name", ""),
    "changed bytes": flip_signature,
    "no checksum": put("signature_crc32c", None),
    "a wrong checksum": put("signature_crc32c", 0),
}


def check_discarded(gcp: Kms, spoil: Callable[[Any], None]) -> None:
    signer = open_signer(gcp.uri, None)
    del gcp.calls[:]
    gcp.spoil = spoil
    assert "answered wrongly twice" in str(refusal(lambda: signer.sign(DATA)))
    assert gcp.calls == ["AsymmetricSign"] * 2
    gcp.times = 1
    assert signer.public_key.verify(signer.sign(DATA), DATA)


@pytest.mark.parametrize("damage", DAMAGED_SIGNATURES)
def test_a_damaged_signature_is_discarded(gcp: Kms, damage: str) -> None:
    check_discarded(gcp, DAMAGED_SIGNATURES[damage])


def test_a_request_that_google_did_not_check_is_discarded(gcp: Kms) -> None:
    def spoil(answer: Any) -> None:  # only the flag of what this key signs; the other one proves nothing
        ed25519 = gcp.algorithm == "EC_SIGN_ED25519"
        answer.verified_data_crc32c, answer.verified_digest_crc32c = not ed25519, ed25519

    check_discarded(gcp, spoil)


@pytest.mark.parametrize("garbage", [b"", b"\x30\x00", b"x" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x01"])
def test_what_is_no_ecdsa_signature_is_discarded(monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
    monkeypatch.setattr(gcpkms, "_PAUSE", 0.01)
    with running_kms("ES256") as gcp:
        check_discarded(gcp, put_signature(lambda _: garbage))


def test_a_signature_that_is_not_this_key_s_is_never_returned(gcp: Kms) -> None:
    signer = open_signer(gcp.uri, None)
    another = STRANGER if gcp.algorithm == "EC_SIGN_ED25519" else ec.generate_private_key(ec.SECP256R1())
    gcp.signing_key = another
    assert "not its public key's" in str(refusal(lambda: signer.sign(DATA)))
    gcp.signing_key = gcp.key
    assert signer.public_key.verify(signer.sign(DATA), DATA)


def test_an_ed25519_signature_of_another_length_is_never_returned() -> None:
    with running_kms("Ed25519") as gcp:
        signer = open_signer(gcp.uri, None)
        gcp.spoil = put_signature(lambda signature: signature + b"\x00")
        refusal(lambda: signer.sign(DATA))


@pytest.mark.parametrize("algorithm", ["EC_SIGN_P384_SHA384", "RSA_SIGN_PSS_2048_SHA256", "EC_SIGN_SECP256K1_SHA256"])
def test_a_key_of_another_algorithm_is_refused_when_it_is_opened(gcp: Kms, algorithm: str) -> None:
    gcp.algorithm = algorithm
    error = refusal(lambda: open_signer(gcp.uri, None))
    assert error.actual == algorithm
    assert gcp.calls == ["GetPublicKey"]


def test_a_key_of_an_algorithm_that_the_library_does_not_know_is_refused(gcp: Kms) -> None:
    def spoil(answer: Any) -> None:
        type(answer).pb(answer).algorithm = 9_999

    gcp.spoil = spoil
    assert refusal(lambda: open_signer(gcp.uri, None)).actual == "9999"
