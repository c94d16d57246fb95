"""Mistakes in a policy: what is wrong, how, where the error must point, and what it must say."""

import base64
import re
import time
from collections.abc import Iterator

import pytest

from gate.errors import PolicyError
from gate.policyfile import compile_policy
from tests.core.authenticator import ORIGIN, RP_ID
from tests.core.mint import CAROLS, ED25519, ES256, PASSKEYS, POLICY, base64url, spki

PARTY = f'passkeys: {{origin: "{ORIGIN}"}}\n'
KEY = re.search(r"    public_key: .*\n", POLICY)[0]  # type: ignore[index]


def edited(old: str, new: str) -> str:
    """The good policy with `new` in place of the first `old`."""
    assert old in POLICY
    return POLICY.replace(old, new, 1)


def refusal(text: str | bytes) -> PolicyError:
    """The error that the policy gets, in bounded time, fit to show."""
    started = time.process_time()
    with pytest.raises(PolicyError) as caught:
        compile_policy(text if isinstance(text, bytes) else text.encode())
    assert time.process_time() - started < 5
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400
    return caught.value


# What is wrong; what stands in the good policy, and what takes its place; the text on whose line the error is, at the
# § where it holds one; what the error says.
Mistake = tuple[str, tuple[str, str], str, str]


def _shape() -> Iterator[Mistake]:
    unknown = "has an unknown member 'surprise'"
    yield "unknown member of the policy", ("version: 1\n", "version: 1\nsurprise: 1\n"), "surprise", unknown
    yield "unknown member of a key", ("    alg: ES256\n", "    alg: ES256\n    surprise: 1\n"), "surprise", unknown
    yield "unknown member of a person", ("{github: alice,", "{surprise: 1, github: alice,"), "github: alice", unknown
    yield "unknown member of an environment", ("    approvals: 2\n", "    surprise: 2\n"), "surprise", unknown
    yield (
        "unknown member whose value starts further down",
        ("teams:\n", "surprise:\n  a: b\nteams:\n"),
        "surprise",
        unknown,
    )
    yield (
        "unknown member that drives a terminal",
        ("version: 1\n", 'version: 1\n"\\e[2J": 1\n'),
        "e[2J",
        r"'\\\\x1b\[2J'",
    )
    for value in ("shop", "[acme/shop]", "{}", "../x"):
        yield (
            f"renamed from {value}",
            ("version: 1\n", f"version: 1\nrenamed: {{acme/a: {value}}}\n"),
            "acme/a",
            "owner/name",
        )
    yield "renamed to no repository", ("version: 1\n", "version: 1\nrenamed: {a: none}\n"), "renamed", "owner/name"
    both = "renamed: {acme/a: none, ACME/a: none}\n"
    yield "renamed twice", ("version: 1\n", f"version: 1\n{both}"), "renamed", "differ only by case"
    yield "renamed nothing", ("version: 1\n", "version: 1\nrenamed: {}\n"), "renamed", "not a mapping with members"
    twice = "stands here twice, first on line"
    yield "duplicate member of the policy", ("audit:", "replay: x\naudit:"), "replay: x", "'replay' stands here twice"
    yield (
        "duplicate member of a key",
        ("    alg: ES256\n", "    alg: ES256\n    alg: Ed25519\n"),
        "ES256\n    §alg: E",
        twice,
    )
    yield "duplicate environment", ("  pair:", "  production:"), "production:\n    repositories: [acme/shop", twice
    yield "duplicate that is quoted", ("audit:", "'replay': x\naudit:"), "'replay'", twice
    for name in ("version", "replay", "audit", "keys", "environments"):
        yield f"no {name}", (f"{name}:", "x:"), "", f"the policy has no '{name}'"
    yield "no approvers", ("    approvers: [alice@example.com, release]\n", ""), "production:", "has no 'approvers'"
    yield "no repositories", ("    repositories: [acme/*]\n", ""), "production:", "has no 'repositories'"
    yield "no alg", ("    alg: ES256\n", ""), "- kid: ec-key", "this key has no 'alg'"
    yield "no public key", (KEY, ""), "- kid: ed-key", "this key has no 'public_key'"
    yield "a key for nobody", ("    approvers: [alice@example.com]\n", ""), "- kid: ec-key", "has no 'approvers'"


