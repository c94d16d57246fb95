"""The token parser: what it refuses, what it reads, and that it always answers."""

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.issuer import Issuer
from gate.keys import PublicKey
from gate.tokens import MAX_SIGNING_INPUT, Approval, decode, encode
from tests.core.authenticator import ALGORITHMS
from tests.core.corpus import MALFORMED, TOO_LARGE
from tests.core.mint import (
    CLAIMS,
    ED25519,
    KEYS,
    KIDS,
    NOW,
    PASSKEYS,
    SHA,
    base64url,
    claims,
    compact,
    header,
    proved,
    spki,
    token,
)
from tests.core.signer import Memory

PASSKEY = dict.fromkeys(("id", "authenticatorData", "clientDataJSON", "signature"), "")
quickly = settings(deadline=None, max_examples=200)


def refusal(text: str) -> Denied:
    with pytest.raises(Denied) as caught:
        decode(text)
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    assert caught.value.expected
    assert caught.value.actual
    assert f"{caught.value.message}{caught.value.actual}".isprintable()
    return caught.value


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in MALFORMED.items()])
def test_malformed(text: str) -> None:
    assert refusal(text).reason == "token.malformed"


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in TOO_LARGE.items()])
def test_too_large(text: str) -> None:
    assert refusal(text).reason == "token.too_large"


@pytest.mark.parametrize("name", ["nothing", "one segment", "two segments", "four segments", "five segments as in JWE"])
def test_a_token_in_too_few_or_too_many_parts_is_told_so(name: str) -> None:
    assert "three parts" in refusal(MALFORMED[name]).message


@pytest.mark.parametrize("text", ["A" * 10_000_000, "." * 10_000_000, token() * 20_000, "\U0001f600" * 2_500_000],
                         ids=["letters", "dots", "tokens", "emoji"])  # fmt: skip
def test_a_token_of_10_mb_is_refused_before_it_is_looked_at(text: str) -> None:
    started = time.process_time()
    for _ in range(100):
        assert refusal(text).reason == "token.too_large"
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "text", ["\ud800", token()[:-1] + "\ud800", f"\udcff{token()}", token().replace(".", "\u2024")]
)
def test_text_that_no_utf_8_can_carry_or_that_only_looks_right(text: str) -> None:
    assert refusal(text).reason == "token.malformed"


def test_a_good_token_says_what_it_says() -> None:
    full: dict[str, Any] = {
        "nbf": NOW, "reason": "l\u00f6gin \u2764 fix\n", "request_id": "r", "run_id": "7", "repository_id": "1",
        "amr": ["hwk", "user"], "passkey": PASSKEY, "sub": "Alice@Example.com", "exp": 2**53 - 1,
    }  # fmt: skip
    approval = decode(token(**full))
    assert approval.claims == CLAIMS | full
    assert approval.approver == "alice@example.com"
    assert (approval.scope.repository, approval.scope.sha) == ("acme/shop", SHA)
    assert (approval.alg, approval.kid) == ("Ed25519", "ed-key")
    assert approval.signing_input == approval.token.rpartition(".")[0].encode()
    assert PublicKey(spki(ED25519)).verify(approval.signature, approval.signing_input)


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": "A" * 64},
        {"jti": "-_" * 11},
        {"sub": "a"},
        {"sub": "a" * 254},
        {"iss": "x" * 254},
        {"reason": ""},
        {"reason": "\u07ff" * 500},
        {"environment": "p" * 100},
        {"environment": "..."},
        {"iat": 0, "exp": 1},
        {"scope": f"deploy:Group/Sub.Group/-/_x:{SHA}{'0' * 24}"},
        {"scope": f"deploy:{'a/' * 127}b:{SHA}"},
        {"scope": f"deploy:a/.b:{SHA}"},
        {"scope": f"deploy:a/...:{SHA}"},
        {"amr": ["x" * 254] * 1},
        {"amr": ["x"] * 16},
        {"nbf": NOW + 10**9},
    ],
    ids=str,
)
def test_what_is_just_inside_the_bounds_is_read(changes: dict[str, Any]) -> None:
    assert decode(token(**changes)).claims == CLAIMS | changes


