"""One person, however the tools spell them; and what can't be told denies."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import Denied, PolicyError
from gate.models import Commit, Identity
from gate.people import People, Person, identity, is_forge, separate_duties

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


def test_two_logins_are_two_people() -> None:
    assert PEOPLE.is_same(ALICE, login("mallory")) is False
    assert PEOPLE.is_same(ALICE, email("1+mallory@users.noreply.github.com")) is False
    assert PEOPLE.is_same(ALICE, login("dependabot[bot]")) is False


def test_an_unknown_address_can_t_be_told() -> None:
    assert PEOPLE.is_same(ALICE, email("alice@old-job.example")) is None


def test_a_login_can_t_be_told_from_an_approver_without_one() -> None:
    assert PEOPLE.is_same(BOB, login("mallory")) is None


@pytest.mark.parametrize(
    ("who", "owner"),
    [
        (email("Alice@Example.com"), ALICE),
        (email("Alice@Home.example"), None),  # is there to attribute commits, and may be another's mailbox today
        (login("alice") + email("alice@home.example"), ALICE),
        (login("ALICE"), ALICE),
        (login("alice") + email("4711+alice@users.noreply.github.com"), ALICE),
        (login("renamed") + email("4711+renamed@users.noreply.github.com"), ALICE),
        (login("alice") + email("99+alice@users.noreply.github.com"), None),  # the login is somebody else's now
        (login("dave") + email("99+dave@users.noreply.github.com"), "dave"),
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


def test_whether_an_approver_s_login_is_known() -> None:
    assert PEOPLE.has_login(ALICE)
    assert PEOPLE.has_login("carol")
    assert not PEOPLE.has_login(BOB)


def test_one_alias_among_other_identities_is_enough() -> None:
    assert PEOPLE.is_same(ALICE, login("mallory") + email("alice@home.example")) is True
    assert PEOPLE.is_same(ALICE, email("unknown@example.org") + login("mallory")) is False


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
    commits = [commit(email("dave@example.com"), login("carol")), commit(login("mallory"))]
    assert separate_duties(PEOPLE, ALICE, ("carol", "mallory"), commits) is None
    assert separate_duties(PEOPLE, ALICE, ("carol",), []) is None


def test_an_unknown_actor_denies() -> None:
    found = denial(ALICE, ())
    assert found.reason == "approver.is_actor"
    assert "--actor" in found.hint


@pytest.mark.parametrize("actors", [("Alice",), ("carol", "alice"), ("alice@home.example",)])
def test_the_actor_can_t_approve(actors: tuple[str, ...]) -> None:
    found = denial(ALICE, actors, commit(login("mallory")))
    assert found.reason == "approver.is_actor"
    assert "also triggered" in found.message
    assert found.expected
    assert found.actual == actors[-1]


@pytest.mark.parametrize("actor", ["", "dev@example.org", "a b"])
def test_an_actor_who_can_t_be_told_denies(actor: str) -> None:
    assert denial(ALICE, (actor,)).reason == "approver.is_actor"


def test_an_actor_s_login_needs_one_of_the_approver() -> None:
    found = denial(BOB, ("mallory",))
    assert found.reason == "approver.is_actor"
    assert "people: {bob@example.com: {github: LOGIN}}" in found.hint


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_approver_with_a_hand_in_any_role_can_t_approve(place: int) -> None:
    roles = [login("mallory"), login("carol"), email("dave@example.com")]
    roles[place] = email("4711+old@users.noreply.github.com")
    found = denial(ALICE, ("carol",), commit(login("mallory"), sha="b" * 40), commit(*roles, sha="c" * 40))
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
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("role", [(), (Identity("email", ""),), (Identity("login", "web-flow"),)])
def test_an_author_without_a_name_denies(role: tuple[Identity, ...]) -> None:
    assert denial(ALICE, ("carol",), commit(role)).reason == "approver.is_author"


def test_a_commit_without_anybody_denies() -> None:
    assert denial(ALICE, ("carol",), commit()).reason == "approver.is_author"


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (login("web-flow"), True),
        (email("noreply@GitHub.com"), True),
        (login("web-flow") + email("noreply@ghe.example.com"), True),
        (login("web-flow") + email("noreply@github.com"), True),
        (login("alice") + email("noreply@github.com"), False),
        (email("alice@example.com"), False),
        ((), False),
    ],
)
def test_the_forge_as_a_committer(role: tuple[Identity, ...], *, expected: bool) -> None:
    assert is_forge(role) is expected


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
