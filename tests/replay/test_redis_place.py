"""Redis: its URI, TLS, users and passwords."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gate.errors import ReplayUnavailable, UsageError
from gate.installation import install_command
from gate.models import Head
from gate.replay import Replayed, ReplayStore, open_replay_store, redislink
from gate.replay import redis as backend_module
from gate.replay.redisplace import Place, parse_place
from gate.uris import parse_uri
from tests.redisserver import SAFE, RedisServer, running_redis
from tests.replay import certificates
from tests.replay.material import ROOT, STREAM, use

SECRET = "correct-horse"


def _blocks(store: ReplayStore) -> str:
    with pytest.raises(ReplayUnavailable) as caught:
        store.consume([use("jti-1", "mine")])
    (finding, *_) = store.diagnose()
    assert (finding.severity, finding.message, finding.fix) == ("error", str(caught.value), caught.value.hint)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    return str(caught.value)


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that speaks TLS alone, as localhost."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder, "localhost")
    with running_redis(folder, *SAFE, *_tls_options(folder)) as server:
        yield server


def _tls_options(folder: Path) -> list[str]:
    files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    named = [word for name, file in files.items() for word in (f"--tls-{name}-file", str(folder / file))]
    return [*named, "--tls-auth-clients", "no"]


def test_a_server_proves_its_name_by_its_ca(tls: RedisServer) -> None:
    store = open_replay_store(f"rediss://localhost:{tls.port}/1?ca=ca.pem", tls.folder)
    store.consume([use("jti-1", "mine")])
    with pytest.raises(Replayed):
        store.consume([use("jti-1", "theirs")])


@pytest.mark.parametrize("query", ["", "?ca=other.pem"])
def test_a_server_of_an_unknown_ca_blocks(tls: RedisServer, query: str) -> None:
    store = open_replay_store(f"rediss://localhost:{tls.port}{query}", tls.folder)
    assert "does not prove that it is the server that its URI names" in _blocks(store)


def test_a_named_ca_is_the_only_one(tls: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.folder / "ca.pem"))  # what the system trusts
    open_replay_store(f"rediss://localhost:{tls.port}/2", None).consume([use("jti-1", "mine")])
    store = open_replay_store(f"rediss://localhost:{tls.port}/2?ca=other.pem", tls.folder)
    assert "does not prove that it is the server that its URI names" in _blocks(store)


def test_a_server_of_another_name_blocks(tls: RedisServer) -> None:
    store = open_replay_store(f"rediss://127.0.0.1:{tls.port}?ca=ca.pem", tls.folder)
    assert "does not prove that it is the server that its URI names" in _blocks(store)


def test_tls_to_a_server_without_it_blocks_and_the_other_way_round(
    tls: RedisServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redislink, "ANSWER_SECONDS", 0.05)
    assert "can't be reached" in _blocks(open_replay_store(f"rediss://{redis_server.place}", None))
    assert "can't be reached" in _blocks(open_replay_store(f"redis://{tls.place}", None))


@pytest.mark.parametrize(("text", "why"), [(None, "No such file or directory"), ("x", "not PEM"), ("", "not PEM")])
def test_a_ca_file_that_is_none_blocks(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    message = _blocks(open_replay_store("rediss://localhost?ca=ca.pem&password_file=none", tmp_path))
    assert message.startswith("The password file of the replay store rediss://localhost:6379/0 can't be read")
    message = _blocks(open_replay_store("rediss://127.0.0.1?ca=ca.pem", tmp_path))
    assert message == f"The CA file of the replay store rediss://127.0.0.1:6379/0 can't be read ({why})."


# Users


def _documented() -> dict[str, list[str]]:
    """The rules of each user that the documentation asks for."""
    lines = [line.split() for line in (ROOT / "docs/operations.md").read_text().splitlines()]
    return {words[1]: words[2:] for words in lines if words[:1] == ["user"]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with the users that the documentation asks for, eve, and a default one with a password."""
    with running_redis(tmp_path_factory.mktemp("guarded"), *SAFE) as server:
        unknown = set() if server.confirms_disk else {"+waitaof"}
        users = _documented() | {"eve": ["on", "#SHA256", "~{deploy-gate}*", "+info"]}
        del users["default"]
        for name, rules in [*users.items(), ("default", ["#SHA256"])]:  # the last: it is whom we speak as
            mine = [f">{SECRET}" if rule == "#SHA256" else rule for rule in rules if rule not in unknown]
            server.command("ACL", "SETUSER", name, *mine)
        yield server


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    return path


def test_the_users_that_are_documented_can_do_what_they_must(guarded: RedisServer, password: Path) -> None:
    def as_user(name: str) -> ReplayStore:
        return open_replay_store(f"redis://{name}@{guarded.place}/1?password_file=password", password.parent)

    as_user("gate").consume([use("jti-1", "mine"), use("jti-2", "mine")])
    assert as_user("gate").advance(STREAM, Head(1, b"one", written=False), 0)
    as_user("gate").settle(STREAM, 1)
    for name in ("gate", "auditor", "doctor"):
        assert as_user(name).head(STREAM) == Head(1, b"one", written=True)
    for name in ("auditor", "doctor"):
        assert len(list(as_user(name).consumed())) == 2
        assert list(as_user(name).heads()) == [STREAM]
    with pytest.raises(ReplayUnavailable, match="does not let this user"):
        as_user("auditor").consume([use("jti-3", "mine")])
    assert [finding.severity for finding in as_user("doctor").diagnose()] == ["ok"]


