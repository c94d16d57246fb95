"""One person, however the tools spell them; and what can't be told denies."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import Denied, PolicyError
from gate.identity import claims, identity
from gate.models import Commit, Identity
from gate.people import People, Person
from gate.policyfile import compile_policy
from gate.separation import separate_duties

ALICE, BOB = "alice@example.com", "bob@example.com"
ALIASES = [
    "alice@example.com",
    "ALICE@Example.COM",
    "alice",
    "Alice",
    "alice@home.example",
    "alice@users.noreply.github.com",
    "4711+alice@users.noreply.github.com",
    "4711+alice-before-she-married@users.noreply.github.com",
    "99+Alice@users.noreply.GitHub.com",
]
PEOPLE = People(
    {
        ALICE: Person("Alice", ("alice@home.example", "4711+alice@users.noreply.github.com")),
        "dave": Person(None, ("dave@example.com",)),
    },
    {ALICE, BOB, "carol"},
)


POLICY = """\
version: 1
replay: "memory:"
audit: file:audit
keys: [{alg: Ed25519, public_key: MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=, approvers: [alice]}]
environments: {production: {repositories: ["acme/*"], approvers: [alice]}}
"""


def commit(*roles: tuple[Identity, ...], sha: str = "a" * 40) -> Commit:
    return Commit(sha, roles)


def email(value: str) -> tuple[Identity, ...]:
    return (Identity("email", value),)


def login(value: str) -> tuple[Identity, ...]:
    return (Identity("login", value),)


def denial(approver: str, actors: tuple[str, ...], *commits: Commit) -> Denied:
    found = separate_duties(PEOPLE, approver, actors, commits)
    assert found is not None
    return found


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("approver", ALIASES[:5])
def test_every_alias_is_the_approver(approver: str, alias: str) -> None:
    assert PEOPLE.is_same(approver, [identity(alias)]) is True


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_has_one_canonical_name(alias: str) -> None:
    assert PEOPLE.canonical(alias) == ALICE


def test_a_stranger_s_canonical_name_is_their_own_in_lower_case() -> None:
    assert PEOPLE.canonical("Erin@Example.com") == "erin@example.com"


@pytest.mark.parametrize("other", ["bob@example.com", "BOB@EXAMPLE.COM", "carol", "dave", "dave@example.com"])
def test_somebody_else_whom_the_policy_knows_is_not_the_approver(other: str) -> None:
    assert PEOPLE.is_same(ALICE, [identity(other)]) is False


@pytest.mark.parametrize(
    "stranger",
    [
        "mallory",
        "github:mallory",
        "github:mallory#666",
        "1+mallory@users.noreply.github.com",
        "x@users.noreply.github.com",
        "dependabot[bot]",
        "github-actions[bot]",
        "jenkins:alice",
        "jenkins:carol",
        "gitlab:carol",
        "codebuild:carol",
        "alice@old-job.example",
    ],
)
@pytest.mark.parametrize("approver", [ALICE, BOB])
def test_a_name_that_the_policy_does_not_list_can_t_be_told(stranger: str, approver: str) -> None:
    """Alice may own it: a second account, a bot that does as she says, or her id at a CI."""
    assert PEOPLE.is_same(approver, [identity(stranger)]) is None


@pytest.mark.parametrize(
    ("who", "owner"),
    [
        (email("Alice@Example.com"), ALICE),
        (email("Alice@Home.example"), None),  # is there to attribute commits, and may be another's mailbox today
        (login("alice") + email("alice@home.example"), ALICE),
        (login("ALICE"), ALICE),
        (login("alice") + email("4711+alice@users.noreply.github.com"), ALICE),
        (login("github:renamed#4711"), ALICE),
        (login("github:alice#99"), None),  # the login is somebody else's now
        (login("alice") + email("99+alice@users.noreply.github.com"), None),
        (email("4711+alice@users.noreply.github.com"), None),  # nobody reads mail there
        (login("github:dave#99"), "dave"),
        (login("gitlab:dave"), None),
        (login("dependabot[bot]"), None),
        (login("alice") + email("dave@example.com"), None),
        (login("alice") + login("stranger"), ALICE),
        (email(BOB), BOB),
        (login("mallory"), None),
        (email("x@evil.example"), None),
        (login("web-flow"), None),
        ((), None),
    ],
)
def test_whose_account_that_is(who: tuple[Identity, ...], owner: str | None) -> None:
    assert PEOPLE.owner(who) == owner


def test_whether_an_approver_s_id_is_known() -> None:
    assert PEOPLE.has_id(ALICE)
    assert PEOPLE.has_id(ALICE, "github")
    assert not PEOPLE.has_id(ALICE, "gitlab")
    assert not PEOPLE.has_id("carol")


def test_one_alias_among_other_identities_is_enough() -> None:
    assert PEOPLE.is_same(ALICE, login("mallory") + email("alice@home.example")) is True
    assert PEOPLE.is_same(ALICE, email("unknown@example.org") + login("carol")) is False


def test_a_login_that_was_given_up_and_taken_proves_nothing() -> None:
    people = People({BOB: Person("bob", (), ("github:#22",))}, {ALICE})
    assert people.is_same(ALICE, login("bob")) is False
    assert people.is_same(ALICE, login("github:bob#22")) is False
    assert people.is_same(ALICE, login("github:robert#22")) is False  # renamed
    assert people.is_same(ALICE, login("github:bob#666")) is None
    assert people.is_same(ALICE, email("666+bob@users.noreply.github.com")) is None
    assert people.is_same(ALICE, login("github:bob#666") + email(BOB)) is None
    found = separate_duties(people, ALICE, ("github:bob#666",), [])
    assert found is not None
    assert "another id" in found.hint


def test_the_approver_who_renamed_their_login_is_known_by_the_id() -> None:
    assert PEOPLE.is_same(ALICE, login("github:alice2#4711")) is True
    assert PEOPLE.is_same(ALICE, email("4711+alice2@users.noreply.github.com")) is True


MACHINES = People(
    {ALICE: Person("alice", ())}, {ALICE}, automation=["dependabot[bot]", "codepipeline/shop", "release@example.com"]
)


@pytest.mark.parametrize(
    "machine",
    [
        "dependabot[bot]",
        "github:dependabot[bot]#49699333",
        "49699333+dependabot[bot]@users.noreply.github.com",
        "codebuild:codepipeline/shop",
        "release@example.com",
    ],
)
def test_listed_automation_is_no_person(machine: str) -> None:
    assert MACHINES.is_same(ALICE, [identity(machine)]) is False
    assert MACHINES.owner([identity(machine)]) is None


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        ("renovate[bot]", 'automation: ["renovate[bot]"]'),
        ("github:github-actions[bot]#41898282", 'automation: ["github:github-actions[bot]#41898282"]'),
        ("27856297+renovate[bot]@users.noreply.github.com",
         'automation: ["27856297+renovate[bot]@users.noreply.github.com"]'),
        ("codebuild:codepipeline/other", 'automation: ["codebuild:codepipeline/other"]'),
        ("rule/nightly", "automation: [rule/nightly]"),
    ],
)  # fmt: skip
def test_automation_that_is_not_listed_denies_and_says_what_to_add(machine: str, line: str) -> None:
    found = separate_duties(MACHINES, ALICE, (machine,), [])
    assert found is not None
    assert found.hint.endswith(line)


def test_automation_can_t_be_a_person_too() -> None:
    with pytest.raises(PolicyError, match="two people"):
        People({ALICE: Person("alice", ())}, set(), automation=["github:alice"])


ATTESTED = People(
    {ALICE: Person("alice", (), ("github:#4711",))}, {ALICE, BOB}, unlisted_attested=True, automation=["deployer"]
)


@pytest.mark.parametrize(
    ("who", "answer"),
    [
        (identity("github:mallory#666"), False),
        (identity("github:alice2#4711"), True),
        (identity("github:alice#666"), True),  # her login, whoever has it now
        (identity("github:mallory"), None),
        (identity("github:#666"), None),
        (identity("ghe.example.com:mallory#666"), None),  # where Alice may have another account
        (identity("gitlab:mallory#666"), None),
        (identity("github:github-actions[bot]#41898282"), None),
        (identity("github:Copilot#198982749"), None),
        (Identity("login", "github:mallory#666"), None),  # only said
        (Identity("email", "666+mallory@users.noreply.github.com"), None),
        (Identity("email", "mallory@example.com"), None),
        (identity("jenkins:mallory#666"), None),
    ],
)
def test_unlisted_attested(who: Identity, answer: bool | None) -> None:
    assert ATTESTED.is_same(ALICE, [who]) is answer
    bob = ATTESTED.is_same(BOB, [who])  # whose id is not known
    assert bob is (False if answer and not who.value.endswith("#666") else None)


def test_unlisted_attested_asks_for_the_approver_s_own_id() -> None:
    found = separate_duties(ATTESTED, BOB, ("github:mallory#666",), [])
    assert found is not None
    assert found.hint.endswith('people: {bob@example.com: {accounts: ["github:#ID"]}}')


def test_what_only_the_caller_says_attests_nothing() -> None:
    assert claims("github:mallory#666") == ("github:mallory", "github:#666")
    assert separate_duties(ATTESTED, ALICE, ("github:mallory#666",), []) is None
    assert separate_duties(ATTESTED, ALICE, claims("github:mallory#666"), []) is not None


@pytest.mark.parametrize(
    "who",
    [
        Identity("email", ""),
        Identity("email", "alice"),
        Identity("email", "a@b@c"),
        Identity("email", "x\n@example.com"),
        Identity("login", ""),
        Identity("login", "mallory "),
        Identity("login", "mall\u202eory"),
        Identity("login", "ali\u212ae"),
        Identity("login", "web-flow"),
        Identity("email", "noreply@github.com"),
    ],
)
def test_an_unusable_identity_is_never_somebody_else(who: Identity) -> None:
    assert PEOPLE.is_same(ALICE, [who]) is None


def test_only_ascii_case_is_folded() -> None:
    people = People({"kim": Person(None, ())}, set())
    assert people.canonical("KIM") == "kim"
    assert people.canonical("\u212aIM") == "\u212aim"  # KELVIN SIGN: str.lower() makes a k of it


@pytest.mark.parametrize(
    ("people", "approvers"),
    [
        ({ALICE: Person("alice", ()), BOB: Person("ALICE", ())}, set()),
        ({ALICE: Person(None, ("x@y.z",)), BOB: Person(None, ("X@Y.Z",))}, set()),
        ({ALICE: Person("alice", ()), BOB: Person(None, ("alice@users.noreply.github.com",))}, set()),
        (
            {
                ALICE: Person(None, ("7+a@users.noreply.github.com",)),
                BOB: Person(None, ("7+b@users.noreply.github.com",)),
            },
            set(),
        ),
        ({ALICE: Person("alice", ()), "alice": Person(None, ())}, set()),
        ({ALICE: Person(None, ()), ALICE.upper(): Person(None, ())}, set()),
        ({ALICE: Person(None, ("1+x@users.noreply.github.com",)), "bob": Person(None, ())},
         {"1+bob@users.noreply.github.com"}),
    ],
)  # fmt: skip
def test_an_alias_of_two_people_is_an_error(people: dict[str, Person], approvers: set[str]) -> None:
    with pytest.raises(PolicyError, match="two people"):
        People(people, approvers)


@pytest.mark.parametrize(
    "person",
    [
        Person("alice@example.com", ()),
        Person("web-flow", ()),
        Person(None, ("alice",)),
        Person(None, ("noreply@github.com",)),
        Person("a b", ()),
    ],
)
def test_what_can_be_nobody_s_alias_is_an_error(person: Person) -> None:
    with pytest.raises(PolicyError, match="nobody's"):
        People({BOB: person}, set())


def test_an_approver_may_be_named_by_any_alias() -> None:
    people = People({ALICE: Person("alice", ())}, {ALICE, "ALICE", "alice@users.noreply.github.com"})
    assert {people.canonical(name) for name in ("alice", ALICE, "Alice")} == {ALICE}


def test_duties_are_separate_where_everybody_is_somebody_else() -> None:
    commits = [commit(email("dave@example.com"), login("carol")), commit(login("dave"))]
    assert separate_duties(PEOPLE, ALICE, ("carol", "dave"), commits) is None
    assert separate_duties(PEOPLE, ALICE, ("carol",), []) is None


def test_an_unknown_actor_denies() -> None:
    found = denial(ALICE, ())
    assert found.reason == "approver.is_actor"
    assert "--actor" in found.hint


@pytest.mark.parametrize("actors", [("Alice",), ("carol", "alice"), ("alice@home.example",)])
def test_the_actor_can_t_approve(actors: tuple[str, ...]) -> None:
    found = denial(ALICE, actors, commit(login("dave")))
    assert found.reason == "approver.is_actor"
    assert "also triggered" in found.message
    assert found.expected
    assert found.actual == actors[-1]


@pytest.mark.parametrize("actor", ["", "dev@example.org", "a b"])
def test_an_actor_who_can_t_be_told_denies(actor: str) -> None:
    assert denial(ALICE, (actor,)).reason == "approver.is_actor"


@pytest.mark.parametrize(
    ("actor", "line"),
    [
        ("mallory", "people: {NAME: {accounts: [mallory]}}"),
        ("github:mallory#666", 'people: {NAME: {accounts: ["github:mallory#666"]}}'),
        ("jenkins:CORP\\bob", 'people: {NAME: {accounts: ["jenkins:CORP\\\\bob"]}}'),
        ("jenkins:bob builder", 'people: {NAME: {accounts: ["jenkins:bob builder"]}}'),
        ("bob@m\xfcller.example", 'people: {NAME: {emails: ["bob@m\\xfcller.example"]}}'),
    ],
)
def test_an_actor_who_is_not_listed_denies_and_says_what_to_add(actor: str, line: str) -> None:
    found = denial(BOB, (actor,))
    assert found.reason == "approver.is_actor"
    assert found.hint.endswith(line)


@pytest.mark.parametrize("actor", ["CORP\\bob", "bob builder", "a#b"])
def test_a_login_of_no_forge_needs_its_namespace(actor: str) -> None:
    assert "jenkins:NAME" in denial(BOB, (actor,)).hint


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_approver_with_a_hand_in_any_role_can_t_approve(place: int) -> None:
    roles = [login("dave"), login("carol"), email("dave@example.com")]
    roles[place] = email("4711+old@users.noreply.github.com")
    found = denial(ALICE, ("carol",), commit(login("dave"), sha="b" * 40), commit(*roles, sha="c" * 40))
    assert found.reason == "approver.is_author"
    assert "cccccccccccc" in found.message
    assert "also had a hand" in found.message


def test_an_unknown_author_denies_and_says_what_to_add() -> None:
    found = denial(ALICE, ("carol",), commit(email("erin@example.org")))
    assert found.reason == "approver.is_author"
    assert "people: {NAME: {emails: [erin@example.org]}}" in found.hint


def test_a_hostile_address_does_not_get_into_the_snippet_or_the_terminal() -> None:
    hostile = "x@y]},\x1b[2J\u202ealice@example.com: {emails: [evil@example.org"
    found = denial(ALICE, ("carol",), commit(email(hostile)))
    shown = " ".join((found.message, found.hint, found.expected, found.actual))
    assert "evil" not in found.hint
    odd = denial(ALICE, ("carol",), commit(email('"x@y]},alice:{emails:[z')))
    entry = odd.hint.partition("who that is: ")[2].replace("NAME", "erin")
    policy = compile_policy(f"{POLICY}{entry}\n".encode())
    assert policy.people.is_same(ALICE, email('"x@y]},alice:{emails:[z')) is False
    assert policy.people.is_same(ALICE, email("z")) is None
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("role", [(), (Identity("email", ""),), (Identity("login", "web-flow"),)])
def test_an_author_without_a_name_denies(role: tuple[Identity, ...]) -> None:
    assert denial(ALICE, ("carol",), commit(role)).reason == "approver.is_author"


def test_a_commit_without_anybody_denies() -> None:
    assert denial(ALICE, ("carol",), commit()).reason == "approver.is_author"


_names = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=8)
_mails = st.builds("{}@{}.example".format, _names, _names)
_noreply = st.builds("{}+{}@users.noreply.github.com".format, st.integers(0, 99), _names)
_people = st.dictionaries(
    st.one_of(_mails, _names),
    st.builds(Person, st.none() | _names, st.lists(_mails | _noreply, max_size=3).map(tuple)),
    max_size=4,
)
_anything = st.builds(Identity, st.sampled_from(["email", "login"]), st.text(max_size=12) | _mails | _names | _noreply)


@settings(deadline=None)
@given(_people, st.data())
def test_an_alias_of_the_approver_is_never_somebody_else(people: dict[str, Person], data: st.DataObject) -> None:
    try:
        known = People(people, set())
    except PolicyError:
        return
    for name, person in people.items():
        aliases = [identity(name), *(Identity("email", mail) for mail in person.emails)]
        aliases += [Identity("login", person.github)] if person.github else []
        approver = data.draw(st.sampled_from(aliases)).value
        alias = data.draw(st.sampled_from(aliases))
        others = data.draw(st.lists(_anything, max_size=3))
        shouted = Identity(alias.kind, alias.value.swapcase())
        assert known.is_same(approver, [*others, shouted]) is True
        assert known.canonical(approver) == known.canonical(alias.value)


@settings(deadline=None)
@given(_people, _mails | _names, st.lists(_anything, max_size=3))
def test_whatever_comes_in_there_is_an_answer(
    people: dict[str, Person], approver: str, identities: list[Identity]
) -> None:
    try:
        known = People(people, {approver})
    except PolicyError:
        return
    assert known.is_same(approver, identities) in (True, False, None)
    found = separate_duties(known, approver, [who.value for who in identities], [commit(tuple(identities))])
    assert found is None or (found.message.isprintable() and found.hint.isprintable() and found.actual.isprintable())
