"""Tokens that others sign (RFC 7519): read strictly, and verified by PyJWT with an algorithm that we choose."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from gate.bot.errors import NotProved
from gate.canonical import JsonError, parse_object
from gate.text import printable, utc

Algorithm = Literal["RS256", "PS256", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

_MOST = 16 * 1024  # characters of a token
_MOST_KEYS = 100
_LATEST = 2**53 - 1
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_KEY_TYPE = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}


class Opened(NamedTuple):
    """A token taken apart; nothing in it is verified."""

    token: str
    alg: Algorithm
    kid: str | None
    claims: dict[str, Any]


class Keys(NamedTuple):
    """The keys (RFC 7517) that may verify a signature."""

    keys: tuple[dict[str, Any], ...]

    def fitting(self, kid: str | None, alg: Algorithm) -> list[dict[str, Any]]:
        """Those that a token with this header may be signed by. A token without a `kid` needs there to be one key."""
        if kid is None:
            return [key for key in self.keys if _fits(key, alg)] if len(self.keys) == 1 else []
        return [key for key in self.keys if key.get("kid") == kid and _fits(key, alg)]


def looks_like_jwt(text: str) -> bool:
    """True for three parts in base64url with dots between them."""
    return bool(_JWT.fullmatch(text))


def open_token(token: str) -> Opened:
    """Take a token apart. Its `kid` and `alg` only say which of the issuer's keys to try; all else in the header, such
    as a key (`jwk`, `x5c`) or where to find one (`jku`, `x5u`), is ignored.

    Raises:
        NotProved: it is too long, malformed, names an algorithm other than ours, or has members twice.
    """
    if len(token) > _MOST:
        raise NotProved("The token is too long.", expected=f"at most {_MOST} characters", actual=f"{len(token)}")
    if not looks_like_jwt(token):
        raise NotProved("The token is no JWT.", expected="three parts in base64url, with dots between them")
    try:
        header, claims = (parse_object(_decode(part)) for part in token.split(".")[:2])
    except JsonError as error:
        raise NotProved("The token is malformed.", actual=str(error)) from None
    except ValueError:
        raise NotProved("The token is malformed.", actual="it is not base64url") from None
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in ALGORITHMS or "crit" in header or "b64" in header:
        raise NotProved(
            "The token is signed in a way that is not accepted.",
            expected=" or ".join(ALGORITHMS),
            actual=printable(str(alg), 40),
        )
    if not isinstance(kid, str | None):
        raise NotProved("The token is malformed.", actual="its kid is no text")
    return Opened(token, alg, kid, claims)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def usable_keys(jwks: Mapping[str, Any]) -> Keys:
    """The keys of a JWK set that may verify; none where it is malformed."""
    listed = jwks.get("keys")
    found = listed[:_MOST_KEYS] if isinstance(listed, list) else []
    return Keys(tuple(key for key in found if isinstance(key, dict) and _may_verify(key)))


def _may_verify(key: Mapping[str, Any]) -> bool:
    """Public, and for signatures (RFC 7517 §4.2, §4.3)."""
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations and "d" not in key
    ) and any(_fits(key, alg) for alg in ALGORITHMS)


def _fits(key: Mapping[str, Any], alg: Algorithm) -> bool:
    curve = key.get("crv") == "P-256" or alg != "ES256"
    return key.get("kty") == _KEY_TYPE[alg] and key.get("alg", alg) == alg and curve


def check_claims(opened: Opened, key: dict[str, Any], *, issuer: str, audience: str, leeway: int) -> dict[str, Any]:
    """The claims of a token that `key` signed, from `issuer`, for `audience`, and current within `leeway` seconds.

    Raises:
        NotProved: it is not that.
    """
    import jwt  # noqa: PLC0415 (paid for when used)

    claims = opened.claims
    for name in ("exp", "iat", "nbf"):
        if name in claims and not (type(claims[name]) is int and 0 <= claims[name] <= _LATEST):
            raise NotProved("The token is malformed.", expected=f"{name} in whole seconds")
    try:
        jwt.decode(
            opened.token,
            jwt.PyJWK(key, algorithm=opened.alg),
            algorithms=[opened.alg],
            audience=audience,
            issuer=issuer,
            leeway=leeway,
            options={"require": ["exp", "iat", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise NotProved("The token has expired.", hint="Ask for a new one.", actual=utc(claims["exp"])) from None
    except jwt.ImmatureSignatureError:
        begins = max(claims["iat"], claims.get("nbf", 0))
        hint = "Compare the clocks of the bot and of the issuer."
        raise NotProved("The token is not valid yet.", hint=hint, actual=utc(begins)) from None
    except jwt.InvalidAudienceError:
        raise NotProved(
            "The token is meant for somebody else.", expected=audience, actual=printable(str(claims["aud"]))
        ) from None
    except jwt.MissingRequiredClaimError as error:
        raise NotProved("The token lacks a claim.", expected=str(error.claim), actual="none") from None
    except jwt.PyJWTError:
        raise NotProved("The token's signature does not fit its issuer's key.") from None
    return claims
