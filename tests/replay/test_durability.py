"""Whether a use lasts once it was consumed: what a store that can't promise it is said to be, and what follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gate.doctor import examine_durability
from gate.errors import PolicyError
from gate.models import Check, Decision
from gate.policyfile import compile_policy
from gate.replay import open_replay_store
from tests.redisserver import RedisServer, running_redis
from tests.replay.material import Backend
from tests.replay.wire import PASS, info, middleman
from tests.world import World

HIDDEN = ("--appendonly", "yes", "--appendfsync", "no", "--rename-command", "CONFIG", "")
UNKNOWN = "can't tell whether a use is on its disk before it counts"
RIGHTS = ("+select", "+info", "+eval", "+get", "+set", "+hget", "+hmget", "+hset", "+scan", "+exists")


@contextmanager
def before_7_2(port: int, **fields: Any) -> Iterator[str]:
    """The URI of that server, which can't confirm a write, whatever it is."""
    answer = info(redis_version="7.0.15", **fields)
    with middleman(lambda name, _: answer if name == "INFO" else PASS, port) as between:
        yield between.uri


def let_in(server: RedisServer, folder: Path, *more: str) -> str:
    """The options of a URI by which a user comes in who has what docs/operations.md lists, and `more`."""
    server.command("ACL", "SETUSER", "gate", "reset", "on", ">secret", "~{deploy-gate}*", *RIGHTS, *more)
    (folder / "password").write_text("secret\n")
    (folder / "password").chmod(0o600)
    return f"?password_file={folder / 'password'}"


def decide(folder: Path, uri: str, *, required: bool = False) -> Decision:
    """The first decision on the store, and what the check `replay` says of it."""
    folder.mkdir(exist_ok=True)
    world = World(folder, replay=uri)
    if required:
        world.audit += "\nreplay_durability: required"
    decision = world.gate().check([world.token()], world.deployment())
    if required and decision.reason == "replay.unavailable":
        dry = world.gate().preflight(world.deployment())
        assert (dry.reason, dry.message) == (decision.reason, decision.message)
    return decision


def replay(decision: Decision) -> Check:
    return next(check for check in decision.checks if check.name == "replay")


def doctor(uri: str) -> list[tuple[str, str]]:
    return [(finding.severity, finding.message) for finding in open_replay_store(uri, None).diagnose()]


def test_a_server_that_hides_its_settings_is_not_said_to_forget_nothing(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", *HIDDEN) as server, before_7_2(server.port) as uri:
        ((severity, message),) = doctor(uri)
        assert (severity, message.partition(":")[0]) == ("warning", UNKNOWN)
        blocked = decide(tmp_path / "required", uri, required=True)
        assert (blocked.reason, blocked.decision, blocked.record) == ("replay.unavailable", "error", None)
        assert blocked.message.startswith(
            f"The policy requires that a use of an approval lasts. The replay store {uri}: "
        )
        assert UNKNOWN in blocked.message
        assert "replay_durability" in blocked.hint
        assert server.command("KEYS", "*jti*") == [], "no approval was used"
        warned = decide(tmp_path / "default", uri)
        assert (warned.reason, replay(warned).status) == ("allowed", "warn")
        assert f"used now, once; replay store {uri}: {UNKNOWN}" in replay(warned).actual


@pytest.mark.parametrize(
    ("rights", "sync", "words"),
    [
        ((), "always", UNKNOWN),
        (("+config|get",), "always", ""),
        (("+config|get",), "everysec", "a crash may lose its last second"),
        (("+config|get",), "no", "a crash may lose its newest uses, of half a minute or more"),
    ],
)
def test_what_a_user_may_see_is_what_is_said(
    server: RedisServer, tmp_path: Path, rights: tuple[str, ...], sync: str, words: str
) -> None:
    server.command("CONFIG", "SET", "appendfsync", sync)
    options = let_in(server, tmp_path, *rights)
    with before_7_2(server.port) as between:
        uri = f"{between.replace('//', '//gate@')}{options}"
        ((severity, message),) = doctor(uri)
        assert (severity, words in message) == ("warning" if words else "ok", True)
        check = replay(decide(tmp_path / "default", uri))
        assert (check.status, words in check.actual) == ("warn" if words else "pass", True)
        decision = decide(tmp_path / "required", uri, required=True)
        assert decision.reason == ("replay.unavailable" if words else "allowed")


@pytest.mark.parametrize(
    "answer", [b"*0\r\n", b"$-1\r\n", b":1\r\n", b"*2\r\n$1\r\nx\r\n$6\r\nalways\r\n", b"-ERR no\r\n"]
)
def test_an_answer_that_does_not_tell_is_none(redis_server: RedisServer, answer: bytes) -> None:
    answers = {"INFO": info(), "CONFIG": answer}
    with middleman(lambda name, _: answers.get(name, PASS), redis_server.port) as between:
        assert UNKNOWN in open_replay_store(between.uri, None).doubt()


def test_a_server_that_is_let_forget_on_purpose_is_no_durable_one(server: RedisServer, tmp_path: Path) -> None:
    server.command("CONFIG", "SET", "appendonly", "no")
    uri = f"{server.uri}?unsafe_may_forget=true"
    assert "append-only file is off" in replay(decide(tmp_path / "default", uri)).actual
    assert decide(tmp_path / "required", uri, required=True).reason == "replay.unavailable"


def test_what_confirms_each_write_needs_no_look_at_its_settings(redis_server: RedisServer) -> None:
    answers = {"INFO": info(redis_version="7.2.0"), "WAITAOF": b"*2\r\n:1\r\n:0\r\n"}
    with middleman(lambda name, _: answers.get(name, PASS), redis_server.port) as between:
        assert open_replay_store(between.uri, None).doubt() == ""
        assert "CONFIG" not in between.seen


def test_a_store_in_memory_is_no_durable_one(tmp_path: Path) -> None:
    warned = replay(decide(tmp_path / "default", '"memory:"'))
    assert (warned.status, warned.actual) == (
        "warn", "used now, once; replay store memory: forgets every use when this process ends",
    )  # fmt: skip
    assert decide(tmp_path / "required", '"memory:"', required=True).reason == "replay.unavailable"


def test_stores_that_write_through_are_beyond_doubt(lasting: Backend, tmp_path: Path) -> None:
    assert lasting.open().doubt() == ""
    decision = decide(tmp_path / "world", lasting.uri, required=True)
    assert (decision.reason, replay(decision).status) == ("allowed", "pass")


def test_the_doctor_says_that_the_policy_blocks(tmp_path: Path) -> None:
    world = World(tmp_path, replay='"memory:"')
    text = world.text.replace("version: 1\n", "version: 1\nreplay_durability: required\n")
    store = open_replay_store("memory:", None)
    assert list(examine_durability(world.loaded().policy, store)) == []
    [finding] = examine_durability(compile_policy(text.encode()), store)
    assert (finding.severity, "the gate blocks: replay store memory:" in finding.message) == ("error", True)
    gone = open_replay_store("redis://127.0.0.1:1", None)
    [finding] = examine_durability(compile_policy(text.encode()), gone)
    assert "can't be reached" in finding.message


@pytest.mark.parametrize("text", ["warn", "true", "[required]"])
def test_the_policy_requires_it_or_leaves_it_out(tmp_path: Path, text: str) -> None:
    wrong = World(tmp_path).text.replace("version: 1\n", f"version: 1\nreplay_durability: {text}\n")
    with pytest.raises(PolicyError, match=r"Line 2: .*(the word required|must be required, or left out)"):
        compile_policy(wrong.encode())
