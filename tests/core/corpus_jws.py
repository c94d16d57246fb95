"""Attacks on the form of a token: header, segments, base64url. Only the form is wrong: a trusted key signs."""

import json
from collections.abc import Iterator
from typing import Any

from tests.core.mint import base64url, claims, compact, header, signed, token

_HEAD, _BODY, _SIGNATURE = token().split(".")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _with_header(**changes: Any) -> str:
    return compact(header(**changes), claims())


def algorithms() -> Iterator[tuple[str, str]]:
    """Algorithms that a token must not choose."""
    for alg in ("none", "None", "nOnE", "", "HS256", "HS512", "RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA",
                "Ed448", "ed25519", "Ed25519 ", "ES256\0", None, 1, True, ["Ed25519"], {"Ed25519": 1}):  # fmt: skip
        yield f"alg {json.dumps(alg)}", _with_header(alg=alg)
    yield "alg none without a signature", f"{base64url(header('none'))}.{_BODY}."
    yield "no alg", _with_header(alg=...)


def headers() -> Iterator[tuple[str, str]]:
    """Other members, and members that are not what they must be."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "AA"}
    extra = {"crit": ["exp"], "jku": "https://evil.example/", "x5u": "https://evil.example/", "jwk": jwk,
             "x5c": ["MII"], "x5t": "AA", "x5t#S256": "AA", "b64": False, "cty": "JWT", "enc": "A128GCM", "zip": "DEF",
             "": "", "ALG": "none", "alg ": "none", "a\u202eb": 1}  # fmt: skip
    for name, value in extra.items():
        yield f"header has {json.dumps(name)}", _with_header(**{name: value})
    yield "header has an empty crit", _with_header(crit=[])
    for typ in ("JWT", "deploy-approval", "application/deploy-approval+jwt", "Deploy-Approval+JWT", "", None, 1, ...):
        yield f"typ {typ!r}", _with_header(typ=typ)
    for kid in ("", "../../dev/null", "/etc/passwd", "a/b", "a b", "ed-key\n", "ed-key\0", "x'; --", "https://evil.example",
                "\u212aey", "k" * 129, None, 1, True, ["ed-key"], {"kid": "ed-key"}, ...):  # fmt: skip
        yield f"kid {kid!r:.30}", _with_header(kid=kid)
    good = header().decode()
    for name, text in {
        "a list": '["Ed25519"]',
        "null": "null",
        "empty": "{}",
        "with alg twice": good.replace('"alg"', '"alg":"none","alg"'),
        "with kid twice": good.replace('"kid"', '"kid":"ec-key","kid"'),
        "with kid twice, once escaped": good.replace('"kid"', '"\\u006bid":"ec-key","kid"'),
        "cut short": good[:-1],
        "with a BOM": "\ufeff" + good,
        "in single quotes": good.replace('"', "'"),
        "deep": '{"alg":' + "[" * 1400 + "]" * 1400 + "}",
    }.items():
        yield f"header {name}", compact(text.encode(), claims())
    yield "header in UTF-16", compact(good.encode("utf-16"), claims())


def segments() -> Iterator[tuple[str, str]]:
    """Parts missing, parts too many, and white space."""
    good = token()
    yield from {
        "nothing": "",
        "dots alone": "..",
        "one segment": _HEAD,
        "two segments": f"{_HEAD}.{_BODY}",
        "four segments": f"{good}.{_SIGNATURE}",
        "five segments as in JWE": f"{_HEAD}..{_BODY}.{_SIGNATURE}.AAAA",
        "empty header": f".{_BODY}.{_SIGNATURE}",
        "empty claims": f"{_HEAD}..{_SIGNATURE}",
        "a dot in front": f".{good}",
        "a dot behind": f"{good}.",
        "JSON serialisation": json.dumps({"payload": _BODY, "protected": _HEAD, "signature": _SIGNATURE}),
        "Bearer in front": f"Bearer {good}",
        "two tokens": f"{good} {good}",
        "quotes around it": f'"{good}"',
        "full-width letters": "".join(chr(ord(char) + 0xFEE0) for char in good),
        "a Cyrillic letter in the claims": f"{_HEAD}.{_BODY[:9]}\u0430{_BODY[10:]}.{_SIGNATURE}",
        "a Cyrillic letter in the signature": f"{_HEAD}.{_BODY}.\u0430{_SIGNATURE[1:]}",
    }.items()
    for name, space in {"a space": " ", "a newline": "\n", "a tab": "\t", "CRLF": "\r\n", "NUL": "\0"}.items():
        yield f"{name} in front", f"{space}{good}"
        yield f"{name} behind", f"{good}{space}"
        for place in (len(_HEAD) // 2, len(_HEAD) + 9, len(good) - 9):
            yield f"{name} at {place}", f"{good[:place]}{space}{good[place:]}"


def base64s() -> Iterator[tuple[str, str]]:
    """Other texts for the same bytes."""
    yield "the header padded", signed(f"{_HEAD}{'=' * (-len(_HEAD) % 4 or 4)}.{_BODY}")
    yield "the claims padded", signed(f"{_HEAD}.{_BODY}{'=' * (-len(_BODY) % 4 or 4)}")
    yield "the signature padded", f"{token()}=="
    yield "padding within", f"{_HEAD}.{_BODY}.{_SIGNATURE[:40]}=={_SIGNATURE[40:]}"
    yield "stray bits in the header", signed(f"{_stray(header())}.{_BODY}")
    yield "stray bits in the claims", signed(f"{_HEAD}.{_stray(claims())}")
    yield "stray bits in the signature", f"{_HEAD}.{_BODY}.{_SIGNATURE[:-1]}{_next(_SIGNATURE[-1])}"
    mixed = base64url(claims(reason="~~~???>>>" * 3 + "\u07ff" * 20))
    assert "-" in mixed
    assert "_" in mixed
    yield "the other alphabet's +", signed(f"{_HEAD}.{mixed.replace('-', '+')}")
    yield "the other alphabet's /", signed(f"{_HEAD}.{mixed.replace('_', '/')}")
    yield "a length that no bytes have", token()[:-1]
    yield "a character too many", f"{token()}AAA"
    yield "percent-encoding", token().replace("e", "%65", 1)


def _next(char: str) -> str:
    return _ALPHABET[_ALPHABET.index(char) + 1]


def _stray(data: bytes) -> str:
    """Another text that a lax decoder takes for the same bytes (and a space where there are no bits to spare)."""
    text = base64url(data if len(data) % 3 else data + b" ")
    return text[:-1] + _next(text[-1])
