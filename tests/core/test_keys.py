"""Public keys: which are read, what each verifies, and for whom a trusted one speaks."""

import sys
from contextlib import suppress
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gate.keys import PublicKey, TrustedKey
from tests.core.mint import ED25519, ES256, KEYS, sign, spki

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256
P = 2**255 - 19
ORDER_8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
SMALL_ORDER = [y + bit for y in (0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8) for bit in (0, 2**255)]


def ed25519_spki(y: int) -> bytes:
    return spki(ED25519)[:12] + y.to_bytes(32, "little")


def jose(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@pytest.mark.parametrize("alg", KEYS)
def test_a_key_verifies_its_own_signatures_and_no_others(alg: str) -> None:
    key, signature = PublicKey(spki(KEYS[alg])), sign(KEYS[alg], b"data")
    [other] = [PublicKey(spki(other)) for name, other in KEYS.items() if name != alg]
    assert key.alg == alg
    assert key.verify(signature, b"data")
    assert not key.verify(signature, b"Data")
    assert not other.verify(signature, b"data")


@pytest.mark.parametrize("alg", KEYS)
@pytest.mark.parametrize("length", [0, 1, 63, 65, 72, 128])
def test_a_signature_of_another_length_is_none(alg: str, length: int) -> None:
    signature = (sign(KEYS[alg], b"data") * 2)[:length]
    assert not PublicKey(spki(KEYS[alg])).verify(signature, b"data")


OUT_OF_RANGE = [(0, 0), (0, 1), (1, 0), (1, 1), (N, 1), (1, N), (N, N), (N + 1, N + 1), (2**256 - 1, 2**256 - 1)]


@pytest.mark.parametrize(("r", "s"), OUT_OF_RANGE)
def test_es256_numbers_out_of_range_are_no_signature(r: int, s: int) -> None:
    assert not PublicKey(spki(ES256)).verify(jose(r, s), b"data")


def test_es256_takes_no_der() -> None:
    der = ES256.sign(b"data", ec.ECDSA(SHA256()))
    assert not PublicKey(spki(ES256)).verify(der, b"data")
    assert not PublicKey(spki(ES256)).verify(der[:64], b"data")


@given(st.binary(min_size=64, max_size=64), st.sampled_from(sorted(KEYS)))
def test_no_64_bytes_verify_or_raise(signature: bytes, alg: str) -> None:
    assert not PublicKey(spki(KEYS[alg])).verify(signature, b"data")


@pytest.mark.parametrize("y", SMALL_ORDER, ids=hex)
def test_an_ed25519_key_under_which_anybody_can_sign_is_refused(y: int) -> None:
    with pytest.raises(ValueError, match="small order"):
        PublicKey(ed25519_spki(y))


def test_such_a_key_would_verify_what_nobody_signed() -> None:
    zero = ed25519.Ed25519PublicKey.from_public_bytes(bytes(32))

    def verifies(data: bytes) -> bool:
        try:
            zero.verify(bytes(64), data)
        except InvalidSignature:
            return False
        return True

    assert any(verifies(b"%d" % number) for number in range(64))


def _others() -> dict[str, bytes]:
    keys: dict[str, Any] = {
        "rsa": rsa.generate_private_key(65537, 2048).public_key(),
        "p-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()).public_key(),
        "ed448": ed448.Ed448PrivateKey.generate().public_key(),
        "x25519": x25519.X25519PrivateKey.generate().public_key(),
    }
    others = {name: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for name, key in keys.items()}
    point = ES256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return others | {
        "nothing": b"",
        "ed25519 with a byte more": spki(ED25519) + b"\0",
        "ed25519 cut short": spki(ED25519)[:-1],
        "p-256 with a byte more": spki(ES256) + b"\0",
        "p-256 off the curve": spki(ES256)[:-1] + bytes([spki(ES256)[-1] ^ 1]),
        "p-256 at zero": spki(ES256)[:27] + bytes(64),
        "p-256 compressed": bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point,
        "raw ed25519": spki(ED25519)[12:],
    }


@pytest.mark.parametrize("der", [pytest.param(der, id=name) for name, der in _others().items()])
def test_other_keys_are_refused(der: bytes) -> None:
    with pytest.raises(ValueError):
        PublicKey(der)


@pytest.mark.parametrize("alg", KEYS)
def test_a_key_is_refused_where_one_byte_of_what_it_says_it_is_is_another(alg: str) -> None:
    der = spki(KEYS[alg])
    for index in range({"Ed25519": 12, "ES256": 27}[alg]):
        with pytest.raises(ValueError):
            PublicKey(der[:index] + bytes([der[index] ^ 1]) + der[index + 1 :])


@given(st.binary(max_size=120) | st.binary(min_size=32, max_size=32).map(lambda raw: spki(ED25519)[:12] + raw))
def test_any_bytes_are_a_key_or_a_value_error(der: bytes) -> None:
    with suppress(ValueError):
        assert PublicKey(der).spki == der


def test_thumbprints_are_those_of_rfc_8037_and_of_another_library() -> None:
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8037, appendix A
    key = PublicKey(spki(ED25519)[:12] + raw)
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="joserfc needs Python 3.11")
@pytest.mark.parametrize("alg", KEYS)
def test_thumbprints_are_those_of_joserfc(alg: str) -> None:
    from joserfc import jwk

    kinds: dict[str, Any] = {"Ed25519": jwk.OKPKey, "ES256": jwk.ECKey}
    pem = KEYS[alg].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey(spki(KEYS[alg])).thumbprint == kinds[alg].import_key(pem).thumbprint()


def trusted(
    *names: str, domains: tuple[str, ...] = (), window: tuple[int | None, int | None] = (None, None)
) -> TrustedKey:
    return TrustedKey("k", PublicKey(spki(ED25519)), frozenset(names), frozenset(domains), *window)


@pytest.mark.parametrize(
    ("approver", "speaks"),
    [
        ("alice", True),
        ("bob@example.com", True),
        ("bob@EXAMPLE.com", False),  # callers hand it in lower case
        ("bob@sub.example.com", False),
        ("bob@notexample.com", False),
        ("bob@example.com.evil", False),
        ("@example.com", False),
        ("example.com", False),
        ("*@example.com", True),
        ("", False),
        ("alicee", False),
    ],
)
def test_for_whom_a_key_speaks(approver: str, speaks: bool) -> None:
    assert trusted("alice", domains=("example.com",)).speaks_for(approver) is speaks


@pytest.mark.parametrize(
    ("window", "issued", "inside"),
    [
        ((None, None), 0, True),
        ((5, None), 4, False),
        ((5, None), 5, True),
        ((None, 9), 9, True),
        ((None, 9), 10, False),
    ],
)
def test_the_window_includes_its_ends(window: tuple[int | None, int | None], issued: int, inside: bool) -> None:
    assert trusted(window=window).in_window(issued) is inside
