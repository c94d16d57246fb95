"""Passkeys: each thing that can be wrong with an assertion, and that a library of others agrees."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import webauthn
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn.helpers.exceptions import WebAuthnException

from gate.errors import Denied
from gate.passkey import Credential, RelyingParty, challenge, check_assertion
from tests.core.authenticator import (
    ALGORITHMS,
    AT,
    BE,
    BS,
    ED,
    MEMBERS,
    ORIGIN,
    RP_ID,
    SYNCED,
    UP,
    UV,
    Authenticator,
    base64url,
    challenge_of,
)
from tests.core.mint import CLAIMS

PARTY = RelyingParty(RP_ID, ORIGIN)
ALICE = Authenticator()
OTHER = Authenticator(name="bob")
ALL = {alg: Authenticator(alg=alg) for alg in ALGORITHMS}
CHALLENGE = challenge_of(CLAIMS)
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256

Assertion = dict[str, Any]


def listed(*passkeys: Authenticator) -> list[Credential]:
    return [Credential(passkey.credential.id, passkey.credential.spki) for passkey in passkeys]


def check(assertion: Any, *passkeys: Authenticator, **claims: Any) -> None:
    check_assertion({**CLAIMS, **claims, "passkey": assertion}, listed(*(passkeys or (ALICE,))), PARTY)


def refusal(assertion: Any, *passkeys: Authenticator, **claims: Any) -> Denied:
    with pytest.raises(Denied) as caught:
        check(assertion, *passkeys, **claims)
    denied = caught.value
    assert (denied.reason, denied.step) == ("passkey.invalid", "passkey")
    texts = (denied.message, denied.hint, denied.expected, denied.actual)
    assert all(text and text.isprintable() and len(text) < 300 for text in texts)
    assert denied.expected != denied.actual
    if isinstance(assertion, dict):
        assert not any(str(value) in text for value in assertion.values() if len(str(value)) > 20 for text in texts)
    return denied


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("flags", [SYNCED, UP | UV, UP | UV | BE, UP | UV | 0x02 | 0x20])
def test_a_gesture_over_these_claims_is_one(alg: str, flags: int) -> None:
    check(ALL[alg].assert_(CHALLENGE, flags=flags, counter=7), OTHER, ALL[alg])


def test_the_challenge_is_the_hash_of_the_claims_that_were_approved() -> None:
    approved = ALICE.approve(CLAIMS)
    assert challenge(CLAIMS) == challenge(approved) == CHALLENGE
    assert challenge(dict(reversed(CLAIMS.items()))) == CHALLENGE
    assert len({challenge({**CLAIMS, name: "x"}) for name in [*CLAIMS, "reason"]} | {CHALLENGE}) == len(CLAIMS) + 2


def test_what_browsers_add_to_the_client_data_does_not_matter() -> None:
    check(ALICE.assert_(CHALLENGE, crossOrigin=...))
    check(ALICE.assert_(CHALLENGE, other_keys_can_be_added_here="do not compare clientDataJSON against a template"))
    check(ALICE.assert_(CHALLENGE, new={"a": [1, None, True, "\u20ac"]}))


Made = Callable[[], Assertion]


def cased(text: str = "", **changes: Any) -> Assertion:
    """The assertion with members put in place of its own, unsigned."""
    return {name: value for name, value in (ALICE.assert_(CHALLENGE) | changes).items() if value is not ...}


def client(text: str) -> Assertion:
    """An assertion over client data that stands in `text`; CHALLENGE in it is the right one."""
    return ALICE.assert_(CHALLENGE, client_data=text.replace("CHALLENGE", base64url(CHALLENGE)).encode("utf-8"))


GOOD = f'"type":"webauthn.get","challenge":"CHALLENGE","origin":"{ORIGIN}"'
PADDED = base64.urlsafe_b64encode(CHALLENGE).decode()
WRONG: dict[str, tuple[Made, str]] = {
    "none": (lambda: None, "incomplete"),  # type: ignore[dict-item,return-value]
    "a text": (lambda: "x", "incomplete"),  # type: ignore[dict-item,return-value]
    **{f"no {name}": (lambda name=name: cased(**{name: ...}), "incomplete") for name in MEMBERS},
    "one more": (lambda: cased(userHandle="AA"), "incomplete"),
    **{f"{name} is no text": (lambda name=name: cased(**{name: 1}), "too large, or no text") for name in MEMBERS},
    **{
        f"{name} endless": (lambda name=name: cased(**{name: "A" * 4000}), f"The {name} .* too large")
        for name in MEMBERS
    },
    **{
        f"{name} padded": (lambda name=name: cased(**{name: "AA=="}), f"The {name} .* not base64url")
        for name in MEMBERS
    },
    **{f"{name} in base64": (lambda name=name: cased(**{name: "+/+/"}), "not base64url") for name in MEMBERS},
    **{f"{name} not canonical": (lambda name=name: cased(**{name: "AB"}), "not base64url") for name in MEMBERS},
    **{f"{name} beyond ASCII": (lambda name=name: cased(**{name: "AA\u0410A"}), "not base64url") for name in MEMBERS},
    "another's passkey": (lambda: OTHER.assert_(CHALLENGE), "none of this approver's"),
    "another's id": (lambda: cased(id=base64url(OTHER.credential.id)), "none of this approver's"),
    "no id": (lambda: cased(id=""), "none of this approver's"),
    "client data that is no JSON": (lambda: client("x"), "not one JSON object"),
    "client data that is a list": (lambda: client("[]"), "not one JSON object"),
    "no client data": (lambda: client(""), "not one JSON object"),
    "client data with a BOM": (lambda: client("\ufeff{" + GOOD + "}"), "not one JSON object"),
    "client data with more behind": (lambda: client("{" + GOOD + "}{}"), "not one JSON object"),
    "an origin twice": (lambda: client('{"origin":"https://evil.example",' + GOOD + "}"), "not one JSON object"),
    "a fraction": (lambda: client("{" + GOOD + ',"new":1.5}'), "not one JSON object"),
    "no type": (lambda: ALICE.assert_(CHALLENGE, type=...), "not that of an assertion"),
    "an enrolment": (lambda: ALICE.assert_(CHALLENGE, type="webauthn.create"), "not that of an assertion"),
    "a payment": (lambda: ALICE.assert_(CHALLENGE, type="payment.get"), "not that of an assertion"),
    "a type that is none": (lambda: ALICE.assert_(CHALLENGE, type=["webauthn.get"]), "not that of an assertion"),
    "no challenge": (lambda: ALICE.assert_(CHALLENGE, challenge=...), "something else than this approval"),
    "a challenge that is no text": (lambda: ALICE.assert_(CHALLENGE, challenge=1), "something else"),
    "a challenge with padding": (lambda: ALICE.assert_(CHALLENGE, challenge=PADDED), "something else"),
    "a challenge with letters": (lambda: ALICE.assert_(CHALLENGE, challenge="\u20ac"), "something else"),
    "the challenge of other claims": (lambda: ALICE.assert_(challenge_of({**CLAIMS, "exp": 1})), "something else"),
    "the hash of the claims without the tag": (lambda: ALICE.assert_(hashlib.sha256(b"{}").digest()), "something else"),
    "no origin": (lambda: ALICE.assert_(CHALLENGE, origin=...), "another origin"),
    "another origin": (lambda: ALICE.assert_(CHALLENGE, origin="https://evil.example"), "another origin"),
    "an origin below": (lambda: ALICE.assert_(CHALLENGE, origin="https://x.gate.example.com"), "another origin"),
    "an origin above": (lambda: ALICE.assert_(CHALLENGE, origin="https://example.com"), "another origin"),
    "another port": (lambda: ALICE.assert_(CHALLENGE, origin=f"{ORIGIN}:8443"), "another origin"),
    "another scheme": (lambda: ALICE.assert_(CHALLENGE, origin="http://gate.example.com"), "another origin"),
    "an origin with a slash": (lambda: ALICE.assert_(CHALLENGE, origin=f"{ORIGIN}/"), "another origin"),
    "an origin in a list": (lambda: ALICE.assert_(CHALLENGE, origin=[ORIGIN]), "another origin"),
    "an origin that drives a terminal": (lambda: ALICE.assert_(CHALLENGE, origin="\x1b[2J" * 99), "another origin"),
    "a frame": (lambda: ALICE.assert_(CHALLENGE, crossOrigin=True), "frame of another site"),
    "a frame that is null": (lambda: ALICE.assert_(CHALLENGE, crossOrigin=None), "frame of another site"),
    "a frame that is 0": (lambda: ALICE.assert_(CHALLENGE, crossOrigin=0), "frame of another site"),
    "a page around it": (lambda: ALICE.assert_(CHALLENGE, topOrigin="https://evil.example"), "inside of another one"),
    "an empty page around it": (lambda: ALICE.assert_(CHALLENGE, topOrigin=""), "inside of another one"),
    "short authenticator data": (lambda: cased(authenticatorData=base64url(bytes(36))), "too short"),
    "no authenticator data": (lambda: cased(authenticatorData=""), "too short"),
    "another RP ID": (lambda: ALICE.assert_(CHALLENGE, rp_id="example.com"), "belongs to another site"),
    "nobody present": (lambda: ALICE.assert_(CHALLENGE, flags=UV), "Nobody was present"),
    "nobody verified": (lambda: ALICE.assert_(CHALLENGE, flags=UP), "did not verify who"),
    "no flags": (lambda: ALICE.assert_(CHALLENGE, flags=0), "Nobody was present"),
    "backed up without being able to": (lambda: ALICE.assert_(CHALLENGE, flags=UP | UV | BS), "backed up"),
    "a credential in it": (lambda: ALICE.assert_(CHALLENGE, flags=SYNCED | AT), "more than was asked for"),
    "a whole credential in it": (
        lambda: ALICE.assert_(
            CHALLENGE, flags=SYNCED | AT, extra=bytes(16) + b"\0\x10" + bytes(16) + ALICE.credential.cose
        ),
        "more than was asked for",
    ),
    "extensions in it": (lambda: ALICE.assert_(CHALLENGE, flags=SYNCED | ED, extra=b"\xa0"), "more than was asked for"),
    "something behind it": (lambda: ALICE.assert_(CHALLENGE, extra=b"\0"), "more than was asked for"),
    "another's signature": (lambda: cased(signature=OTHER.assert_(CHALLENGE)["signature"]), "not that of the passkey"),
    "no signature": (lambda: cased(signature=""), "not that of the passkey"),
    "r and s, as in JWS": (lambda: cased(signature=base64url(bytes(64))), "not that of the passkey"),
    "a signature of something else": (lambda: cased(signature=base64url(ALICE.sign(b"x"))), "not that of the passkey"),
    "other client data than was signed": (
        lambda: cased(clientDataJSON=ALICE.assert_(CHALLENGE, new=1)["clientDataJSON"]),
        "not that of the passkey",
    ),
    "other flags than were signed": (
        lambda: cased(authenticatorData=ALICE.assert_(CHALLENGE, flags=UP | UV)["authenticatorData"]),
        "not that of the passkey",
    ),
    "another counter than was signed": (
        lambda: cased(authenticatorData=ALICE.assert_(CHALLENGE, counter=1)["authenticatorData"]),
        "not that of the passkey",
    ),
}


@pytest.mark.parametrize(("made", "says"), [pytest.param(*rest, id=name) for name, rest in WRONG.items()])
def test_what_is_wrong_is_said(made: Made, says: str) -> None:
    denied = refusal(made())
    assert re.search(says, denied.message), denied.message


def test_every_sentence_is_one_of_its_own() -> None:
    messages = {refusal(made()).message.split(" assertion")[0] for made, _ in WRONG.values()}
    assert len(messages) >= 16


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_an_assertion_holds_for_no_other_approval(name: str) -> None:
    changed = {**CLAIMS, name: CLAIMS[name] + (1 if isinstance(CLAIMS[name], int) else "x")}
    with pytest.raises(Denied) as caught:
        check_assertion({**changed, "passkey": ALICE.assert_(CHALLENGE)}, listed(ALICE), PARTY)
    assert "something else" in caught.value.message
    check_assertion(ALICE.approve(changed), listed(ALICE), PARTY)


def test_an_approver_without_passkeys_has_none() -> None:
    with pytest.raises(Denied) as caught:
        check_assertion(ALICE.approve(CLAIMS), [], PARTY)
    assert caught.value.reason == "passkey.invalid"


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_verifies_its_own_signatures_and_no_others(alg: str) -> None:
    passkey = ALL[alg]
    [credential] = listed(passkey)
    assert credential.alg == alg
    signature = passkey.sign(b"data")
    assert credential.verify(signature, b"data")
    assert not credential.verify(signature, b"Data")
    assert not credential.verify(b"", b"data")
    assert not credential.verify(signature + b"\0", b"data")
    assert not credential.verify(b"\0" + signature, b"data")
    assert not any(other.verify(signature, b"data") for other in listed(*(ALL[name] for name in ALL if name != alg)))


@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (N, N), (2**256, 1), (1, 2**300), (-1, 1)])
def test_es256_numbers_out_of_range_are_no_signature(r: int, s: int) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    der = encode_dss_signature(r, s) if r >= 0 else bytes.fromhex("30060201ff020101")
    assert not listed(ALICE)[0].verify(der, b"data")


def test_es256_takes_neither_raw_numbers_nor_ber() -> None:
    der = ALICE.sign(b"data")
    assert not listed(ALICE)[0].verify(b"\x30\x81" + der[1:], b"data")
    assert not listed(ALICE)[0].verify(der[:2] + b"\x02\x81" + der[3:], b"data")


def test_rs256_is_pkcs1_over_sha_256_alone() -> None:
    key = ALL["RS256"].key
    assert isinstance(key, rsa.RSAPrivateKey)
    [credential] = listed(ALL["RS256"])
    assert not credential.verify(key.sign(b"data", padding.PKCS1v15(), SHA1()), b"data")
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    assert not credential.verify(key.sign(b"data", pss, SHA256()), b"data")


def _rsa(bits: int, exponent: int) -> bytes:
    """An RSA key of that size; whether anybody could sign with it does not matter."""
    numbers = rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) + 1)
    return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _curve(curve: ec.EllipticCurve, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return ec.derive_private_key(3, curve).public_key().public_bytes(Encoding.DER, form)


def _zero(spki: bytes) -> bytes:
    return spki[:12] + bytes(32)


SPKI = ALL["RS256"].credential.spki
BAD_KEYS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "COSE": lambda: ALICE.credential.cose,
    "a small RSA key": lambda: _rsa(2047, 65537),
    "a smaller one": lambda: _rsa(1024, 65537),
    "a large one": lambda: _rsa(4097, 65537),
    "e = 3": lambda: _rsa(2048, 3),
    "e = 65535": lambda: _rsa(2048, 65535),
    "RSA with more behind": lambda: SPKI + b"\0",
    "RSA cut off": lambda: SPKI[:-1],
    "RSA in another form": lambda: SPKI[:4] + SPKI[4:17] + b"\x05\x01" + SPKI[19:],
    "RSA-PSS": lambda: SPKI.replace(bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a")),
    "RSA without its key": lambda: SPKI[:19],
    "P-384": lambda: _curve(ec.SECP384R1()),
    "secp256k1": lambda: _curve(ec.SECP256K1()),
    "P-256, compressed": lambda: ec.derive_private_key(3, ec.SECP256R1()).public_key().public_bytes(
        Encoding.X962, PublicFormat.CompressedPoint),
    "off the curve": lambda: ALICE.credential.spki[:-1] + b"\0",
    "of small order": lambda: _zero(ALL["Ed25519"].credential.spki),
    "Ed448": lambda: ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
}  # fmt: skip


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in BAD_KEYS.items()])
def test_what_is_no_key_of_a_passkey(made: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError):
        _ = Credential(b"", made()).alg


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_keys_of_these_sizes_are_read(bits: int) -> None:
    assert Credential(b"", _rsa(bits, 65537)).alg == "RS256"


# --- whatever is changed, it is refused -------------------------------------------------------------------------------


def _flip(text: str, bit: int) -> str:
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return base64url(bytes(data))


@given(st.sampled_from(ALGORITHMS), st.sampled_from(MEMBERS), st.integers(0, 4000))
@settings(deadline=None, max_examples=150)
def test_a_bit_that_is_flipped_is_noticed(alg: str, name: str, bit: int) -> None:
    assertion = ALL[alg].assert_(CHALLENGE)
    refusal(assertion | {name: _flip(assertion[name], bit)}, ALL[alg])


@given(
    st.dictionaries(st.sampled_from([*MEMBERS, "other"]), st.text(max_size=80) | st.integers() | st.none(), min_size=1)
)
@settings(deadline=None, max_examples=150)
def test_whatever_takes_a_members_place_is_refused(changes: dict[str, Any]) -> None:
    assertion = ALICE.assert_(CHALLENGE)
    if any(assertion.get(name) != value for name, value in changes.items()):
        refusal(assertion | changes)


@given(st.binary(max_size=200), st.binary(max_size=80))
@settings(deadline=None, max_examples=100)
def test_whatever_an_authenticator_signs_in_their_place_is_refused(client_data: bytes, extra: bytes) -> None:
    refusal(ALICE.assert_(CHALLENGE, client_data=client_data))
    if extra:
        refusal(ALICE.assert_(CHALLENGE, extra=extra))


# --- py_webauthn, for comparison ------------------------------------------------------------------------------------


def _they_accept(assertion: Assertion, passkey: Authenticator) -> bool:
    response = {name: assertion[name] for name in ("authenticatorData", "clientDataJSON", "signature")}
    credential = {"id": assertion["id"], "rawId": assertion["id"], "type": "public-key", "response": response}
    try:
        webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=CHALLENGE,
            expected_rp_id=RP_ID,
            expected_origin=ORIGIN,
            credential_public_key=passkey.credential.cose,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError):
        return False
    return True


def _we_accept(assertion: Assertion, passkey: Authenticator) -> str:
    """Nothing, or why not."""
    try:
        check(assertion, passkey)
    except Denied as denied:
        return denied.message
    return ""


# Where py_webauthn accepts and we don't: a frame or a page around it, what was not asked for behind the 37 bytes of an
# assertion, whose passkey it is, members too many, and JSON and base64url that can be read in more than one way.
STRICTER = ("frame", "inside of", "more than was asked for", "none of this approver's", "incomplete", "JSON",
            "base64url", "too large", "something else")  # fmt: skip

VALUES = st.sampled_from([..., None, True, False, 0, "", "x", ORIGIN, RP_ID, "webauthn.get", "webauthn.create", PADDED])
CLIENT = st.dictionaries(st.sampled_from(["type", "challenge", "origin", "crossOrigin", "topOrigin", "new"]), VALUES)


@given(
    st.sampled_from(ALGORITHMS),
    CLIENT,
    st.integers(0, 255) | st.sampled_from([SYNCED, SYNCED | ED, SYNCED | AT]),
    st.sampled_from(["", RP_ID, "example.com"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([b"", b"", b"\xa0", b"\0", bytes(18)]),
)
@settings(deadline=None, max_examples=400)
def test_what_we_accept_others_accept(
    alg: str, members: dict[str, Any], flags: int, rp_id: str, counter: int, extra: bytes
) -> None:
    assertion = ALL[alg].assert_(CHALLENGE, flags=flags, rp_id=rp_id, counter=counter, extra=extra, **members)
    ours, theirs = _we_accept(assertion, ALL[alg]), _they_accept(assertion, ALL[alg])
    assert theirs or ours
    assert not ours or not theirs or any(words in ours for words in STRICTER), ours


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_wrong_to_others_too_or_listed(name: str) -> None:
    assertion = WRONG[name][0]()
    if isinstance(assertion, dict) and all(isinstance(assertion.get(member), str) for member in MEMBERS):
        ours = _we_accept(assertion, ALICE)
        assert not _they_accept(assertion, ALICE) or any(words in ours for words in STRICTER), ours


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_others_accept_the_software_authenticator(alg: str) -> None:
    assertion = ALL[alg].assert_(CHALLENGE)
    assert json.loads(base64.urlsafe_b64decode(assertion["clientDataJSON"] + "=="))["origin"] == ORIGIN
    assert _they_accept(assertion, ALL[alg])