def _lists() -> Iterator[Mistake]:
    for name, text in {"empty": " []", "null": "", "a word": " x", "a mapping": " {x: y}"}.items():
        wrong = "must be a list of 1 to 500 entries"
        yield (
            f"approvers {name}",
            ("approvers: [alice@example.com, release]", f"approvers:{text}"),
            f"approvers:{text}\n",
            wrong,
        )
        yield (
            f"repositories {name}",
            ("repositories: [acme/*]", f"repositories:{text}"),
            f"repositories:{text}\n",
            wrong,
        )
        yield f"a key's approvers {name}", ("[alice@example.com]\n", f"{text}\n"), f"approvers: {text}\n", wrong
        yield f"a team {name}", ("release: [Bob@example.com, carol@example.com]", f"release:{text}"), "release:", wrong
    yield "501 entries", ("[acme/*]", f"[{'acme/x, ' * 501}]"), "acme/x", "1 to 500"
    for name, text in {"empty": "{}", "null": "", "a word": "x", "a list": "[x]"}.items():
        yield (
            f"an environment {name}",
            ("  pair:\n", f"  x: {text}\n  pair:\n"),
            f"  x: {text}",
            "not a mapping with members",
        )
        yield (
            f"a person {name}",
            ("  bob@example.com: {github: dave}", f"  bob: {text}"),
            f"bob: {text}",
            "not a mapping",
        )


def _values() -> Iterator[Mistake]:
    for text in ("2", "0", "1.0", '"1"', "01", "one", "", "[1]", "1e0"):
        yield f"version {text}", ("version: 1", f"version: {text}"), "version", "version|number 1"
    for text in ("0", "17", "-1", "2.0", '"2"', "two", "02", "0x2", "1e1", "٢", "99999999999999999999", "[2]", ""):
        yield f"approvals {text}", ("approvals: 2", f"approvals: {text}"), "approvals:", "a number from 1 to 16"
    for text in ("yes", "no", "on", "off", "True", "FALSE", "1", "'true'", "", "~", "[true]"):
        edit = ("separation_of_duties: false", f"separation_of_duties: {text}")
        yield f"separation_of_duties {text}", edit, "separation_of_duties", "must be true or false"
    for text in ("0s", "15", "15 m", "m", "-1m", "1.5h", "15M", "015m", "1h30m", "٣m", "9999999s", "[1h]", ""):
        yield f"max_age {text}", ("max_age: 1h", f"max_age: {text}"), "max_age", "must be a duration such as"
    for text in ("2d", "25h", "86401s", "999999d"):
        yield f"max_age {text}", ("max_age: 1h", f"max_age: {text}"), "max_age", "a day at most"
    for text in ("false", "true", "optional", "Required", '"required"', "[required]", ""):
        edit = ("max_age: 1h", f"passkey: {text}")
        yield f"passkey {text}", edit, f"    passkey: {text}\n", "the word required|must be required"
    for text in ("dirty", "true", "Clean", '"clean"', "[clean]", ""):
        edit = ("max_age: 1h", f"checkout: {text}")
        yield f"checkout {text}", edit, f"    checkout: {text}\n", "the word clean|must be clean"
    for text in ("[]", "EU", '[""]', '[" "]', '["a\\nb"]', f"[{'x' * 256}]", "[[EU]]"):
        edit = ("max_age: 1h", f"ci_names: {text}")
        yield f"ci_names {text[:20]}", edit, f"    ci_names: {text}\n", "printable characters|list"
    for text in ("[Production]", "[guarded]"):
        yield f"ci_names {text}", ("max_age: 1h", f"ci_names: {text}"), "", "is also what CIs call"
    second = "  eu:\n    ci_names: [eu west]\n    repositories: [acme/*]\n    approvers: [release]\n"
    edit = ("    max_age: 1h\n", f"    ci_names: [EU West]\n{second}")
    yield "ci_names of two environments", edit, "", "is also what CIs call"


