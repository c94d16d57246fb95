"""`gate.yaml`: what it compiles to, and how each mistake in it is explained."""

import base64
import hashlib
import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gate.errors import PolicyError, UsageError
from gate.policyfile import check_pin, compile_policy
from tests.core.authenticator import ORIGIN, RP_ID
from tests.core.mint import ED25519, PASSKEYS, POLICY, spki
from tests.core.mistakes import KEY, MISTAKES, PARTY, edited, refusal

PEM = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(("edit", "where", "says"), [pytest.param(*rest, id=name) for name, *rest in MISTAKES])
def test_a_mistake_is_explained_where_it_stands(edit: tuple[str, str], where: str, says: str) -> None:
    text = edited(*edit)
    error = refusal(text)
    assert re.search(says, error.message)
    if where:
        index = text.index(where.replace("§", "")) + max(where.find("§"), 0)
        line = text.count("\n", 0, index) + 1
        assert error.message.startswith(f"Line {line}: ")


EXAMPLE = """\
version: 1
audience: deploy-gate
replay: dynamodb://deploy-gate-jti?region=eu-west-1     # or sqlite:…, redis://…, memory:
audit:  s3://acme-deploy-audit/prod?region=eu-west-1    # or file:…
keys:
  - kid: prod-2026-11                  # default: the RFC 7638 thumbprint
    alg: Ed25519
    public_key: MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    approvers: ["*@example.com"]
    not_before: 2026-11-01T00:00:00Z
    not_after: 2027-02-01T00:00:00Z
teams:
  release: [alice@example.com, bob@example.com]
people:
  alice@example.com: {github: alice, emails: [alice@users.noreply.github.com]}
environments:
  production:
    repositories: ["acme/*"]
    approvers: [release, carol@example.com]
    approvals: 2
    separation_of_duties: true
    max_age: 15m
"""


def test_what_a_whole_policy_compiles_to() -> None:
    policy = compile_policy(EXAMPLE.encode())
    assert policy.sha256 == hashlib.sha256(EXAMPLE.encode()).hexdigest()
    assert (policy.audience, policy.replay) == ("deploy-gate", "dynamodb://deploy-gate-jti?region=eu-west-1")
    assert policy.audit == "s3://acme-deploy-audit/prod?region=eu-west-1"
    [key] = policy.keys.values()
    assert (key.kid, key.key.alg) == ("prod-2026-11", "Ed25519")
    assert (key.domains, key.names) == (frozenset({"example.com"}), frozenset())
    assert (key.not_before, key.not_after) == (1793491200, 1801440000)
    [production] = policy.environments.values()
    assert production.approvers == {"alice@example.com", "bob@example.com", "carol@example.com"}
    assert (production.approvals, production.max_age, production.separation_of_duties) == (2, 900, True)
    assert policy.people.canonical("alice") == policy.people.canonical("Alice@Example.com") == "alice@example.com"
    assert policy.longest_age == 900


def test_what_is_left_out_takes_the_careful_default() -> None:
    text = re.sub(r"(?m)^(audience|    kid|    approvals|    separation|    max_age|    not_).*\n", "", EXAMPLE)
    text = text.replace("  - kid: prod-2026-11                  # default: the RFC 7638 thumbprint\n    alg", "  - alg")
    policy = compile_policy(text.encode())
    [production] = policy.environments.values()
    assert (production.approvals, production.separation_of_duties, production.max_age) == (1, True, 900)
    assert policy.audience == "deploy-gate"
    [(kid, key)] = policy.keys.items()
    assert kid == key.kid == key.key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.in_window(0)
    assert key.in_window(2**53)


