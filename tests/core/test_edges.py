"""Where the bounds of time lie, and which signatures are none."""

from typing import Any

import pytest

from gate.errors import Denied
from gate.steps import LEEWAY
from tests.core.decide import decide, denial
from tests.core.mint import (
    ED25519,
    ES256,
    KEYS,
    NOW,
    OLD,
    STRANGER,
    base64url,
    claims,
    compact,
    header,
    sign,
    token,
)


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({}, NOW + 600 + LEEWAY - 1, None),
        ({}, NOW + 600 + LEEWAY, "token.expired"),
        ({}, NOW - LEEWAY, None),
        ({}, NOW - LEEWAY - 1, "token.not_yet_valid"),
        ({"nbf": NOW + 100}, NOW + 100 - LEEWAY, None),
        ({"nbf": NOW + 100}, NOW + 100 - LEEWAY - 1, "token.not_yet_valid"),
        ({"nbf": NOW - 100}, NOW - LEEWAY, None),
        ({"nbf": NOW - 100}, NOW - LEEWAY - 1, "token.not_yet_valid"),
        ({"nbf": 0}, NOW, None),
        ({"exp": NOW + 1}, NOW, None),
        ({"exp": NOW + 1}, NOW + 1 + LEEWAY, "token.expired"),
        ({"exp": NOW + 900}, NOW, None),
        ({"exp": NOW + 901}, NOW, "token.too_long_lived"),
        ({"iat": 0, "exp": 1}, NOW, "token.expired"),
        ({"iat": 0, "exp": 2**53 - 1}, NOW, "token.too_long_lived"),
        ({"iat": 2**53 - 2, "exp": 2**53 - 1}, NOW, "token.not_yet_valid"),
        ({}, 0, "token.not_yet_valid"),
        ({}, 2**40, "token.expired"),
        ({"nbf": 2**53 - 1}, NOW, "token.not_yet_valid"),
    ],
)
def test_where_the_bounds_of_time_lie(changes: dict[str, Any], now: int, reason: str | None) -> None:
    if reason:
        assert denial(token(**changes), now=now).reason == reason
    else:
        assert decide(token(**changes), now=now)


def test_an_approval_issued_within_its_keys_window_stays_good_until_it_expires() -> None:
    last = token(kid="old-key", key=OLD, iat=NOW, exp=NOW + 600)
    assert decide(last, now=NOW + 600 + LEEWAY - 1)
    assert denial(last, now=NOW + 600 + LEEWAY).reason == "token.expired"
    denied = denial(token(kid="old-key", key=OLD, iat=NOW + 1))
    assert denied.reason == "key.outside_window"
    assert denied.expected == "issued from 2026-11-01 00:00:00Z to 2027-01-15 08:00:00Z"
    first = token(kid="old-key", key=OLD, iat=1793491200, exp=1793491260)
    assert decide(first, now=1793491230)
    assert denial(token(kid="old-key", key=OLD, iat=1793491199, exp=1793491260), now=1793491230).step == "key"


def test_a_stolen_key_gains_nothing_by_an_earlier_date() -> None:
    """After its window a key can only be used with an `iat` inside it, and then the approval has expired."""
    now = NOW + 7200
    assert denial(token(kid="old-key", key=OLD, iat=NOW, exp=now + 60), now=now).reason == "token.too_long_lived"
    assert denial(token(kid="old-key", key=OLD, iat=NOW, exp=NOW + 900), now=now).reason == "token.expired"


N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NUMBERS = {"0": 0, "1": 1, "n-1": N - 1, "n": N, "n+1": N + 1, "2^256-1": 2**256 - 1}


@pytest.mark.parametrize("r", NUMBERS)
@pytest.mark.parametrize("s", NUMBERS)
def test_es256_numbers_at_the_edges_are_an_invalid_signature(r: str, s: str) -> None:
    text = token("ES256").rpartition(".")[0]
    signature = NUMBERS[r].to_bytes(32, "big") + NUMBERS[s].to_bytes(32, "big")
    assert denial(f"{text}.{base64url(signature)}").reason == "signature.invalid"


