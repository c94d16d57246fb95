"""Writes `tokens.json`: approval tokens, right and wrong, and what a gate must answer to each.

Keys, times and signatures never change, so neither does the file: `python -m tests.vectors.make`
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.core.authenticator import AT, BS, ED, UP, UV
from tests.core.corpus import MALFORMED, TOO_LARGE
from tests.core.faults import IN_ORDER, OTHERS
from tests.core.mint import (
    CAROLS,
    CLAIMS,
    KEYS,
    NOW,
    OLD,
    PASSKEYS,
    POLICY,
    SHA,
    claims,
    compact,
    header,
    proved,
    to_json,
    token,
)

PATH = Path(__file__).with_name("tokens.json")
DEPLOYMENT = {"repository": "acme/shop", "sha": SHA, "environment": "production"}
EVERYTHING: dict[str, Any] = {
    "nbf": NOW, "reason": "l\u00f6gin \u2764 fix\n", "run_id": "7", "repository_id": "1296269", "request_id": "r-1",
    "amr": ["hwk", "user"],
}  # fmt: skip
IDS: dict[str, Any] = {name: EVERYTHING[name] for name in ("run_id", "repository_id", "request_id")}
LONG_SHA = SHA + "0" * 24


def vectors() -> Iterator[dict[str, Any]]:
    """Each with its name, the token, the reason code, and where they are not the usual ones, time and deployment."""
    yield from _allowed()
    yield from _at_the_edges()
    yield from _passkeys()
    for number, fault in enumerate(IN_ORDER + OTHERS):
        if fault.step != "parse":
            yield _vector(f"{fault.reason} {number}", fault.token, fault.reason, **fault.deployment)
    for name, text in TOO_LARGE.items():
        yield _vector(name, text, "token.too_large")
    for name, text in MALFORMED.items():
        yield _vector(name, text, "token.malformed")


def _vector(name: str, text: str, reason: str = "allowed", *, now: int = NOW, **deployment: str) -> dict[str, Any]:
    vector: dict[str, Any] = {"name": name, "reason": reason, "token": text}
    return vector | ({"now": now} if now != NOW else {}) | ({"deployment": deployment} if deployment else {})


def _allowed() -> Iterator[dict[str, Any]]:
    for alg in KEYS:
        yield _vector(f"{alg}, required claims alone", token(alg))
        yield _vector(f"{alg}, every claim", token(alg, **EVERYTHING), **IDS)
    yield _vector("approver in other letters", token(sub="Alice@Example.COM"))
    yield _vector("repository in other letters", token(scope=f"deploy:Acme/SHOP:{SHA}"))
    yield _vector("a SHA-256 commit id", token(scope=f"deploy:acme/shop:{LONG_SHA}"), sha=LONG_SHA)
    yield _vector("a reason at its limit", token(reason="\u07ff" * 500))
    yield _vector("an empty reason", token(reason=""))
    yield _vector("claims in another order", compact(header(), claims(**dict(reversed(CLAIMS.items())))))
    yield _vector(
        "white space in the JSON", compact(header().replace(b",", b" ,\n"), claims().replace(b'":', b'" :\t'))
    )
    yield _vector("escapes in the JSON", compact(header(), claims().replace(b"alice", b"\\u0061lice")))


def _at_the_edges() -> Iterator[dict[str, Any]]:
    yield _vector("the last second", token(), now=NOW + 629)
    yield _vector("a second too late", token(), "token.expired", now=NOW + 630)
    yield _vector("the first second", token(), now=NOW - 30)
    yield _vector("a second too early", token(), "token.not_yet_valid", now=NOW - 31)
    yield _vector("nbf in 30 s", token(nbf=NOW + 30))
    yield _vector("nbf in 31 s", token(nbf=NOW + 31), "token.not_yet_valid")
    yield _vector("the longest life", token(exp=NOW + 900))
    yield _vector("a life too long by a second", token(exp=NOW + 901), "token.too_long_lived")
    yield _vector("issued in its key's last second", token(kid="old-key", key=OLD), now=NOW + 629)


def _passkeys() -> Iterator[dict[str, Any]]:
    guarded = {"environment": "guarded"}
    for alg, passkey in PASSKEYS.items():
        yield _vector(f"a passkey, {alg}", proved(passkey, **guarded), **guarded)
    yield _vector("a passkey that nobody asked for", proved())
    yield _vector("a passkey, by the approver in other letters", proved(sub="Alice@Example.COM", **guarded), **guarded)
    carols = proved(CAROLS, sub="carol@example.com", **guarded)
    yield _vector("a passkey of somebody else's", carols, **guarded)
    claims_ = CLAIMS | guarded
    good = PASSKEYS["ES256"].approve(claims_)
    assertion = good["passkey"]
    for name, changed in {
        "of another approver": CAROLS.approve(claims_),
        "of the same person for another token": good | {"jti": "B" * 22},
        "for a longer life": good | {"exp": NOW + 601},
        "for another reason": good | {"reason": "x"},
        "of an approver without one": PASSKEYS["ES256"].approve(claims_ | {"sub": "bob@example.com"}),
        "whose signature was changed": good
        | {"passkey": assertion | {"signature": assertion["signature"][:-4] + "AAAA"}},
        "with padding": good | {"passkey": assertion | {"id": assertion["id"] + "=="}},
        **{f"with {made}": PASSKEYS["ES256"].approve(claims_, **made) for made in _MADE},
    }.items():
        yield _vector(f"a passkey {name}", compact(header(), to_json(changed)), "passkey.invalid", **guarded)


_MADE: tuple[dict[str, Any], ...] = (
    {"type": "webauthn.create"}, {"origin": "https://evil.example"}, {"crossOrigin": True},
    {"topOrigin": "https://x.example"}, {"rp_id": "example.com"}, {"flags": UP}, {"flags": UV}, {"flags": UP | UV | BS},
    {"flags": UP | UV | ED, "extra": b"\xa0"}, {"flags": UP | UV | AT}, {"extra": b"x"},
)  # fmt: skip


def text() -> str:
    """What the file holds."""
    whole = {"policy": POLICY, "now": NOW, "deployment": DEPLOYMENT, "vectors": list(vectors())}
    return json.dumps(whole, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="ascii")
