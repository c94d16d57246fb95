"""The approval token: a JWS in compact form (RFC 7515) with a strict profile (docs/token.md)."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from gate.canonical import JsonError, canonical, parse_object
from gate.errors import Denied, UsageError
from gate.keys import ALGORITHMS, Algorithm, base64url
from gate.scope import Scope, parse_environment, parse_scope
from gate.text import printable

TYP = "deploy-approval+jwt"
MAX_SIGNING_INPUT = 4096  # bytes: what AWS KMS signs raw
_MAX_TOKEN = MAX_SIGNING_INPUT + 1 + 86  # and a dot, and 64 bytes of signature in base64url
_MAX_TIME = 2**53  # an integer that every JSON reader keeps exact (RFC 8259 §6)

_JTI = re.compile(r"[A-Za-z0-9_-]{22,64}")
_KID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Approval(NamedTuple):
    """What an approval token says; decoded, not verified. Times are epoch seconds.

    `approver` is `sub` in lower case, the form in which approvers are compared.
    """

    token: str
    signing_input: bytes
    signature: bytes
    alg: Algorithm
    kid: str
    approver: str
    scope: Scope
    claims: Mapping[str, Any]

    @property
    def issued_at(self) -> int:
        """The `iat` claim."""
        return self.claims["iat"]  # type: ignore[no-any-return]

    @property
    def expires_at(self) -> int:
        """The `exp` claim."""
        return self.claims["exp"]  # type: ignore[no-any-return]

    @property
    def jti(self) -> str:
        """The `jti` claim."""
        return self.claims["jti"]  # type: ignore[no-any-return]

    def summary(self) -> dict[str, Any]:
        """What a decision and its record say of it."""
        summary = {
            "approver": self.approver,
            "jti": self.jti,
            "kid": self.kid,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
        }
        return {**summary, "reason": self.claims["reason"]} if self.claims.get("reason") else summary


def decode(token: str) -> Approval:
    """Take a token apart, strictly. Nothing is verified yet.

    Raises:
        Denied: `token.too_large` before anything is decoded, or `token.malformed`.
    """
    if len(token) > _MAX_TOKEN:
        raise _too_large(len(token))
    signing_input, _, signature = token.rpartition(".")
    header, _, payload = signing_input.partition(".")
    if len(signing_input) > MAX_SIGNING_INPUT:
        raise _too_large(len(token))
    alg, kid = _decode_header(header)
    claims = _decode_claims(payload)
    return Approval(
        token,
        signing_input.encode("ascii"),
        _decode_base64url(signature, "the signature"),
        alg,
        kid,
        claims["sub"].lower(),
        _decode_scope(claims["scope"]),
        claims,
    )


def encode(alg: Algorithm, kid: str, claims: Mapping[str, Any]) -> str:
    """The signing input (RFC 7515 §2) of a token of `claims`: what a signer signs.

    Raises:
        Denied: the gate would refuse the token: `token.malformed`, `token.too_large`.
    """
    header = base64url(canonical({"alg": alg, "kid": kid, "typ": TYP}))
    try:
        payload = base64url(canonical(claims))
    except JsonError as error:
        raise _malformed(f"the claims: {error}") from error
    text = f"{header}.{payload}"
    decode(f"{text}.{base64url(bytes(64))}")
    return text


def _too_large(size: int) -> Denied:
    return Denied(
        "token.too_large",
        "The approval token is too large.",
        expected=f"at most {MAX_SIGNING_INPUT} bytes before the signature",
        actual=f"{size} characters in all",
        hint="Hand in the token alone, as it was printed; a shorter reason makes a shorter token.",
    )


def _malformed(what: str) -> Denied:
    return Denied(
        "token.malformed",
        f"The approval token is malformed: {what}.",
        expected="an approval token as docs/token.md defines it",
        actual=what,
        hint="Hand in the token exactly as it was printed. `gate inspect` explains what it holds.",
    )


def _decode_base64url(text: str, what: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise _malformed(f"{what} is not base64url") from None
    # One text for one value (RFC 4648 §3.5): no padding, no stray bits, no other alphabet, no white space.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise _malformed(f"{what} is not canonical base64url")
    return data


def _decode_object(segment: str, what: str) -> dict[str, Any]:
    try:
        return parse_object(_decode_base64url(segment, what))
    except JsonError as error:
        raise _malformed(f"{what}: {error}") from None


@lru_cache(maxsize=64)
def _decode_header(segment: str) -> tuple[Algorithm, str]:
    header = _decode_object(segment, "the header")
    if header.keys() != {"alg", "kid", "typ"}:
        raise _malformed("the header's members are not exactly alg, kid and typ")
    if header["typ"] != TYP:
        raise _malformed(f"the header's typ is not {TYP}")
    if header["alg"] not in ALGORITHMS:
        raise _malformed(f"the header's alg is not one of {', '.join(ALGORITHMS)}")
    if not isinstance(header["kid"], str) or not _KID.fullmatch(header["kid"]):
        raise _malformed("the header's kid is not 1 to 128 of A-Z a-z 0-9 . _ -")
    return header["alg"], header["kid"]


def _decode_claims(segment: str) -> dict[str, Any]:
    claims = _decode_object(segment, "the claims")
    for name, value in claims.items():
        rule = _RULES.get(name)
        if rule is None:
            raise _malformed(f"unknown claim {printable(name, 40)!r}")
        if not rule(value):
            raise _malformed(f"the claim {name} is not what it must be")
    if not claims.keys() >= _REQUIRED:
        raise _malformed(f"the claim {min(_REQUIRED - claims.keys())} is missing")
    if not claims["iat"] < claims["exp"]:
        raise _malformed("it expires before it was issued")
    return claims


def _decode_scope(text: str) -> Scope:
    try:
        return parse_scope(text)
    except UsageError as error:
        raise _malformed(f"the claim scope: {error.message.rstrip('.')}") from None


def _text(limit: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and 0 < len(value) <= limit and value.isprintable()


def is_approver(value: Any) -> bool:
    """True for an e-mail address or a login: printable ASCII without spaces, at most 254 characters.

    Letters beyond ASCII are refused, because many of them look like another.
    """
    return type(value) is str and 0 < len(value) <= 254 and value.isascii() and value.isprintable() and " " not in value


def _is_environment(value: Any) -> bool:
    try:
        return type(value) is str and bool(parse_environment(value))
    except UsageError:
        return False


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_TIME


def _is_jti(value: Any) -> bool:
    return type(value) is str and _JTI.fullmatch(value) is not None


def _is_amr(value: Any) -> bool:
    return type(value) is list and 0 < len(value) <= 16 and all(map(_text(64), value))


_RULES: dict[str, Callable[[Any], bool]] = {
    "iss": _text(254),
    "sub": is_approver,
    "aud": _text(254),
    "scope": lambda value: type(value) is str,
    "environment": _is_environment,
    "jti": _is_jti,
    "iat": _is_time,
    "exp": _is_time,
    "nbf": _is_time,
    "reason": lambda value: type(value) is str and len(value) <= 500,
    "request_id": _text(254),
    "run_id": _text(254),
    "repository_id": _text(254),
    "amr": _is_amr,
    "passkey": lambda value: type(value) is dict,
}
_REQUIRED = {"iss", "sub", "aud", "scope", "environment", "jti", "iat", "exp"}
