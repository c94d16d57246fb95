"""Sessions: sealed with the session key, so that writing the state makes nobody anybody."""

from pathlib import Path

from gate.bot.keyring import Keyring
from gate.bot.sessions import LIFE, Sessions
from gate.bot.state.sqlite import SqliteState
from gate.models import Identity

NOW = 1_800_000_000
WHO = (Identity("email", "alice@example.com"),)


def begun(folder: Path, key: bytes = b"k" * 32) -> tuple[SqliteState, Sessions]:
    state = SqliteState(folder / "bot.db", "sqlite:bot.db")
    return state, Sessions(state, Keyring(key), lambda: NOW)


def test_a_session_is_its_cookie_s(tmp_path: Path) -> None:
    _, sessions = begun(tmp_path)
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", WHO)
    visitor = sessions.of(cookie)
    assert visitor
    assert (visitor.person, visitor.name, visitor.provider, visitor.identities) == (
        "alice@example.com", "Alice", "SSO", WHO
    )  # fmt: skip
    for other in ("", cookie[:-1], cookie + "x", "x" * 5000, "ä"):
        assert sessions.of(other) is None
    sessions.end(cookie)
    assert sessions.of(cookie) is None


def test_whoever_writes_the_state_is_nobody(tmp_path: Path) -> None:
    state, sessions = begun(tmp_path)
    alice = sessions.begin("alice@example.com", "Alice", "SSO", WHO)
    mallory = sessions.begin("mallory@example.com", "Mallory", "SSO", (Identity("email", "mallory@example.com"),))
    alices, mallorys = (sessions.of(cookie) for cookie in (alice, mallory))
    assert alices
    assert mallorys
    document = state.get("session", mallorys.session, NOW)
    theirs = state.get("session", alices.session, NOW)
    assert document
    assert theirs
    plain = {"person": "alice@example.com", "name": "Alice", "provider": "SSO", "identities": []}
    for value in (plain, theirs.value, {"sealed": str(theirs.value["sealed"])[:-1] + "A"}, {"sealed": 7}, {}):
        document = state.put(
            "session", mallorys.session, value, expires_at=NOW + LIFE, expected=document.version, now=NOW
        )
        assert document
        assert sessions.of(mallory) is None


def test_another_key_ends_every_session(tmp_path: Path) -> None:
    _, sessions = begun(tmp_path)
    cookie = sessions.begin("alice@example.com", "Alice", "SSO", WHO)
    assert begun(tmp_path, b"l" * 32)[1].of(cookie) is None