def test_white_space_and_order_within_the_json_are_free() -> None:
    spaced = header().replace(b",", b" ,\r\n\t") + b"\n"
    reversed_claims = claims(**dict(reversed(CLAIMS.items())))
    assert decode(compact(spaced, b" " + reversed_claims)).claims == CLAIMS


def test_a_token_may_fill_what_a_signer_takes_and_no_more() -> None:
    filler = {"passkey": PASSKEY}
    room = MAX_SIGNING_INPUT - len(base64url(header())) - 1
    spare = room * 3 // 4 - len(claims(**filler))
    largest = token(passkey=PASSKEY | {"signature": "x" * spare})
    assert MAX_SIGNING_INPUT - 4 < len(largest.rpartition(".")[0]) <= MAX_SIGNING_INPUT
    assert decode(largest)
    assert refusal(token(passkey=PASSKEY | {"signature": "x" * (spare + 4)})).reason == "token.too_large"


IDS = {"request_id": "r" * 22, "run_id": "9120034", "repository_id": "1296269", "iss": "https://gate.example.com"}


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u20ac"])
def test_a_token_with_a_passkey_has_room_for_a_reason_of_500_letters(alg: str, letter: str) -> None:
    text = proved(PASSKEYS[alg], reason=letter * 500, amr=["hwk", "user"], **IDS)
    assert decode(text).claims["passkey"].keys() == PASSKEY.keys()


def test_what_does_not_fit_beside_a_passkey_is_told_so() -> None:
    escaped = "\x01" * 500  # six bytes of JSON each
    assert refusal(proved(PASSKEYS["ES256"], reason=escaped, **IDS)).reason == "token.too_large"
    with pytest.raises(Denied) as caught:
        Issuer(Memory("Ed25519")).seal(PASSKEYS["ES256"].approve(CLAIMS | IDS | {"reason": escaped}))
    assert (caught.value.reason, "shorter reason" in caught.value.hint) == ("token.too_large", True)


def _answers(text: str) -> Approval | None:
    """The approval, or None where it was refused in one of the two ways there are."""
    try:
        return decode(text)
    except Denied as denial:
        assert denial.reason in ("token.malformed", "token.too_large")
        assert denial.message.isprintable()
        return None


@quickly
@given(st.text(max_size=300))
@example("")
def test_any_text_is_answered(text: str) -> None:
    _answers(text)


@quickly
@given(st.lists(st.binary(max_size=150).map(base64url) | st.text(max_size=20), min_size=2, max_size=4).map(".".join))
def test_any_segments_are_answered(text: str) -> None:
    _answers(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@quickly
@given(st.sampled_from([*sorted(CLAIMS), "nbf", "reason", "run_id", "amr", "passkey", "other"]), JSON)
def test_any_value_of_any_claim_is_answered(name: str, value: Any) -> None:
    approval = _answers(token(**{name: value}))
    assert approval is None or approval.claims[name] == value


@quickly
@given(st.sampled_from(["alg", "kid", "typ", "crit", "other"]), JSON)
def test_any_value_of_any_header_member_is_answered(name: str, value: Any) -> None:
    approval = _answers(compact(header(**{name: value}), claims()))
    assert approval is None or value == {"alg": approval.alg, "kid": approval.kid, "typ": "deploy-approval+jwt"}[name]


@quickly
@given(st.data())
def test_a_token_cut_spliced_or_changed_is_answered(data: st.DataObject) -> None:
    good = token()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2), "range"))
    changed = good[:start] + data.draw(st.text(max_size=8), "insert") + good[end:]
    approval = _answers(changed)
    assert approval is None or approval.token == changed


NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,10}", fullmatch=True)
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=40)
DEPLOYMENTS = st.builds(
    Deployment,
    repository=st.lists(NAMES, min_size=2, max_size=4).map("/".join),
    sha=st.text("0123456789abcdef", min_size=40, max_size=40),
    environment=NAMES,
    run_id=PRINTABLE,
    repository_id=PRINTABLE,
    request_id=PRINTABLE,
)