def _windows() -> Iterator[Mistake]:
    for text in ("2026-11-01", "2026-11-01T00:00:00", "2026-11-01T00:00:00+00:00", "2026-11-01 00:00:00Z", "1793491200",
                 "2026-11-01T00:00:00.5Z", "٢026-11-01T00:00:00Z", "[x]", ""):  # fmt: skip
        yield f"not_before {text}", ("2026-11-01T00:00:00Z", text), "not_before", "must be a time in UTC such as"
    for text in ("2026-02-30T00:00:00Z", "2026-11-01T25:00:00Z", "0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z"):
        yield f"not_before {text}", ("2026-11-01T00:00:00Z", text), "not_before", "no time that ever was"
    for text in ("2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z", "9999-12-31T23:59:59Z"):
        yield f"window from {text}", ("2026-11-01T00:00:00Z", text), "- kid: old-key", "ends before it starts"
    for text in ('"a\\nb"', '"\\u202e"', "[x]", "", f"{'x' * 2049}", '"\\0"'):
        yield (
            f"audience {text:.20}",
            ("version: 1\n", f"version: 1\naudience: {text}\n"),
            "audience",
            "printable characters",
        )


def _keys() -> Iterator[Mistake]:
    for text in ("EdDSA", "ed25519", "none", "RS256", "HS256", "", "[Ed25519]"):
        yield f"alg {text}", ("alg: ES256", f"alg: {text}"), f"alg: {text}\n    p", "one of Ed25519, ES256"
    yield "alg of another key", ("alg: ES256", "alg: Ed25519"), "- kid: ec-key", "which is for ES256"
    zero = base64.b64encode(spki(ED25519)[:12] + bytes(32)).decode()
    for name, text in {"nothing": "", "no base64": "'!!!'", "something else": "AAAA", "a list": "[AAAA]", "zeros": zero,
                       "off the curve": base64.b64encode(spki(ES256)[:-1] + b"\0").decode(),
                       "a raw key": base64.b64encode(spki(ED25519)[12:]).decode(),
                       "look-alike": KEY.split()[1].replace("A", "\u0410", 1)}.items():  # fmt: skip
        yield f"public_key {name}", (KEY, f"    public_key: {text}\n"), "public_key", "not the public key of"
    for text in ("", "a b", "a/b", "../x", "x" * 129, "[x]", "k\u00e9y", '"a\\nb"'):
        yield f"kid {text:.20}", ("kid: ec-key", f"kid: {text}"), f"kid: {text}\n", "a kid is 1 to 128 of"
    yield "a kid twice", ("kid: ec-key", "kid: ed-key"), "- kid: ed-key\n    alg: ES", "also that of the key on line 5"
    for text in ("*", "*@", "*@*", "*@*.example.com", "a*@example.com", "@*", "**@example.com", "*@a@b", "a b", "",
                 "\u0430lice@example.com", "\u212aey@example.com", "x" * 255, "[a]"):  # fmt: skip
        edit = (
            "    approvers: [alice@example.com]",
            f'    approvers: ["{text}"]' if text != "[a]" else "    approvers: [[a]]",
        )
        yield f"a key's approver {text:.20}", edit, edit[1], "must be an approver, or"
    for text in ("mallory", "mallory@example.com", '"*@example.org"', '"*@sub.example.com"'):
        edit = ("    approvers: [alice@example.com]", f"    approvers: [{text}]")
        yield f"a key for {text} alone", edit, "- kid: ec-key", "speaks for nobody who may approve"


