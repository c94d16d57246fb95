"""The small parts: keyring, sessions, limits, views, facts, logbook."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate.bot import facts as facts_module
from gate.bot.dev import open_trial
from gate.bot.errors import NotProved, TooMany, Unavailable
from gate.bot.facts import Lookup
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits, block
from gate.bot.logbook import Logbook
from gate.bot.logs import JsonFormatter
from gate.bot.request import Given
from gate.bot.sessions import LIFE, Sessions
from gate.bot.site import local_path
from gate.bot.views import Views, asset_url, assets, shown, within
from gate.errors import AuditUnavailable, Denied, UsageError
from gate.models import Commit, Identity
from tests.bot.office import Office, Wrapped, office
from tests.world import NOW, SHA, World

KEY = b"a session key of the tests, long enough"
ALICE = (Identity("email", "alice@example.com"),)


# --- keyring ----------------------------------------------------------------------------------------------------------


def test_nothing_that_the_keyring_makes_is_good_for_anything_else() -> None:
    ring = Keyring(KEY)
    made = [
        ring.derive(*parts)
        for parts in [
            ("a", "b", "c"),
            ("a", "bc"),
            ("a", "b,c"),
            ("a", "", "bc"),
            ("ab", "c"),
            ("a", "1:b,1:c"),
            ("a",),
        ]
    ]
    assert len(set(made)) == len(made)
    assert all(len(one) == 32 for one in made)
    assert Keyring(KEY).derive("a", "b") == ring.derive("a", "b") != Keyring(KEY + b"x").derive("a", "b")
    assert ring.matches(ring.derive("a", "b"), "a", "b")
    for wrong in ("", "x", ring.derive("b", "b"), ring.derive("a", "b") + "x", "\ud800", "ü"):
        assert not ring.matches(wrong, "a", "b")


def test_what_is_sealed_is_read_for_its_purpose_by_its_key_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(KEY)
    sealed = ring.seal("sign-in", {"a": "b"}, until=NOW + 10)
    assert ring.unseal("sign-in", sealed, now=NOW) == {"a": "b"}
    assert ring.unseal("other", sealed, now=NOW) is None
    assert Keyring(KEY + b"x").unseal("sign-in", sealed, now=NOW) is None
    for damaged in ("", "x", sealed[:-1], sealed + "x", "\ud800", sealed.replace(".", "..", 1)):
        assert ring.unseal("sign-in", damaged, now=NOW) is None
    assert ring.unseal("sign-in", sealed, now=NOW + 10) is None
    assert ring.unseal("sign-in", sealed, now=NOW - 99)  # another bot's clock was ahead
    assert ring.unseal("sign-in", ring._serializer("sign-in").dumps([1]), now=NOW) is None


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    return office(tmp_path)


@pytest.fixture
def sessions(desk: Office) -> Sessions:
    return Sessions(desk.state, desk.keyring, desk.clock)


def test_a_session_is_somebody_s_for_four_hours(desk: Office, sessions: Sessions) -> None:
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", ALICE)
    visitor = sessions.of(cookie)
    assert visitor is not None
    assert (visitor.person, visitor.name, visitor.provider, visitor.identities) == (
        "alice@example.com", "Alice", "SSO", ALICE)  # fmt: skip
    desk.later(LIFE - 1)
    assert sessions.of(cookie) == visitor
    desk.later(1)
    assert sessions.of(cookie) is None
    for other in ("", "x", "x" * 101, "\ud800"):
        assert sessions.of(other) is None


def test_a_state_that_leaks_gives_nobody_a_session(desk: Office, sessions: Sessions) -> None:
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", ALICE)
    [document] = desk.state.list("session", NOW)
    assert cookie not in document.key + str(document.value)
    assert sessions.of(document.key) is None


def test_a_session_that_ends_is_over(sessions: Sessions) -> None:
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", ALICE)
    sessions.end(cookie)
    assert sessions.of(cookie) is None
    sessions.end(cookie)


def test_forms_are_of_one_session(sessions: Sessions) -> None:
    one, other = (sessions.of(sessions.begin("alice@example.com", "A", "SSO", ALICE)) for _ in range(2))
    assert one and other
    sessions.check_csrf(one, sessions.csrf(one))
    for wrong in ("", sessions.csrf(other), one.session):
        with pytest.raises(NotProved):
            sessions.check_csrf(one, wrong)


@pytest.mark.parametrize(
    "value", [{}, {"person": "x"}, {"person": "x", "name": "x", "provider": "x", "identities": [["a"]]}, {"x": 1}]
)
def test_a_session_of_another_version_is_unavailable(desk: Office, sessions: Sessions, value: dict[str, Any]) -> None:
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", ALICE)
    [document] = desk.state.list("session", NOW)
    sealed = {"sealed": desk.keyring.seal(f"session {document.key}", value, until=2**40)}
    desk.state.put("session", document.key, sealed, expires_at=2**40, expected=1, now=NOW)
    with pytest.raises(Unavailable):
        sessions.of(cookie)


def test_where_it_can_t_be_begun_nobody_is_signed_in(desk: Office) -> None:
    class Full(Wrapped):
        def put(self, *_: Any, **__: Any) -> None:
            """Somebody else's."""

    with pytest.raises(Unavailable):
        Sessions(Full(desk.state), desk.keyring, desk.clock).begin("a", "a", "a", ALICE)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_are_for_each_thing_and_each_address() -> None:
    limits = Limits()
    for _ in range(60):
        assert limits.allows("poll refused", "a")
    with pytest.raises(TooMany):
        limits.hit("poll refused", "a")
    assert not limits.allows("poll refused", "a")
    limits.hit("poll refused", "b")
    limits.hit("sign in failed", "a")


