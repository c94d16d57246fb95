"""The same tokens before PyJWT and joserfc: what we sign they accept, what they sign we accept, and where they are
laxer we are not."""

import json
import sys
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm

from gate.deployment import Deployment
from gate.errors import Denied
from gate.issuer import Issuer
from gate.policyfile import compile_policy
from gate.tokens import decode
from gate.verification import judge
from tests.core.mint import CLAIMS, KEYS, KIDS, NOW, POLICY, SHA, claims, compact, header, token
from tests.core.signer import Memory

DEPLOYMENT = Deployment("acme/shop", SHA, "production")
TYP = "deploy-approval+jwt"
CHECKED = compile_policy(POLICY.encode())

Reader = Callable[[str, str], dict[str, Any]]  # (token, alg) -> its claims; raises where it refuses
Writer = Callable[[dict[str, Any], str], str]  # (claims, alg) -> a token


def _pyjwt() -> tuple[Reader, Writer]:
    jws = jwt.PyJWS()
    jws.register_algorithm("Ed25519", OKPAlgorithm())  # it knows the same under a name that RFC 9864 deprecates

    def read(text: str, alg: str) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(jws.decode(text, KEYS[alg].public_key(), algorithms=[alg]))
        return members

    def write(members: dict[str, Any], alg: str) -> str:
        payload = json.dumps(members).encode()
        return jws.encode(payload, KEYS[alg], algorithm=alg, headers={"kid": KIDS[alg], "typ": TYP})

    return read, write


def _joserfc() -> tuple[Reader, Writer]:
    from joserfc import jwk
    from joserfc import jwt as jose

    kinds: dict[str, Any] = {"Ed25519": jwk.OKPKey, "ES256": jwk.ECKey}
    keys = {
        alg: kinds[alg].import_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for alg, key in KEYS.items()
    }

    def read(text: str, alg: str) -> dict[str, Any]:
        return jose.decode(text, keys[alg], algorithms=[alg]).claims

    def write(members: dict[str, Any], alg: str) -> str:
        return jose.encode({"alg": alg, "kid": KIDS[alg], "typ": TYP}, members, keys[alg], algorithms=[alg])

    return read, write


LIBRARIES = {"PyJWT": _pyjwt} | ({"joserfc": _joserfc} if sys.version_info >= (3, 11) else {})
each_library = pytest.mark.parametrize("library", LIBRARIES)
each_algorithm = pytest.mark.parametrize("alg", KEYS)
quickly = settings(deadline=None, max_examples=40)

REASONS = st.text(st.characters(codec="utf-8"), max_size=100)
LIVES = st.integers(1, 900)


@each_library
@each_algorithm
@quickly
@given(reason=REASONS, ttl=LIVES)
def test_they_accept_what_we_sign(library: str, alg: str, reason: str, ttl: int) -> None:
    read, _ = LIBRARIES[library]()
    issuer = Issuer(Memory(alg), kid=KIDS[alg])
    text = issuer.issue(DEPLOYMENT, "alice@example.com", now=NOW, ttl=ttl, reason=reason)
    assert read(text, alg) == decode(text).claims


@each_library
@each_algorithm
@quickly
@given(reason=REASONS, ttl=LIVES)
def test_we_accept_what_they_sign(library: str, alg: str, reason: str, ttl: int) -> None:
    _, write = LIBRARIES[library]()
    members = CLAIMS | {"reason": reason, "exp": NOW + ttl}
    [approval] = judge([write(members, alg)], DEPLOYMENT, CHECKED, NOW)
    assert approval.claims == members


@each_library
@quickly
@given(data=st.data())
def test_what_we_accept_they_accept(library: str, data: st.DataObject) -> None:
    """Of tokens changed at random, we never take one that they refuse, nor read other claims in it."""
    read, _ = LIBRARIES[library]()
    good = token(reason="r" * 20)
    where = data.draw(st.integers(0, len(good) - 1), "where")
    text = good[:where] + data.draw(st.sampled_from("ABab01-_+/=. {"), "character") + good[where + 1 :]
    try:
        [approval] = judge([text], DEPLOYMENT, CHECKED, NOW)
    except Denied:
        return
    assert read(text, "Ed25519") == approval.claims


def _pyjwt_validates(text: str) -> object:
    return jwt.decode(
        text, KEYS["ES256"].public_key(), algorithms=["ES256"], audience="deploy-gate", issuer="gate",
        options={"require": ["exp", "iat", "jti", "sub"], "verify_iat": False},
    )  # fmt: skip


def _joserfc_validates(text: str) -> object:
    from joserfc import jwk
    from joserfc import jwt as jose

    pem = KEYS["ES256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    read = jose.decode(text, jwk.ECKey.import_key(pem), algorithms=["ES256"])
    must: Any = {"essential": True}
    registry = jose.JWTClaimsRegistry(now=NOW, exp=must, iat=must, sub=must, aud=must | {"value": "deploy-gate"})
    registry.validate(read.claims)
    return read


VALIDATES = {"PyJWT": _pyjwt_validates, "joserfc": _joserfc_validates}
LATER = 4_000_000_000  # these libraries read the machine's clock
GOOD = claims(exp=LATER).decode()
LAX = {
    "a member twice": (header("ES256"), GOOD.replace('"sub"', '"sub":"bob@example.com","sub"')),
    "a header member twice": (header("ES256").replace(b'"kid"', b'"kid":"ed-key","kid"'), GOOD),
    "another typ": (header("ES256", typ="JWT"), GOOD),
    "no typ": (header("ES256", typ=...), GOOD),
    "an unknown header member": (header("ES256", jku="https://evil.example/"), GOOD),
    "a fraction of a second": (header("ES256"), GOOD.replace(f"{LATER}", f"{LATER}.5")),
    "a time as an exponent": (header("ES256"), GOOD.replace(f"{LATER}", "4e9")),
    "an empty jti": (header("ES256"), claims(exp=LATER, jti="").decode()),
    "a scope of nonsense": (header("ES256"), claims(exp=LATER, scope="*").decode()),
    "an unknown claim": (header("ES256"), claims(exp=LATER, role="admin").decode()),
    "a look-alike approver": (header("ES256"), claims(exp=LATER, sub="\u0430lice@example.com").decode()),
}


@each_library
@pytest.mark.parametrize("case", LAX)
def test_we_refuse_what_they_accept(library: str, case: str) -> None:
    header_json, claims_json = LAX[case]
    text = compact(header_json, claims_json.encode(), KEYS["ES256"])
    assert VALIDATES[library](text)
    with pytest.raises(Denied) as caught:
        decode(text)
    assert caught.value.reason == "token.malformed"


def test_we_refuse_the_padding_that_pyjwt_accepts() -> None:
    text = compact(header("ES256"), GOOD.encode(), KEYS["ES256"]) + "=="
    assert _pyjwt_validates(text)
    with pytest.raises(Denied, match="canonical base64url"):
        decode(text)