@pytest.mark.parametrize("alg", KEYS)
@pytest.mark.parametrize("size", [0, 1, 32, 63])
def test_a_short_signature_is_an_invalid_one(alg: str, size: int) -> None:
    text = token(alg).rpartition(".")[0]
    assert denial(f"{text}.{base64url(sign(KEYS[alg], text.encode())[:size])}").reason == "signature.invalid"


@pytest.mark.parametrize("alg", KEYS)
def test_a_signature_of_other_text_is_an_invalid_one(alg: str) -> None:
    text, _, signature = token(alg).rpartition(".")
    other = compact(header(alg), claims(sub="bob@example.com"), KEYS[alg])
    assert denial(f"{other.rpartition('.')[0]}.{signature}").reason == "signature.invalid"
    assert denial(f"{text}.{other.rpartition('.')[2]}").reason == "signature.invalid"


def test_another_key_under_a_trusted_name_is_an_invalid_signature() -> None:
    for key in (STRANGER, OLD):
        assert denial(token(key=key)).reason == "signature.invalid"
    assert denial(token("ES256", key=ED25519)).reason == "signature.invalid"
    assert denial(token(kid="old-key")).reason == "signature.invalid"


@pytest.mark.parametrize(("alg", "kid"), [("ES256", "ed-key"), ("Ed25519", "ec-key")])
@pytest.mark.parametrize("key", [ED25519, ES256], ids=["ed", "ec"])
def test_the_header_never_chooses_the_algorithm(alg: str, kid: str, key: Any) -> None:
    denied = denial(token(alg, kid=kid, key=key))
    assert (denied.reason, denied.step) == ("signature.invalid", "key")


def test_an_es256_signature_that_was_mirrored_is_the_same_approval() -> None:
    """(r, -s) verifies wherever (r, s) does; the JTI is what makes an approval one."""
    good = token("ES256")
    text, _, signature = good.rpartition(".")
    raw = sign(ES256, text.encode())
    mirrored = N - int.from_bytes(raw[32:], "big")
    twin = f"{text}.{base64url(raw[:32] + mirrored.to_bytes(32, 'big'))}"
    assert signature != twin.rpartition(".")[2]
    assert decide(twin)[0].claims == decide(good)[0].claims
    assert denial(good, twin).reason == "replay.used"


@pytest.mark.parametrize("alg", KEYS)
def test_no_flipped_bit_of_a_token_is_ever_accepted(alg: str) -> None:
    """Not one bit of its text, nor one of what its base64url holds."""
    good = token(alg)
    assert decide(good)
    raw = good.encode()
    texts = (
        bytes([*raw[:i], raw[i] ^ 1 << bit, *raw[i + 1 :]]).decode("latin-1")
        for i in range(len(raw))
        for bit in range(8)
    )
    for text in texts:
        with pytest.raises(Denied) as caught:
            decide(text)
        assert caught.value.reason in {"token.malformed", "signature.invalid", "key.unknown"}


@pytest.mark.parametrize("alg", KEYS)
def test_no_flipped_bit_of_what_was_signed_is_ever_accepted(alg: str) -> None:
    text = token(alg).rpartition(".")[0]
    parts = [header(alg), claims(), sign(KEYS[alg], text.encode())]
    for which, part in enumerate(parts):
        for bit in range(len(part) * 8):
            flipped = bytearray(part)
            flipped[bit // 8] ^= 1 << bit % 8
            changed = ".".join(base64url(bytes(flipped) if n == which else other) for n, other in enumerate(parts))
            with pytest.raises(Denied) as caught:
                decide(changed)
            assert caught.value.reason in {"token.malformed", "signature.invalid", "key.unknown"}
