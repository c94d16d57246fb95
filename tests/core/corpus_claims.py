"""Attacks on the claims of a token. Only they are wrong: header and signature are good."""

import json
from collections.abc import Iterator
from typing import Any

from tests.core.mint import NOW, SCOPE, SHA, claims, compact, header

_REQUIRED = ("iss", "sub", "aud", "scope", "environment", "jti", "iat", "exp")
_SHORT_TEXTS = ("iss", "sub", "aud", "request_id", "run_id", "repository_id")
_TEXTS = (*_SHORT_TEXTS, "scope", "environment", "jti", "reason")
_NO_TEXT = (None, 1, True, 1.5, ["x"], {"x": "y"})
_NO_TIME: tuple[Any, ...] = (None, str(NOW), True, False, [NOW], {}, NOW + 0.5, 1e9, -1, 2**53, 2**63, 10**1000)
_NO_JTI = ("", "A" * 21, "A" * 65, "A" * 21 + "+", "A" * 21 + "=", "A" * 22 + "\n", "../" * 8, "\u0410" * 22)
_PASSKEY: dict[str, Any] = dict.fromkeys(("id", "authenticatorData", "clientDataJSON", "signature"), "x")
_WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_TEXTS, _NO_TEXT),
    **dict.fromkeys(("iat", "exp", "nbf"), _NO_TIME),
    "jti": _NO_TEXT + _NO_JTI,
    "amr": (None, "pwd", {}, [], [1], [None], [["pwd"]], [""], ["x" * 255], ["x"] * 17, ["pwd", "p\nwd"]),
    "passkey": (
        None,
        "x",
        1,
        [],
        ["x"],
        {"x": 1},
        {"x": {"y": "z"}},
        {"x": "y", "z": None},
        {},
        _PASSKEY | {"id": None},
        {"userHandle": "x"} | _PASSKEY,
        {name: text for name, text in _PASSKEY.items() if name != "signature"},
    ),
}
_UNPRINTABLE = {
    "NUL": "\0",
    "a newline": "\n",
    "ESC": "\x1b[2J",
    "bidi": "\u202e",
    "zero width": "\u200b",
    "BOM": "\ufeff",
}
_LOOK_ALIKES = {
    "Cyrillic": "\u0430lice",
    "Kelvin": "\u212aevin",
    "full-width": "\uff41lice",
    "combining": "a\u0301lice",
}
_INJECTIONS = ("../../etc", "a/b", "..", ".", "", "a b", "a\n::set-output::", "a%2fb", "$(id)", "p" * 101)


def _with_claims(**changes: Any) -> str:
    return compact(header(), claims(**changes))


def _spliced(old: str, new: str) -> str:
    """The good token with claims that no JSON writer would write."""
    good = claims().decode()
    assert old in good
    return compact(header(), good.replace(old, new, 1).encode("utf-8", "surrogatepass"))


def one_by_one() -> Iterator[tuple[str, str]]:
    """Each claim missing, and each of a wrong type or size."""
    for name in _REQUIRED:
        yield f"no {name}", _with_claims(**{name: ...})
    for name in ("role", "EXP", "sub ", "", "approvals", "__proto__", "n\u202eame", "x" * 1000):
        yield f"unknown claim {json.dumps(name):.30}", _with_claims(**{name: "x"})
    for name, values in _WRONG.items():
        for value in values:
            yield f"{name} {json.dumps(value):.30}", _with_claims(**{name: value})
    for name, life in {"at once": 0, "before it was issued": -1, "long before": -NOW}.items():
        yield f"expires {name}", _with_claims(exp=NOW + life)


def texts() -> Iterator[tuple[str, str]]:
    """What does not print, and what only looks right."""
    for name in _SHORT_TEXTS:
        yield f"{name} empty", _with_claims(**{name: ""})
        yield f"{name} over-long", _with_claims(**{name: "x" * 255})
        for what, text in _UNPRINTABLE.items():
            yield f"{name} with {what}", _with_claims(**{name: f"x{text}y"})
    yield "reason over-long", _with_claims(reason="x" * 501)
    for name, sub in _LOOK_ALIKES.items():
        yield f"sub {name}", _with_claims(sub=f"{sub}@example.com")
        yield f"environment {name}", _with_claims(environment=sub)
        yield f"scope {name}", _with_claims(scope=f"deploy:{sub}/shop:{SHA}")
    yield "sub with a space", _with_claims(sub="alice @example.com")
    for environment in _INJECTIONS:
        yield f"environment {environment!r:.30}", _with_claims(environment=environment)


