"""docs/policy.md, "Is it the approver?": each row of its table, under the policy that stands above it."""

import re

import pytest

from gate.errors import PolicyError
from gate.identity import Forges, claims, identity, quoted
from gate.models import Commit, Identity
from gate.people import People
from gate.policyfile import compile_policy
from gate.separation import entry
from tests.pages import ROOT
from tests.test_people import POLICY

ALICE = "alice@example.com"
PAGE = (ROOT / "docs/policy.md").read_text()
NAMES = PAGE.partition("### Names\n")[2].partition("```yaml\n")[2].partition("```")[0]
TABLE = PAGE.partition("Each row is a test.\n\n")[2].partition("\n\n")[0]
ROWS = re.findall(
    r"^\| (`.+?`) \| (commit|committer|CI|--actor) \| ([a-z' ]+) \| ([a-z' ]+) \| [^|]+ \|$", TABLE, re.MULTILINE
)
ANSWERS = {"yes": True, "no": False, "can't tell": None}


def people(more: str = "") -> People:
    return compile_policy(f"{POLICY.replace('[alice]', '[alice@example.com]')}{NAMES}{more}".encode()).people


def said(text: str) -> Identity:
    """What a commit says."""
    return Identity("email" if identity(text).kind == "email" else "login", text)


def answer(known: People, texts: list[str], source: str) -> str:
    """The table's word for it."""
    if source == "committer":
        commit = Commit("a" * 40, (), committer=tuple(map(said, texts)))
        return "nobody" if known.hands(commit) == ((),) else "somebody"
    if source == "--actor":
        roles = [(identity(name),) for text in texts for name in claims(text)]
    else:
        roles = [tuple(map(said if source == "commit" else identity, texts))]
    same = [known.is_same(ALICE, role) for role in roles]
    verdict = True if True in same else None if None in same else False
    return next(word for word, value in ANSWERS.items() if value is verdict)


@pytest.mark.parametrize(("who", "source", "by_default", "attested"), ROWS)
def test_each_row_of_the_table(who: str, source: str, by_default: str, attested: str) -> None:
    texts = re.findall("`(.+?)`", who)
    assert answer(people(), texts, source) == by_default
    assert answer(people("unlisted: attested\n"), texts, source) == attested


def test_the_table_is_read_whole() -> None:
    assert len(ROWS) == len(TABLE.splitlines()) - 2 > 25


REPORTED = [
    "alice@old.example",
    "eve@m\u00fcller.example",
    "mallory",
    "github:mallory",
    "github:mallory#666",
    "ghe.example.com:mallory",
    "gitlab:mallory#666",
    "jenkins:CORP\\bob2",
    "jenkins:bob builder 2",
    'jenkins:"]}, x: {',
    "codebuild:codepipeline/shop-pipeline",
    "codepipeline/shop-pipeline",
    "rule/nightly",
    "circleci:mallory",
    "renovate[bot]",
    "github:renovate[bot]#29139614",
    "29139614+renovate[bot]@users.noreply.github.com",
    "x##[group]y@example.com",
    "'quoted'@example.com",
]


@pytest.mark.parametrize("text", REPORTED)
def test_whatever_the_gate_reports_can_be_pasted_into_the_policy(text: str) -> None:
    who = identity(text)
    assert people().is_same(ALICE, [who]) is None
    line = str(entry([who])).replace("NAME", "mallory@example.com")
    more = line if line.startswith("automation") else line.removeprefix("people: {").removesuffix("}")
    assert more.isascii()
    assert more.isprintable()
    assert "##[" not in more
    lists = (f"{NAMES.partition('automation:')[0]}{more}\n", f"{NAMES.partition('automation:')[0]}  {more}\n")
    policy = compile_policy(f"{POLICY}{lists[not line.startswith('automation')]}".encode())
    assert policy.people.is_same(ALICE, [who]) is False


@pytest.mark.parametrize("text", REPORTED)
def test_every_identity_can_be_automation(text: str) -> None:
    known = People({}, {ALICE}, automation=[text])
    assert known.is_same(ALICE, [identity(text)]) is False
    lines = f"{POLICY}automation: [{quoted(text)}]\n"
    assert compile_policy(lines.encode()).people.is_same("alice", [identity(text)]) is False


@pytest.mark.parametrize("text", ["CORP\\bob", "bob builder", "shop/x", "web-flow", "github:#", "a#b"])
def test_a_login_of_no_forge_is_refused_in_the_policy(text: str) -> None:
    with pytest.raises(PolicyError, match="nobody's login") as caught:
        People({}, {ALICE}, automation=[text])
    assert "jenkins:" in caught.value.hint


HOSTS = {"ghe.example.com": "github", "git.example.org": "gitlab", "code.example.net": "forgejo", "old.tea": "gitea"}