@pytest.mark.parametrize(
    "edit",
    [
        ("version: 1\n", "# comment\n\nversion: 1\n"),
        ("version: 1\n", "---\nversion: 1\n"),
        ("version: 1\n", "%YAML 1.1\n---\nversion: 1\n"),
        ("version: 1\n", "\ufeffversion: 1\n"),
        ("[acme/*]", "\n      - acme/*"),
        ("[acme/*]", '["acme/*"]'),
        ("max_age: 1h", "max_age: 24h"),
        ("max_age: 1h", "max_age: 1s"),
        ("max_age: 1h", 'max_age: "1h"'),
        ("approvals: 2", "approvals: 3"),
        ("[Bob@example.com, ", "[BOB@EXAMPLE.COM, "),
        ("release]", "RELEASE]"),
        ("  release: [", "  Release: ["),
        ("version: 1\n", f"version: 1\naudience: {'x' * 2048}\n"),
        ("    approvers: [alice@example.com]", "    approvers: [ALICE@Example.com]"),
        ('["*@example.com"]', '["*@EXAMPLE.com"]'),
        ("    alg: ES256\n", "    'alg': \"ES256\"\n"),
        ("version: 1\n", f"version: 1\naudience: {'x' * 200}\n"),
    ],
    ids=lambda edit: edit[1][:40],
)
def test_other_ways_to_write_it(edit: tuple[str, str]) -> None:
    policy = compile_policy(edited(*edit).encode())
    assert policy.environments["production"].approvers == {"alice@example.com", "bob@example.com", "carol@example.com"}
    assert policy.environments["production"].covers("acme/shop")


def test_as_many_as_sixteen_may_have_to_approve() -> None:
    names = ", ".join(f"a{number}@example.com" for number in range(16))
    line = f"  large: {{repositories: [acme/*], approvers: [{names}], approvals: 16}}\n"
    assert compile_policy((POLICY + line).encode()).environments["large"].approvals == 16


@pytest.mark.parametrize("style", ["|", ">", '"'])
def test_a_public_key_may_be_pem(style: str) -> None:
    lines = PEM.strip().splitlines()
    if style == "|":
        text = "|\n" + "".join(f"      {line}\n" for line in lines)
    elif style == '"':
        text = '"' + "\\n".join(lines) + '\\n"\n'
    else:
        text = ">\n" + "".join(f"      {line}\n\n" for line in lines)
    policy = compile_policy(edited(KEY, f"    public_key: {text}").encode())
    assert policy.keys["ed-key"].key.spki == spki(ED25519)


def test_a_private_key_is_no_public_key_and_is_not_repeated() -> None:
    der = ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = base64.b64encode(der).decode()
    error = refusal(edited(KEY, f"    public_key: {secret}\n"))
    assert secret not in f"{error.message}{error.hint}{error.expected}{error.actual}"


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("acme/*", ["acme/shop", "acme/x.y-z_"], ["acme/a/b", "acme", "acme2/shop", "x/acme"]),
        ("Acme/Shop", ["acme/shop"], ["acme/shop2", "acme/sho", "acme/shop/x"]),
        ("*/*", ["a/b"], ["a", "a/b/c"]),
        ("group/*/shop", ["group/x/shop"], ["group/shop", "group/x/y/shop", "group/x/shop2"]),
    ],
)
def test_what_a_pattern_covers(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    environment = compile_policy(edited("[acme/*]", f'["{pattern}"]').encode()).environments["production"]
    assert [name for name in covered + not_covered if environment.covers(name)] == covered


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("audit: file:audit\n", "audit: file:audit\naudiance: x\n", "Did you mean 'audience'?"),
        ("separation_of_duties: false", "seperation_of_duties: false", "Did you mean 'separation_of_duties'?"),
        ("    max_age: 1h\n", "    max-age: 1h\n", "Did you mean 'max_age'?"),
        ("    max_age: 1h\n", "    MAX_AGE: 1h\n", "Did you mean 'max_age'?"),
        ("    max_age: 1h\n", "    approver: [dave]\n", "Did you mean 'approvers'?"),
        ("    alg: ES256\n", "    alg: ES256\n    notafter: x\n", "Did you mean 'not_after'?"),
        ("{github: dave}", "{githb: dave}", "Did you mean 'github'?"),
        ('{origin: "', '{rp: x, origin: "', "Did you mean 'rp_id'?"),
    ],
)
def test_an_unknown_member_is_answered_with_the_one_that_may_be_meant(old: str, new: str, hint: str) -> None:
    assert refusal(edited(old, new)).hint == hint