def scopes() -> Iterator[tuple[str, str]]:
    """What is not deploy:<repository>:<sha>."""
    for scope in (
        "", "deploy", "deploy:", "deploy::", f"DEPLOY:acme/shop:{SHA}", f"deploy:acme:{SHA}", f"deploy:/shop:{SHA}",
        f"deploy:acme/:{SHA}", f"deploy:acme//shop:{SHA}", f"deploy:../shop:{SHA}", f"deploy:acme/..:{SHA}",
        f"deploy:acme/.:{SHA}", f"deploy:acme/*:{SHA}", f"deploy:acme/sh op:{SHA}", f"deploy:acme/shop\n:{SHA}",
        f"deploy:acme/shop\0:{SHA}", f"deploy:acme\\shop:{SHA}", f"deploy:acme/shop%00:{SHA}",
        f"deploy:a/{'b' * 254}:{SHA}", f"deploy:https://evil.example/acme/shop:{SHA}", f"deploy:{SHA}",
        f"deploy:acme/shop{SHA}", f"{SCOPE}\n", f" {SCOPE}", f"{SCOPE}:production",
        f"{SCOPE} deploy:acme/other:{SHA}", f"deploy:acme/shop:{SHA[:39]}", f"deploy:acme/shop:{SHA}0",
        f"deploy:acme/shop:{SHA.upper()}", f"deploy:acme/shop:{SHA[:7]}", "deploy:acme/shop:main", "deploy:acme/shop:*",
        "deploy:acme/shop:refs/heads/main", f"deploy:acme/shop:{SHA[:-1]}\uff11", f"deploy:acme/shop:{'0' * 63}",
    ):  # fmt: skip
        yield f"scope {scope!r}", _with_claims(scope=scope)


def json_texts() -> Iterator[tuple[str, str]]:
    """JSON that readers disagree on, or choke on."""
    yield "exp twice", _spliced('"exp"', f'"exp":{NOW + 10**6},"exp"')
    yield "sub twice", _spliced('"sub"', '"sub":"bob@example.com","sub"')
    yield "sub twice, once escaped", _spliced('"sub"', '"\\u0073ub":"bob@example.com","sub"')
    yield "a member twice within a claim", _spliced('"iss"', '"passkey":{"a":"b","a":"c"},"iss"')
    for number in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e3",
        "1E400",
        f"{NOW}.0",
        "-1",
        f"+{NOW}",
        f"0{NOW}",
        "0x10",
        "9" * 2500,
    ):
        yield f"exp {number:.20}", _spliced(f'"exp":{NOW + 600}', f'"exp":{number}')
        yield f"iat {number:.20}", _spliced(f'"iat":{NOW}', f'"iat":{number}')
    for name, text in {"deep lists": "[" * 1000 + "]" * 1000, "deep objects": '{"a":' * 300 + "1" + "}" * 300}.items():
        yield name, _spliced('"iss"', f'"passkey":{text},"iss"')
        yield f"{name} in an unknown claim", _spliced('"iss"', f'"x":{text},"iss"')
    yield "deep and open", compact(header(), b'{"passkey":' + b"[" * 2900)
    for name, text in {"high": "\\ud800", "low": "\\udc00", "the wrong way round": "\\udc00\\ud800"}.items():
        yield f"a lone surrogate, {name}", _spliced('"iss"', f'"reason":"{text}","iss"')
    good = claims()
    for name, data in {
        "null": b"null",
        "a list": b"[" + good + b"]",
        "a string": b'"x"',
        "empty": b"{}",
        "twice": good + good,
        "with text behind": good + b"x",
        "with a NUL behind": good + b"\0",
        "with a BOM": b"\xef\xbb\xbf" + good,
        "in UTF-16": good.decode().encode("utf-16"),
        "in Latin-1": claims(reason="\u00e9").decode().encode("latin-1"),
        "with a surrogate in UTF-8": claims(reason="\ud800"),
        "with overlong UTF-8": good.replace(b'"gate"', b'"g\xc1\xa1te"'),
        "with a raw newline": good.replace(b'"gate"', b'"ga\nte"'),
        "with a comment": good.replace(b",", b",/**/", 1),
        "with a comma too many": good.replace(b"}", b",}"),
    }.items():
        yield f"claims {name}", compact(header(), data)