def _names() -> Iterator[Mistake]:
    for text in ("*", "*@example.com", "a*", "a b", "\u0430lice", "\u212aey", "x" * 255, "", "a\\nb", "\\e[2J"):
        edit = ("approvers: [alice@example.com, release]", f'approvers: [alice@example.com, "{text}"]')
        yield f"approver {text:.20}", edit, edit[1], "e-mail address or a login in plain ASCII"
    for text in ("a@b@c", "@", "a@", "<a@b>", "a/b", "noreply@github.com", "web-flow"):
        edit = ("approvers: [alice@example.com, release]", f'approvers: [alice@example.com, "{text}"]')
        yield f"approver {text}", edit, edit[1], "is nobody's"
    for text in ("*", "acme", "*/*x", "acme/", "/acme", "acme//shop", "acme/..", "**/shop", "acme/sh*p", "a/b c", "[x]",
                 "", "https://github.com/acme/shop", f"a/{'b' * 254}", "\u0430cme/shop"):  # fmt: skip
        edit = ("[acme/*]", f'["{text}"]' if text != "[x]" else "[[a/b]]")
        yield f"repository {text:.20}", edit, f"repositories: {edit[1]}", "this must be owner/name"
    for text in ("a b", "../x", ".", "..", "a/b", "\u0440roduction", "x" * 101, '""', '"a\\nb"'):
        yield f"environment {text:.20}", ("  pair:", f"  {text}:"), f"  {text}:\n", "environment's name is not usable"
    yield (
        "environments that differ by case",
        ("  pair:", "  Production:"),
        "Production:",
        "Production and production differ",
    )


def _people() -> Iterator[Mistake]:
    for text in ("a@b", "a b", "\u0433elease", '"*"', '""', "x" * 255):
        yield f"team {text:.20}", ("teams:\n", f"teams:\n  {text}: [dave]\n"), f"  {text}:", "a team is named by a word"
    yield (
        "teams that differ by case",
        ("people:", "  Release: [dave]\npeople:"),
        "Release:",
        "Release and release differ",
    )
    yield (
        "a team in a team",
        ("people:", "  all: [dave, RELEASE]\npeople:"),
        "all:",
        "'release' is a team; teams list people",
    )
    yield "a team in itself", ("[Bob@example.com, ", "[release, "), "release:", "'release' is a team"
    yield "a team that lists a domain", ("[Bob@example.com, ", '["*@example.com", '), "release:", "plain ASCII"
    for text in ("\u0430lice", "a b", '""', "x" * 255):
        yield (
            f"person {text:.20}",
            ("people:\n", f"people:\n  {text}: {{github: x}}\n"),
            f"  {text}:",
            "a person is named by",
        )
    yield "a person who is no one", ("people:\n", "people:\n  a@b@c: {github: x}\n"), "a@b@c", "'a@b@c' is nobody's"
    yield "a login that is an address", ("github: dave", "github: dave@x@y"), "github: dave@x@y", "is nobody's"
    yield "one login for two people", ("github: dave", "github: ALICE"), "people:", "alice stands for two people"


def _quorum() -> Iterator[Mistake]:
    edit = ("    approvers: [alice@example.com, release, dave]", "    approvers: [alice@example.com]")
    yield "more approvals than approvers", edit, "pair:", "pair wants 2 approvals, but lists 1 distinct approver"
    edit = ("    approvers: [alice@example.com, release, dave]", "    approvers: [bob@example.com, dave]")
    yield "one person under two names", edit, "pair:", "pair wants 2 approvals, but lists 1 distinct approver"
    edit = (
        "    approvers: [alice@example.com, release, dave]",
        "    approvers: [alice@example.com, ALICE@EXAMPLE.COM]",
    )
    yield "one person in two cases", edit, "pair:", "pair wants 2 approvals, but lists 1"
    yield "a team too small", ("approvals: 2", "approvals: 4"), "pair:", "pair wants 4 approvals, but lists 3 distinct"