def test_a_member_that_resembles_none_is_answered_with_all_of_them() -> None:
    hint = refusal(edited("{github: dave}", "{slack: dave}")).hint
    assert hint.startswith("It may have github, ")


def test_the_pin_is_that_of_the_bytes() -> None:
    data = POLICY.encode()
    check_pin(data, hashlib.sha256(data).hexdigest())
    check_pin(data, hashlib.sha256(data).hexdigest().upper())
    for pin, wrong in (
        ("", UsageError),
        ("0" * 64, PolicyError),
        (hashlib.sha256(data).hexdigest()[:63], UsageError),
        (hashlib.sha256(data + b"\n").hexdigest(), PolicyError),
        ("\x1b[2J", UsageError),
    ):
        with pytest.raises(wrong) as caught:
            check_pin(data, pin)
        assert caught.value.expected.isprintable()
        assert caught.value.hint


def test_passkeys_are_their_persons_under_every_name() -> None:
    policy = compile_policy(POLICY.encode())
    assert policy.party == (RP_ID, ORIGIN)
    alices = [(passkey.credential.id, passkey.credential.spki) for passkey in PASSKEYS.values()]
    assert [*policy.passkeys("alice@example.com")] == alices
    assert policy.passkeys("alice") == policy.passkeys("ALICE@example.com") == policy.passkeys("alice@personal.example")
    assert [credential.alg for credential in policy.passkeys("alice")] == [*PASSKEYS]
    assert policy.passkeys("bob@example.com") == policy.passkeys("nobody") == ()
    assert {name: environment.passkey_required for name, environment in policy.environments.items()} == {
        "production": False, "pair": False, "guarded": True}  # fmt: skip


def test_a_policy_without_passkeys_has_none() -> None:
    policy = compile_policy(EXAMPLE.encode())
    assert (policy.party, policy.passkeys("alice@example.com")) == (None, ())
    asking = EXAMPLE.replace("    max_age: 15m\n", "    max_age: 15m\n    passkey: required\n")
    error = refusal(asking)
    assert error.message == (
        "Line 17: the policy lists or asks for passkeys here, but does not say where they are used."
    )


@pytest.mark.parametrize(
    ("origin", "rp_id", "expected"),
    [
        ("https://gate.example.com:8443", "", "gate.example.com"),
        ("https://gate.example.com", "example.com", "example.com"),
        ("https://a.b.xn--e1afmkfd.example", "xn--e1afmkfd.example", "xn--e1afmkfd.example"),
        ("http://localhost", "", "localhost"),
        ("http://localhost:8080", "localhost", "localhost"),
        ("https://localhost:8443", "", "localhost"),
    ],
)
def test_where_passkeys_may_be_used(origin: str, rp_id: str, expected: str) -> None:
    party = f'passkeys: {{origin: "{origin}"{f", rp_id: {rp_id}" if rp_id else ""}}}\n'
    assert compile_policy(edited(PARTY, party).encode()).party == (expected, origin)


def test_a_misspelled_member_is_found() -> None:
    error = refusal(edited("    approvers: [alice@example.com]", "    aprovers: [alice@example.com]"))
    line = POLICY[: POLICY.index("    approvers: [alice@example.com]")].count("\n") + 1
    assert error.message.endswith("this key has no 'approvers'.")
    assert error.hint == f"Is it 'aprovers' on line {line} that was meant?"


def test_what_was_renamed_is_read_in_lower_case() -> None:
    assert compile_policy(POLICY.encode()).renamed == {}
    said = f"{POLICY}renamed: {{ACME/Store: Acme/Shop, acme/new: none}}\n"
    assert compile_policy(said.encode()).renamed == {"acme/store": "acme/shop", "acme/new": ""}
