"""Tokens that attack the parser, each named by its attack."""

from itertools import chain

from tests.core import corpus_claims, corpus_jws
from tests.core.mint import claims, compact, header, signed, token


def _each_once(*attacks: tuple[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in attacks:
        assert found.setdefault(name, text) == text, f"two attacks are called {name!r}"
    return found


MALFORMED = _each_once(
    *chain(
        corpus_jws.algorithms(),
        corpus_jws.headers(),
        corpus_jws.segments(),
        corpus_jws.base64s(),
        corpus_claims.one_by_one(),
        corpus_claims.texts(),
        corpus_claims.scopes(),
        corpus_claims.json_texts(),
    )
)

_FULL = {"reason": "\u07ff" * 500, "iss": "x" * 254, "aud": "y" * 254, "request_id": "z" * 254, "run_id": "r" * 254}
TOO_LARGE = {
    "claims at their limits, together": compact(
        header(), claims(**_FULL, repository_id="i" * 254, amr=["m" * 64] * 16)
    ),
    "a passkey of 4 KiB": compact(header(), claims(passkey={"signature": "x" * 4096})),
    "one byte too many": signed("A" * 2000 + "." + "A" * 2096),
    "long, without a dot": "A" * 5000,
    "dots without end": "." * 5000,
    "a long signature": f"{token()}{'A' * 4096}",
}
