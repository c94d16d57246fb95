"""Redis: servers that may forget are refused before the first use, and the doctor says why."""

import time
from pathlib import Path
from typing import Any

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Head
from gate.replay import Replayed, open_replay_store, redisserver
from tests.parts import free_port
from tests.redisserver import SAFE, RedisServer, running_redis
from tests.replay.material import STREAM, use
from tests.replay.wire import PASS, info, middleman

UNSAFE = "?unsafe_may_forget=true"


def _blocks(uri: str) -> str:
    store = open_replay_store(uri, None)
    with pytest.raises(ReplayUnavailable) as caught:
        store.consume([use("jti-1", "mine")])
    assert caught.value.hint
    return str(caught.value)


def _findings(uri: str) -> list[tuple[str, str]]:
    findings = list(open_replay_store(uri, None).diagnose())
    assert all(bool(finding.fix) == (finding.severity != "ok") for finding in findings)
    return [(finding.severity, finding.message) for finding in findings]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"appendonly": "no"}, "would forget used approvals when it restarts: its append-only file is off"),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "volatile-ttl"},
            "forgets used approvals when its memory is full: it evicts keys",
        ),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            "forgets used approvals when its memory is full: it evicts keys",
        ),
    ],
)
def test_a_server_that_may_forget_is_refused(server: RedisServer, settings: dict[str, str], message: str) -> None:
    for name, value in settings.items():
        server.command("CONFIG", "SET", name, value)
    assert _blocks(server.uri) == f"The replay store {server.uri} {message}."
    assert _findings(server.uri) == [("error", message)]
    assert server.command("DBSIZE") == 0
    open_replay_store(server.uri + UNSAFE, None).consume([use("jti-1", "mine")])
    assert _findings(server.uri + UNSAFE) == [("warning", message)]


@pytest.mark.parametrize(
    "settings", [{}, {"maxmemory": "100mb"}, {"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}]
)
def test_a_server_that_remembers_is_accepted(server: RedisServer, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        server.command("CONFIG", "SET", name, value)
    open_replay_store(server.uri, None).consume([use("jti-1", "mine")])
    assert [severity for severity, _ in _findings(server.uri)] == ["ok"]


@pytest.mark.parametrize("sync", ["everysec", "no"])
def test_a_server_that_writes_later_has_to_confirm_it_or_the_doctor_minds(server: RedisServer, sync: str) -> None:
    server.command("CONFIG", "SET", "appendfsync", sync)
    ((severity, message),) = _findings(server.uri)
    if not server.confirms_disk:
        lost = {"everysec": "last second", "no": "newest uses"}[sync]
        assert (severity, message.partition(",")[0]) == ("warning", f"a crash may lose its {lost}")
        open_replay_store(server.uri, None).consume([use("jti-1", "mine")])
    elif sync == "no":
        assert "did not get a use onto its disk in time" in message
    else:
        assert severity == "ok"


def test_a_replica_is_never_right(server: RedisServer, tmp_path: Path) -> None:
    options = (*SAFE, "--replicaof", "127.0.0.1", str(server.port), "--replica-read-only", "no")
    with running_redis(tmp_path / "replica", *options) as replica:
        for uri in (replica.uri, replica.uri + UNSAFE):
            assert "is a replica" in _blocks(uri)
            assert [severity for severity, _ in _findings(uri)] == ["error"]


def test_a_server_is_looked_at_again_on_each_connection(server: RedisServer) -> None:
    store = open_replay_store(server.uri, None)
    store.consume([use("jti-1", "mine")])
    server.command("CONFIG", "SET", "appendonly", "no")
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(ReplayUnavailable, match="append-only file is off"):
        store.consume([use("jti-2", "mine")])


def test_too_few_replicas_block(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")
    assert "has too few replicas at hand" in _blocks(server.uri)
    assert [severity for severity, _ in _findings(server.uri)] == ["error"]


@pytest.mark.parametrize("version", ["6.2.7", "6.2.14", "7.0.0", "7.0"])
def test_scripts_heed_the_replicas_that_a_newer_server_asks_for(redis_server: RedisServer, version: str) -> None:
    fields = {"min_slaves_good_slaves": 1, "redis_version": version}
    with middleman(lambda name, _: info(**fields) if name == "INFO" else PASS, redis_server.port) as between:
        open_replay_store(between.uri, None).consume([use(f"jti-{version}", "mine")])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"role": "slave"}, "is a replica"),
        ({"role": "sentinel"}, "is a replica"),
        ({"aof_enabled": 0}, "append-only file is off"),
        ({"aof_enabled": None}, "append-only file is off"),
        ({"maxmemory": None}, "evicts keys"),
        ({"maxmemory": 1, "maxmemory_policy": "volatile-lru"}, "evicts keys"),
        ({"min_slaves_good_slaves": 0, "redis_version": "6.2.6"}, "that no replica has"),
        ({"min_slaves_good_slaves": 1, "redis_version": "6.0.16"}, "that no replica has"),
        ({"min_slaves_good_slaves": 1, "redis_version": None}, "that no replica has"),
    ],
)
def test_what_a_server_does_not_say_is_not_taken_for_granted(
    redis_server: RedisServer, fields: dict[str, Any], words: str
) -> None:
    with middleman(lambda name, _: info(**fields) if name == "INFO" else PASS, redis_server.port) as between:
        assert words in _blocks(between.uri)
        assert "EVAL" not in between.seen


