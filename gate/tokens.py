"""The approval token: a JWS in compact form (RFC 7515) with a strict profile (docs/token.md)."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from gate.canonical import JsonError, canonical, parse_object
from gate.errors import Denied, UsageError
from gate.keys import ALGORITHMS, Algorithm, base64url, decode_base64url
from gate.scope import Scope, parse_environment, parse_scope
from gate.text import printable

TYP = "deploy-approval+jwt"
MAX_SIGNING_INPUT = 4096  # bytes: what AWS KMS signs raw
_MAX_TOKEN = MAX_SIGNING_INPUT + 1 + 86  # and a dot, and 64 bytes of signature in base64url
_MAX_TIME = 2**53 - 1  # the largest integer that every JSON reader keeps exact (RFC 8259 §6)

MAX_REASON = 500  # characters

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
    if len(signing_input) > MAX_SIGNING_INPUT:
        raise _too_large(len(token))
    header, dot, payload = signing_input.partition(".")
    if not dot or "." in payload:
        raise _malformed("it is not three parts with dots between them")
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
    try:
        header, payload = canonical({"alg": alg, "kid": kid, "typ": TYP}), canonical(claims)
    except JsonError as error:
        raise _malformed(str(error)) from error
    text = f"{base64url(header)}.{base64url(payload)}"
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
        hint="Hand in the token alone and exactly as it was printed; several go with spaces between them.",
    )


def _decode_base64url(text: str, what: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise _malformed(f"{what} {error}") from None


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
    claims = _decode_object(segment, "the payload")
    for name, value in claims.items():
        if name not in _CLAIMS:
            raise _malformed(f"unknown claim {printable(name, 40)!r}")
        holds, what = _CLAIMS[name]
        if not holds(value):
            raise _malformed(f"the claim {name} is not {what}")
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


def is_approver(value: Any) -> bool:
    """True for an e-mail address or a login: printable ASCII without spaces, at most 254 characters.

    Letters beyond ASCII are refused, because many of them look like another.
    """
    return type(value) is str and 0 < len(value) <= 254 and value.isascii() and value.isprintable() and " " not in value


def _is_text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= 254 and value.isprintable()


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
    return type(value) is list and 0 < len(value) <= 16 and all(_is_text(method) for method in value)


def _is_passkey(value: Any) -> bool:
    from gate.passkey import MEMBERS  # noqa: PLC0415 (paid for when used)

    return type(value) is dict and value.keys() == MEMBERS.keys() and all(type(text) is str for text in value.values())


_TEXT = (_is_text, "a text of 1 to 254 printable characters")
_TIME = (_is_time, "a time in whole seconds since 1970")
_CLAIMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "iss": _TEXT,
    "sub": (is_approver, "an e-mail address or a login in plain ASCII"),
    "aud": _TEXT,
    "scope": (lambda value: type(value) is str, "a text"),
    "environment": (_is_environment, "the name of an environment"),
    "jti": (_is_jti, "22 to 64 characters of base64url"),
    "iat": _TIME,
    "exp": _TIME,
    "nbf": _TIME,
    "reason": (
        lambda value: type(value) is str and len(value) <= MAX_REASON,
        f"a text of at most {MAX_REASON} characters",
    ),
    "request_id": _TEXT,
    "run_id": _TEXT,
    "repository_id": _TEXT,
    "amr": (_is_amr, "a list of 1 to 16 texts"),
    "passkey": (_is_passkey, "an object of the four texts of a WebAuthn assertion"),
}
_REQUIRED = {"iss", "sub", "aud", "scope", "environment", "jti", "iat", "exp"}