@pytest.mark.parametrize(
    ("address", "namespace", "login", "number"),
    [
        ("12+dave@users.noreply.github.com", "github", "dave", "12"),
        ("dave@users.noreply.github.com", "github", "dave", ""),
        ("12-dave@users.noreply.gitlab.com", "gitlab", "dave", "12"),
        ("12+dave@users.noreply.ghe.example.com", "ghe.example.com", "dave", "12"),
        ("12-dave@users.noreply.git.example.org", "git.example.org", "dave", "12"),
        ("dave@noreply.code.example.net", "code.example.net", "dave", ""),
        ("12+dave@noreply.code.example.net", "code.example.net", "dave", "12"),
        ("12+dave@users.noreply.old.tea", "old.tea", "dave", "12"),
    ],
)
def test_the_private_addresses_of_each_forge(address: str, namespace: str, login: str, number: str) -> None:
    names = Forges(HOSTS).names(Identity("email", address.upper()))
    assert {tuple(name) for name in names} == {
        ("login", namespace, login),
        *([("id", namespace, number)] if number else []),
    }


@pytest.mark.parametrize(
    "address",
    [
        "dave@users.noreply.gitlab.com",
        "12-dave@users.noreply.git.unknown",
        "12+dave@noreply.github.com",
        "x@github.com",
    ],
)
def test_other_addresses_are_addresses(address: str) -> None:
    assert {name.kind for name in Forges(HOSTS).names(Identity("email", address))} == {"email"}


@pytest.mark.parametrize("host", ["github.com", "gitlab.com", *HOSTS])
def test_each_forge_s_own_committer_is_nobody(host: str) -> None:
    committer = (Identity("email", f"noreply@{host.upper()}"),)
    assert Forges(HOSTS).is_own(committer)
    assert Forges().is_own(committer) is (host in ("github.com", "gitlab.com"))
    assert str(entry(committer)) == f"forges: {{{host.upper()}: KIND}}"


@pytest.mark.parametrize(
    ("role", "own"),
    [
        ((identity("github:web-flow#19864447"), Identity("email", "noreply@github.com")), True),
        ((identity("web-flow"),), True),  # of several forges, github.com is the policy's own
        ((identity("ghe.example.com:web-flow"), Identity("email", "noreply@mail.example.com")), True),
        ((identity("gitlab:web-flow"),), False),
        ((identity("github:alice"), Identity("email", "noreply@github.com")), False),
        ((Identity("email", ALICE),), False),
        ((), False),
    ],
)
def test_whether_a_role_is_the_forge_s_own(role: tuple[Identity, ...], *, own: bool) -> None:
    assert Forges({"code.example.net": "gitea", **HOSTS}).is_own(role) is own


def test_a_login_without_a_namespace_is_one_at_the_policy_s_own_forge() -> None:
    text = POLICY.replace("[alice]", "[alice, bob]").encode()
    at_gitlab = compile_policy(text + b"forges: {gitlab.com: gitlab}\n").people
    assert at_gitlab.is_same("alice", [identity("gitlab:bob")]) is False
    assert at_gitlab.is_same("alice", [identity("github:bob")]) is None
    assert at_gitlab.is_same("alice", [identity("gitlab:alice")]) is True
    assert compile_policy(text).people.is_same("alice", [identity("gitlab:bob")]) is None
    for two in (b"{gitlab.com: gitlab, github.com: github}", b"{github.com: github, gitlab.com: gitlab}"):
        at_github = compile_policy(text + b"forges: " + two + b"\n").people  # in whatever order
        assert at_github.is_same("alice", [identity("gitlab:bob")]) is None
        assert at_github.is_same("alice", [identity("github:bob")]) is False


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("forges: {https://ghe.example.com: github}", "named by its host"),
        ("forges: {GHE.example.com: github}", "named by its host"),
        ("forges: {ghe.example.com: svn}", "github or gitlab or gitea or forgejo"),
        ("unlisted: allow", "deny or attested"),
        ("actor_option: true", "adds or replaces"),
        ("automation: []", "a list of 1 to 500"),
        ("automation: [alice]", "stands for two people"),
        ("automation: ['a b']", "is nobody's login"),
        ("people: {NAME: {accounts: [x]}}", "NAME stands for the person"),
        ("people: {x: {accounts: ['github:#ID']}}", "is nobody's login"),
        ("people: {x: {emails: [x]}}", "is nobody's e-mail address"),
        ("people: {x: {accounts: ['github:bob#1']}, y: {accounts: ['github:bob2#1']}}", "stands for two people"),
    ],
)
def test_what_the_policy_refuses(more: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        compile_policy(f"{POLICY}{more}\n".encode())
    assert caught.value.message.startswith("Line ")