def _parties() -> Iterator[Mistake]:
    for text in ("gate.example.com", "http://gate.example.com", "https://Gate.example.com", "https://gate.example.com/",
                 "https://gate.example.com:443", "https://gate.example.com:0", "https://gate.example.com:65536",
                 "https://gate.example.com:", "https://gate.example.com:08", "https://a@gate.example.com",
                 "https://gate", "https://gate.example.com.", "https://.example.com", "https://-a.example.com",
                 "https://g\u0430te.example.com", "https://192.0.2.1", "https://[2001:db8::1]", "https://10.1",
                 "https://a.0x7f", "http://localhost:80", "http://127.0.0.1", "http://x.localhost", "ws://localhost",
                 f"https://{'a' * 64}.example.com", f"https://{'a.' * 126}com", "null",
                 "https://*.example.com"):  # fmt: skip
        edit = (f'origin: "{ORIGIN}"', f'origin: "{text}"')
        yield f"origin {text:.30}", edit, "passkeys: {origin", "origin must be https://"
    for text in ("example", "com", "ample.com", "x.gate.example.com", "other.example", "localhost"):
        wrong = "rp_id must be a domain|neither the origin's host"
        yield f"rp_id {text}", (f'"{ORIGIN}"', f'"{ORIGIN}", rp_id: {text}'), "passkeys: {origin", wrong
    for text in ("Example.com", ".example.com", "example.com.", "https://example.com", "192.0.2.1", "ex\u0430mple.com"):
        edit = (f'"{ORIGIN}"', f'"{ORIGIN}", rp_id: "{text}"')
        yield f"rp_id {text}", edit, "passkeys: {origin", "rp_id must be a domain in lower case"
    yield "no origin", (f'origin: "{ORIGIN}"', f"rp_id: {RP_ID}"), "passkeys: {rp_id", "passkeys has no 'origin'"
    yield (
        "unknown member of passkeys",
        ("passkeys: {", "passkeys: {surprise: 1, "),
        "surprise",
        "unknown member 'surprise'",
    )
    yield "passkeys that are a list", (f'{{origin: "{ORIGIN}"}}', "[x]"), "passkeys: [x]", "not a mapping"
    yield "passkeys of people, but no origin", (PARTY, ""), "passkeys: [\n", "does not say where they are used"