@pytest.mark.parametrize(
    ("seconds", "blocks", "said"),
    [(20, "", ""), (-20, "", ""), (90, "", "90 s behind"), (-90, "", "90 s ahead of"),
     (310, "310 s behind", "310 s behind"), (-310, "310 s ahead of", "310 s ahead of")],
)  # fmt: skip
def test_the_clock_is_held_against_that_of_the_server(
    server: RedisServer, seconds: int, blocks: str, said: str
) -> None:
    def plan(name: str, _: int) -> str | bytes:
        return info(server_time_usec=int((time.time() + seconds) * 1_000_000)) if name == "INFO" else PASS

    with middleman(plan, server.port) as between:
        if blocks:
            assert f"clock is {blocks} that of the replay store" in _blocks(between.uri)
            assert "EVAL" not in between.seen
        ((severity, message),) = _findings(between.uri)
        assert (severity, said in message) == ("error" if said else "ok", True)


@pytest.mark.parametrize("told", [None, "", "soon", "-1"])
def test_a_server_that_does_not_tell_the_time_is_not_held_to_it(redis_server: RedisServer, told: str | None) -> None:
    plan = lambda name, _: info(server_time_usec=told) if name == "INFO" else PASS  # noqa: E731
    with middleman(plan, redis_server.port) as between:
        open_replay_store(between.uri, None).consume([use(f"jti-{told}", "mine")])


# Whether a write is on the disk


@pytest.mark.parametrize("version", ["7.2.0", "7.10.1", "8.0.2"])
def test_what_a_server_confirms_is_on_its_disk(server: RedisServer, version: str) -> None:
    answers = {"INFO": info(redis_version=version), "WAITAOF": b"*2\r\n:1\r\n:0\r\n"}
    with middleman(lambda name, _: answers.get(name, PASS), server.port) as between:
        store = open_replay_store(between.uri, None)
        store.consume([use("jti-1", "mine")])
        store.advance(STREAM, Head(1, b"one", written=False), 0)
        store.settle(STREAM, 1)
        assert between.seen["WAITAOF"] == 2
        assert _findings(between.uri)[0][0] == "ok"
        with pytest.raises(Replayed):
            store.consume([use("jti-1", "theirs")])


@pytest.mark.parametrize("said", [b"*2\r\n:0\r\n:0\r\n", b"-ERR WAITAOF cannot be used\r\n", b":1\r\n", b"*0\r\n"])
def test_what_is_not_confirmed_blocks_and_is_no_replay_of_oneself(server: RedisServer, said: bytes) -> None:
    answers = {"INFO": info(redis_version="7.2.0"), "WAITAOF": said}
    with middleman(lambda name, _: answers.get(name, PASS), server.port) as between:
        message = _blocks(between.uri)
        assert between.seen["WAITAOF"] == 1
    assert ("did not get a use onto its disk in time" in message) == (said[:8] == b"*2\r\n:0\r\n")
    open_replay_store(server.uri, None).consume([use("jti-1", "mine")])


@pytest.mark.parametrize("fields", [{"redis_version": "6.2.14"}, {"redis_version": "x"}, {"redis_version": None}])
def test_an_older_server_is_not_asked(redis_server: RedisServer, fields: dict[str, Any]) -> None:
    with middleman(lambda name, _: info(**fields) if name == "INFO" else PASS, redis_server.port) as between:
        open_replay_store(between.uri, None).consume([use("jti-old", "mine")])
        assert "WAITAOF" not in between.seen


# The doctor


def test_the_doctor_leaves_nothing_behind(server: RedisServer) -> None:
    assert _findings(server.uri) == [("ok", "answers, can be written, and forgets nothing")]
    assert [row.jti for row in open_replay_store(server.uri, None).consumed()] == []
    (probe,) = server.command("KEYS", "*")
    assert 0 < server.command("PTTL", probe) <= 1000


def test_the_doctor_minds_a_server_that_anybody_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redisserver, "TRIES", 1)
    clear, open_, gone = _findings("redis://redis.invalid")
    assert clear == ("warning", "is asked in clear, so the network could answer in its place")
    assert open_ == ("warning", "lets in whoever reaches it")
    assert gone[0] == "error"
    assert [severity for severity, _ in _findings("rediss://redis.invalid")] == ["warning", "error"]


def test_the_doctor_says_that_a_server_is_down() -> None:
    ((severity, message),) = _findings(f"redis://127.0.0.1:{free_port()}")
    assert severity == "error"
    assert "can't be reached" in message