def test_the_backend_says_what_the_documentation_grants() -> None:
    said = [set(re.findall(r"\+[\w|]+", line)) for line in (backend_module.__doc__ or "").splitlines() if "- " in line]
    users = {name: {rule for rule in rules if rule[0] == "+"} for name, rules in _documented().items()}
    assert (users["gate"], users["auditor"], users["doctor"]) == (said[0], said[1], said[1] | said[2])


@pytest.mark.parametrize(
    ("user", "said"), [("", ""), ("", SECRET), ("gate", "wrong"), ("nobody", SECRET), ("gate", "")]
)
def test_a_wrong_password_blocks(guarded: RedisServer, password: Path, user: str, said: str) -> None:
    password.write_text(said)
    store = open_replay_store(f"redis://{user}@{guarded.place}?password_file={password}", None)
    if (user, said) == ("", SECRET):
        store.consume([use("jti-default", "mine")])
    else:
        assert "does not accept this user and password" in _blocks(store)


def test_a_user_who_may_not_blocks(guarded: RedisServer, password: Path) -> None:
    store = open_replay_store(f"redis://eve@{guarded.place}?password_file={password}", None)
    with pytest.raises(ReplayUnavailable, match="does not let this user do what the gate needs"):
        store.consume([use("jti-1", "mine")])


def test_a_password_may_change_while_the_gate_runs(guarded: RedisServer, password: Path) -> None:
    store = open_replay_store(f"redis://doctor@{guarded.place}?password_file={password}", None)
    password.write_text("not yet")
    _blocks(store)
    password.write_text(SECRET)
    store.head(STREAM)


def test_a_password_file_that_is_not_private_blocks(tmp_path: Path, password: Path) -> None:
    store = open_replay_store(f"redis://127.0.0.1?password_file={password}", None)
    for mode in (0o640, 0o604, 0o620):
        password.chmod(mode)
        assert "is no file that its owner alone may read" in _blocks(store)
    password.chmod(0o600)
    password.write_bytes(b"\xff")
    assert "holds no text" in _blocks(store)
    password.unlink()
    assert "can't be read (No such file or directory)" in _blocks(store)
    subprocess.run(["mkfifo", "-m", "600", str(password)], check=True)
    assert "is no file that its owner alone may read" in _blocks(store)


# Its URI


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("redis://h", Place("h", 6379, 0, tls=False)),
        ("redis://h/", Place("h", 6379, 0, tls=False)),
        ("REDISS://H.example:7000/12", Place("h.example", 7000, 12, tls=True)),
        ("redis://[::1]:7000/1", Place("::1", 7000, 1, tls=False)),
        ("redis://a%40b@h", Place("h", 6379, 0, tls=False, user="a@b")),
        ("rediss://h?ca=/x/ca.pem", Place("h", 6379, 0, tls=True, ca=Path("/x/ca.pem"))),
        ("redis://h?password_file=p", Place("h", 6379, 0, tls=False, password_file=Path("/base/p"))),
        ("redis://h?unsafe_may_forget=true", Place("h", 6379, 0, tls=False, may_forget=True)),
    ],
)
def test_what_a_uri_says(uri: str, place: Place) -> None:
    assert parse_place(parse_uri(uri), Path("/base")) == place


def test_what_a_store_is_called_has_no_more_than_its_place() -> None:
    name = parse_place(parse_uri("redis://alice@[::1]/3?password_file=/secret"), None).name
    assert name == "replay store redis://[::1]:6379/3"


@pytest.mark.parametrize(
    "uri",
    [
        "redis:h",
        "redis://",
        "redis:///0",
        "redis://:6379",
        "redis://h:x",
        "redis://h:0",
        "redis://h:65536",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/%31",
        "redis://h/\u0661",
        "redis://[::1",
        "redis://h?ca=/x",
        "redis://h?db=1",
        "redis://h?unsafe_may_forget=yes",
        "redis://h?unsafe_may_forget=",
        "redis://h?password_file=",
        "redis://h?password_file=relative",
        "rediss://h?ca=..",
    ],
)
def test_a_uri_that_names_no_server_is_refused(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_replay_store(uri, None)
    assert caught.value.hint


@pytest.mark.parametrize(
    "uri",
    [
        f"redis://:{SECRET}@h",
        f"REDISS://alice:{SECRET}@h:6379/0",
        f"redis://alice:{SECRET}/#?@h",
        f"redis://:{SECRET}#@h",
        f"redis://h?password={SECRET}",
        f"redis://h?password_file=/x&pass={SECRET}",
        f"redis:alice:{SECRET}@h",
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_replay_store(uri, None)
    assert "a password never stands in a URI" in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.expected} {caught.value.actual}"


def test_without_its_library_it_says_what_to_install() -> None:
    script = """
import sys
sys.modules["redis"] = None
from gate.errors import UsageError
from gate.replay import open_replay_store
for _ in range(2):
    try:
        open_replay_store("redis://h", None)
    except UsageError as error:
        print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{install_command('redis')}\n" * 2