def test_failures_of_a_neighbour_stop_nobody_who_succeeds() -> None:
    limits = Limits()
    for number in range(70):
        with pytest.raises(TooMany if number >= 60 else NotProved), limits.of_failures("poll refused", "a"):
            raise NotProved("no")
    with limits.of_failures("poll refused", "a"):
        pass
    with pytest.raises(Unavailable), limits.of_failures("poll refused", "a"):
        raise Unavailable("down")


def test_a_trial_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("the real one")
    with pytest.raises(UsageError, match=r"has a gate\.yaml"):
        open_trial(tmp_path, "http://localhost:8765")
    assert [path.name for path in tmp_path.iterdir()] == ["gate.yaml"]
    first = open_trial(tmp_path / "trial", "http://localhost:8765")
    assert open_trial(tmp_path / "trial", "http://localhost:8765") == first
    with pytest.raises(UsageError, match="another port"):
        open_trial(tmp_path / "trial", "http://localhost:8766")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_is_one_address(address: str, counted: str) -> None:
    assert block(address) == counted


# --- views ------------------------------------------------------------------------------------------------------------


def test_times_in_words() -> None:
    assert [within(seconds) for seconds in (0, 1, 59, 60, 3600, 90000, -1, -7200)] == [
        "just now", "in 1 second", "in 59 seconds", "in 1 minute", "in 1 hour", "in 1 day", "1 second ago",
        "2 hours ago"]  # fmt: skip


def test_text_of_others_is_escaped_and_printable() -> None:
    assert shown("\u202ex\n") == "\\u202ex\\n"
    assert shown("x" * 10, 5) == "xxxx…"
    page = Views().page(
        "error.html", 404, visitor=None, csrf="", dev=False, heading="<b>", message="<script>", hint="", expected="",
        actual="", back="/", back_label="Back", request_id="x")  # fmt: skip
    assert b"<script>" not in page.body
    assert b"&lt;script&gt;" in bytes(page.body)


def test_assets_have_addresses_of_their_own() -> None:
    assert set(assets()) >= {"app.css", "passkey.js", "icon.svg"}
    assert asset_url("app.css") == f"/static/app.css?v={assets()['app.css'].version}"


@pytest.mark.parametrize(
    ("path", "local"),
    [("/", "/"), ("", "/"), ("/requests/a-b_9", "/requests/a-b_9"), ("/passkeys", "/passkeys"),
     ("/history", "/history"), ("/history/", "/"), ("//x", "/"), ("/requests/a/b", "/"), ("/requests/", "/"),
     ("/history\n", "/"), ("x", "/")],
)  # fmt: skip
def test_only_our_own_pages_are_led_to(path: str, local: str) -> None:
    assert local_path(path) == local


# --- facts ------------------------------------------------------------------------------------------------------------


class History:
    """A forge that has these commits."""

    def __init__(self, commits: list[Commit], trouble: Exception | None = None) -> None:
        self.made = commits
        self.trouble = trouble

    def commits(self, repository: str, bases: Iterator[str], sha: str) -> list[Commit]:
        if self.trouble:
            raise self.trouble
        list(bases)
        return self.made


def looked_up(folder: Path, history: Any) -> Any:
    world = World(folder)
    return Lookup(lambda _: history).facts(world.deployment(), "github", world.loaded())


def test_facts_are_what_people_read_before_they_say_yes(tmp_path: Path) -> None:
    dave, eve = (Identity("login", "dave"),), (Identity("email", "eve@example.com"),)
    older, newer = Commit("0" * 40, (dave,), "Older\n\nbody"), Commit(SHA, (dave, eve, ()), "  Newer \u202e\nx")
    for order in ([older, newer], [newer, older]):
        found = _in(tmp_path, order)
        assert [line.sha for line in found.commits] == [SHA, "0" * 40]
        assert found.commits[0].title.startswith("Newer")
        assert "\u202e" not in found.commits[0].title
        assert [line.message for line in found.commits] == ["x", ""]
        assert found.commits[0].people == "dave, eve@example.com, somebody without a name"
        assert {role for _, role in found.roles} == {(("login", "dave"),), (("email", "eve@example.com"),), ()}
        assert (found.total, found.base, found.trouble) == (2, "", "")
        assert found.diff_url == f"https://github.com/acme/shop/commit/{SHA}"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Title\n\nOne.\n\n\n\n\nTwo.\n   \n\t\n\n", "One.\n\nTwo."),
        ("Title\n" + "\n" * 1900 + "Three.", "Three."),
        ("Title\n\n" + "x\n" * 60, "x\n" * 40 + "…"),
        ("Title\n\n\u3164\n\u3164", "\\u3164\n\\u3164"),
        ("Title\n\nHarmless." + "\n" * 1600 + "BREAKING", "Harmless.\n\nBREAKING"),
        ("Title\n\nHarmless." + "\n" * 30_000 + "BREAKING", "Harmless.\n\n…"),
        ("Title\n\nHarmless." + " " * 1600 + "\nBREAKING", "Harmless.\nBREAKING"),
        ("Title\n\n" + "\u3164" * 1000, "\\u3164" * 200 + "\n…"),
    ],
)
def test_a_message_pushes_nothing_out_of_sight(tmp_path: Path, told: str, shown: str) -> None:
    [line] = _in(tmp_path, [Commit(SHA, (), told)]).commits
    assert (line.title, line.message) == ("Title", shown)