@quickly
@given(
    deployment=DEPLOYMENTS,
    approver=st.emails() | NAMES,
    now=st.integers(0, 2**40),
    ttl=st.integers(1, 10**6),
    reason=st.text(st.characters(codec="utf-8"), max_size=100),
    amr=st.lists(NAMES, max_size=3).map(tuple),
    alg=st.sampled_from(sorted(KEYS)),
)
def test_what_the_issuer_signs_is_read_as_it_was_meant(
    deployment: Deployment, approver: str, now: int, ttl: int, reason: str, amr: tuple[str, ...], alg: str
) -> None:
    issuer = Issuer(Memory(alg), name="bot", audience="here", kid=KIDS[alg])
    approval = decode(issuer.issue(deployment, approver, now=now, ttl=ttl, reason=reason, amr=amr))
    bound = {name: getattr(deployment, name) for name in ("run_id", "repository_id", "request_id")}
    optional = {name: value for name, value in (bound | {"reason": reason, "amr": list(amr)}).items() if value}
    assert approval.claims == {
        "iss": "bot", "sub": approver, "aud": "here", "scope": str(deployment.scope), "iat": now, "exp": now + ttl,
        "environment": deployment.environment, "jti": approval.jti, **optional,
    }  # fmt: skip
    assert (approval.alg, approval.kid, approval.scope) == (alg, KIDS[alg], deployment.scope)
    assert PublicKey(spki(KEYS[alg])).verify(approval.signature, approval.signing_input)


DEPLOYMENT = Deployment("acme/shop", SHA, "production")


def test_each_token_has_a_jti_of_128_bits_or_more() -> None:
    issuer = Issuer(Memory("Ed25519"))
    jtis = {decode(issuer.issue(DEPLOYMENT, "alice", now=NOW, ttl=60)).jti for _ in range(50)}
    assert len(jtis) == 50
    assert min(map(len, jtis)) * 6 >= 128


def test_the_kid_is_the_thumbprint_where_nobody_named_the_key() -> None:
    signer = Memory("ES256")
    assert decode(Issuer(signer).issue(DEPLOYMENT, "alice", now=NOW, ttl=60)).kid == signer.public_key.thumbprint


@pytest.mark.parametrize("approver", ["", "alice bob", "\u0430lice@example.com", "alice\n", "a" * 255, "\ud800"])
def test_the_issuer_refuses_who_is_no_approver(approver: str) -> None:
    with pytest.raises(UsageError, match="plain ASCII"):
        Issuer(Memory("Ed25519")).issue(DEPLOYMENT, approver, now=NOW, ttl=60)


@pytest.mark.parametrize("ttl", [0, -1])
def test_the_issuer_refuses_a_life_that_is_none(ttl: int) -> None:
    with pytest.raises(UsageError, match="life"):
        Issuer(Memory("Ed25519")).issue(DEPLOYMENT, "alice", now=NOW, ttl=ttl)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"amr": ("\n",)}, "token.malformed"),
        ({"ttl": 2**60}, "token.malformed"),
        ({"amr": ("x" * 254,) * 16}, "token.too_large"),
    ],
)
def test_the_issuer_signs_nothing_that_the_gate_would_refuse(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(Denied) as caught:
        Issuer(Memory("Ed25519")).issue(DEPLOYMENT, "alice", **({"now": NOW, "ttl": 60} | options))
    assert caught.value.reason == reason


@pytest.mark.parametrize("reason", ["x" * 501, "\ud800"])
def test_a_reason_that_no_token_can_carry_is_a_mistake_of_the_caller(reason: str) -> None:
    with pytest.raises(UsageError, match="reason"):
        Issuer(Memory("Ed25519")).issue(DEPLOYMENT, "alice", now=NOW, ttl=60, reason=reason)


@pytest.mark.parametrize("kid", ["a/b", "", "\ud800", "k" * 129])
def test_nothing_is_encoded_for_a_key_without_a_proper_name(kid: str) -> None:
    with pytest.raises(Denied, match="malformed"):
        encode("Ed25519", kid, CLAIMS)