def _credentials() -> Iterator[Mistake]:
    good = CAROLS.credential_yaml
    identifier, public_key = base64url(CAROLS.credential.id), base64.b64encode(CAROLS.credential.spki).decode()
    here = "      - {id"
    for name, text in {"padded": f"{identifier}==", "of another alphabet": "+" * 22, "not canonical": "A" * 21 + "B",
                       "short": "A" * 20, "endless": "A" * 1368, "empty": '""', "a list": "[x]"}.items():  # fmt: skip
        yield (
            f"an id {name}",
            (f"- {good}", f"- {{id: {text}, public_key: {public_key}}}"),
            here,
            "this id is|16 to 1023",
        )
    for name, key in {"nothing": '""', "no base64": "'!!!'", "COSE": base64.b64encode(CAROLS.credential.cose).decode(),
                      "of small order": base64.b64encode(PASSKEYS["Ed25519"].credential.spki[:12] + bytes(32)).decode(),
                      "a list": "[x]"}.items():  # fmt: skip
        edit = (f"- {good}", f"- {{id: {identifier}, public_key: {key}}}")
        yield f"a passkey's key {name}", edit, here, "not the public key of a passkey"
    yield "no id", (f"- {good}", f"- {{public_key: {public_key}}}"), "      - {public_key", "this passkey has no 'id'"
    yield "no key", (f"- {good}", f"- {{id: {identifier}}}"), here, "this passkey has no 'public_key'"
    unknown = "has an unknown member 'surprise'"
    yield "a passkey's surprise", (f"- {good}", f"- {{surprise: 1, {good[1:]}"), "      - {surprise", unknown
    yield "a passkey that is text", (f"- {good}", "- x"), "      - x", "not a mapping"
    yield "no passkeys in the list", (f"\n      - {good}", " []"), "passkeys: []", "a list of 1 to 500"
    yield "one passkey twice", (f"- {good}", f"- {good}\n      - {good}"), f"{good}\n§      - ", "credential id is also"
    other = PASSKEYS["ES256"].credential_yaml
    yield (
        "one passkey for two people",
        (f"- {good}", f"- {other}"),
        f"      - {other}",
        "credential id is also .* line 2",
    )
    again = f"- {good}\n      - {{id: {'A' * 22}, public_key: {public_key}}}"
    yield "one key under two ids", (f"- {good}", again), f"      - {{id: {'A' * 22}", "this public key is also"
    reused = f"- {good}\n      - {{id: {identifier}, public_key: {base64.b64encode(spki(ES256)).decode()}}}"
    yield "one id for two keys", (f"- {good}", reused), f"{good}\n§      - ", "this credential id is also"
    few = ("    passkey: required", "    passkey: required\n    approvals: 3")
    yield "more approvals than passkeys", few, "guarded:", "3 approvals with a passkey, but lists 2 distinct approvers"
    nobody = ("    approvers: [alice@example.com, release]\n    separation_of_duties: false\n    passkey",
              "    approvers: [bob@example.com, dave]\n    separation_of_duties: false\n    passkey")  # fmt: skip
    yield "nobody with a passkey", nobody, "guarded:", "1 approval with a passkey, but lists 0 distinct approvers"


def _yaml() -> Iterator[Mistake]:
    yield "an alias", ("[acme/*]", "*x"), "*x", "anchors and aliases"
    yield "an anchor", ("[acme/*]", "&x [acme/*]"), "&x", "anchors and aliases"
    yield "an anchor on a key", ("  pair:", "  &x pair:"), "&x", "anchors and aliases"
    yield "an anchor on a mapping", ("  pair:\n", "  pair: &x\n"), "&x", "anchors and aliases"
    for tag in ("!!str", "!!python/object/apply:os.system", "!x", "!", "!<tag:yaml.org,2002:int>"):
        yield f"the tag {tag}", ("version: 1", f"version: {tag} 1"), "version", "tags"
    yield "a merge key", ("    approvals: 2", "    <<: {approvals: 1}\n    approvals: 2"), "<<", "merge keys"
    yield "a second document", ("environments:", "---\nenvironments:"), "---\n§env", "second document|unknown|has no"
    yield "a list as a key", ("  pair:", "  [a, b]:"), "[a, b]", "a key is a word"
    yield "a mapping as a key", ("  pair:", "  {a: b}:"), "{a: b}", "a key is a word"
    yield "a tab", ("    approvals: 2", "\tapprovals: 2"), "\tapprovals", "not YAML"
    yield "an open bracket", ("[acme/*]", "[acme/*"), "[acme/*\n    §approvers", "not YAML"
    yield "an open quote", ('"memory:"', '"memory:'), "", "not YAML"
    yield "deep lists", ("[acme/*]", "[" * 20 + "]" * 20), "[[[", "nested too deeply"
    yield "deep mappings", ("[acme/*]", "{a: " * 20 + "}" * 20), "{a: {a", "nested too deeply"
    yield "very deep lists", ("[acme/*]", "[" * 100_000), "[[[", "nested too deeply"
    yield "very deep block lists", ("[acme/*]", "\n      " + "- " * 100_000), "- - -", "nested too deeply"


MISTAKES = [
    *_shape(), *_lists(), *_values(), *_windows(), *_keys(), *_names(), *_people(), *_quorum(), *_parties(),
    *_credentials(), *_yaml(),
]  # fmt: skip