def test_a_title_that_is_cut_says_so(tmp_path: Path) -> None:
    [line] = _in(tmp_path, [Commit(SHA, (), "\u200b" * 45 + "DROPS PRODUCTION")]).commits
    assert line.title.endswith("…")


def _in(tmp_path: Path, order: list[Commit]) -> Any:
    folder = tmp_path / order[0].sha
    folder.mkdir(exist_ok=True)
    return looked_up(folder, History(order))


def test_the_difference_is_from_what_was_allowed_last(tmp_path: Path) -> None:
    world = World(tmp_path)
    base = "0" * 40
    assert world.gate().check([world.token(sha=base)], world.deployment(sha=base)).allowed
    found = Lookup(lambda _: History([Commit(SHA, (), "x")]), "https://ghe.example.com").facts(  # type: ignore[arg-type]
        world.deployment(), "github", world.loaded()
    )
    assert (found.base, found.diff_url) == (base, f"https://ghe.example.com/acme/shop/compare/{base}...{SHA}")


def test_a_forge_that_is_down_is_said(tmp_path: Path) -> None:
    assert looked_up(tmp_path, History([], Denied("approver.is_author", "The forge is away."))).trouble == (
        "The forge is away.")  # fmt: skip


def test_asking_again_is_offered_where_it_may_help(desk: Office) -> None:
    request = desk.ask().request
    assert not desk.intake.can_look_up(request), "the bot has nobody to ask"
    desk.intake._lookup = Lookup(lambda _: History([], Denied("approver.is_author", "The forge is away.")))
    away = desk.ask(run_id="8").request
    assert desk.intake.can_look_up(away)
    assert not desk.intake.can_look_up(replace(away, forge="gitlab"))
    desk.intake._lookup = Lookup(lambda _: History([]))
    assert not desk.intake.can_look_up(desk.ask(run_id="9").request), "it is known"


@pytest.mark.parametrize("name", ["x" * 2000, "😀" * 200, "\ud800" * 500])
def test_nobody_s_long_names_keep_a_request_from_being_written(desk: Office, name: str) -> None:
    roles = tuple((Identity("email", f"{number}{name}"),) for number in range(900))
    history = History([Commit(SHA, roles, "y" * 500_000)])
    desk.intake._lookup = Lookup(lambda _: history)
    found = desk.ask().request.facts
    assert found is not None
    assert "More people" in found.trouble
    assert (found.total, len(found.commits), found.roles) == (1, 1, ())
    assert found.diff_url.endswith(f"/commit/{SHA}"), "what there is to read is there"


def test_one_commit_of_many_people_is_one_line(desk: Office) -> None:
    roles = tuple((Identity("email", f"engineer{number}@example.com"),) for number in range(900))
    desk.intake._lookup = Lookup(lambda _: History([Commit(SHA, roles, "y" * 500_000)]))
    found = desk.ask().request.facts
    assert found and len(found.roles) == 900
    assert len(found.commits[0].people) <= 300


def test_no_commits_are_in_order() -> None:
    assert facts_module.sorted_newest_first([], SHA) == []


# --- logbook ----------------------------------------------------------------------------------------------------------


def test_the_logbook_keeps_what_people_did(desk: Office) -> None:
    book = Logbook(desk.stores, desk.clock)
    given = Given("alice@example.com", "alice@example.com", "a.b.c", 1, 2, "why\n\u202e", passkey=True)
    book.approved(desk.world.deployment(), given)
    book.enrolled("alice@example.com", "id\n")
    book.sign_in_failed("\u202e" * 500, "\u202e" * 5000)
    [record] = desk.records()
    assert record.message == "with a passkey: why\\n\\u202e"
    assert record.at == NOW


def test_a_log_that_is_down_is_said(desk: Office) -> None:
    def fails() -> Any:
        raise AuditUnavailable("The log is down.")

    with pytest.raises(Unavailable, match="does not count: The log is down"):
        Logbook(fails, desk.clock).enrolled("a", "b")


def test_logs_tell_only_what_they_know() -> None:
    record = logging.LogRecord("gate", logging.INFO, "x.py", 1, "said %s", ("so\n",), None)
    record.status, record.secret = 200, "a secret"
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert '"status": 200' in text
    assert "a secret" not in text
