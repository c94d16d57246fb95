"""Redis: lost answers, and servers that die, stop, or lose their state."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gate.models import Head
from gate.replay import Replayed, redislink, redisserver
from tests.redisserver import RedisServer
from tests.replay.accesses import ACCESSES, open_at, refusal
from tests.replay.material import STREAM, Backend, answer, at_once, contenders, tell, use
from tests.replay.wire import LOSE, PASS, middleman
from tests.world import World

pytestmark = pytest.mark.usefixtures("hasty_redis")


def _losing(times: int) -> Callable[[str, int], str]:
    return lambda command, before: LOSE if command == "EVAL" and before < times else PASS


# A lost answer


@pytest.mark.parametrize("jtis", [["jti-1"], ["jti-1", "jti-2"]])
def test_a_lost_answer_is_no_replay_of_oneself(server: RedisServer, jtis: list[str]) -> None:
    with middleman(_losing(1), server.port) as between:
        open_at(between.uri).consume([use(jti, "mine") for jti in jtis])
        assert between.seen["EVAL"] == 2
    with pytest.raises(Replayed) as caught:
        open_at(server.uri).consume([use(jti, "theirs") for jti in jtis])
    assert caught.value.prior == use("jti-1", "mine")


@pytest.mark.parametrize("jtis", [["jti-1"], ["jti-1", "jti-2"]])
def test_when_every_answer_is_lost_the_gate_blocks_and_may_ask_again(server: RedisServer, jtis: list[str]) -> None:
    with middleman(_losing(99), server.port) as between:
        refusal(open_at(between.uri), [lambda store: store.consume([use(jti, "mine") for jti in jtis])])
        assert between.seen["EVAL"] == redisserver.TRIES
    store = open_at(server.uri)
    assert sorted(store.consumed()) == [use(jti, "mine") for jti in jtis]
    store.consume([use(jti, "mine") for jti in jtis])
    with pytest.raises(Replayed):
        store.consume([use(jtis[-1], "theirs")])


@pytest.mark.parametrize("expected", [0, 1])
def test_a_lost_answer_to_an_advance_is_ones_own_success(server: RedisServer, expected: int) -> None:
    direct = open_at(server.uri)
    for seq in range(expected):
        direct.advance(STREAM, Head(seq + 1, b"before", written=False), seq)
    head = Head(expected + 1, b"record", written=False)
    with middleman(_losing(1), server.port) as between:
        assert open_at(between.uri).advance(STREAM, head, expected)
        assert between.seen["EVAL"] == 2
    assert direct.head(STREAM) == head
    with middleman(_losing(1), server.port) as between:
        open_at(between.uri).settle(STREAM, expected + 1)
    assert direct.head(STREAM) == head._replace(written=True)


def test_concurrent_consumers_that_lose_answers_still_have_one_winner(server: RedisServer) -> None:
    direct = open_at(server.uri)
    with middleman(lambda name, before: LOSE if name == "EVAL" and before % 3 == 0 else PASS, server.port) as between:
        for trial in range(5):
            calls = [partial(open_at(between.uri).consume, [use(f"jti-{trial}", f"nonce-{n}")]) for n in range(3)]
            results = at_once(calls)
            holder = {row.nonce for row in direct.consumed() if row.jti == f"jti-{trial}"}
            assert len(holder) == 1
            assert {f"nonce-{n}" for n, result in enumerate(results) if result is None} <= holder


def test_a_scan_whose_connection_breaks_is_not_taken_for_whole(server: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(redisserver, "_PAGE", 10)
    open_at(server.uri).consume([use(f"jti-{n}", "mine") for n in range(100)])
    with middleman(lambda name, before: LOSE if name == "SCAN" and before else PASS, server.port) as between:
        refusal(open_at(between.uri), [ACCESSES[2], ACCESSES[6]])


def test_a_scan_meets_every_key_once(redis: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redisserver, "_PAGE", 3)
    store = redis.open()
    store.consume([use(f"jti-{n}", "mine") for n in range(50)])
    held = []
    for row in store.consumed():  # the table shrinks and is laid out anew in between
        held.append(row.jti)
        store.consume([use(f"more-{row.jti}-{n}", "mine") for n in range(3) if not row.jti.startswith("more")])
    assert {f"jti-{n}" for n in range(50)} <= set(held)
    assert len(held) == len(set(held))


# The server forgets its scripts, its clock is wrong, it dies, it stops


def test_a_server_that_forgets_its_scripts_is_told_again(server: RedisServer) -> None:
    store = open_at(server.uri)
    store.consume([use("jti-1", "mine")])
    server.command("SCRIPT", "FLUSH")
    with pytest.raises(Replayed):
        store.consume([use("jti-1", "theirs")])


@pytest.mark.parametrize("off", [-400, 0, 400])
def test_a_row_outlives_its_approval_whatever_the_servers_clock_says(server: RedisServer, off: int) -> None:
    now = int(time.time()) + off * 86400  # the gate's clock, against that of the server
    open_at(server.uri).consume([use("jti-1", "mine", used_at=now, expires_at=now + 3600)])
    open_at(server.uri).advance(STREAM, Head(1, b"one", written=False), 0)
    assert server.command("TTL", "{deploy-gate}jti:jti-1") > 30 * 86400
    assert server.command("TTL", f"{{deploy-gate}}head:{STREAM.path}") == -1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_forgets_nothing(server: RedisServer, ending: signal.Signals) -> None:
    store = open_at(server.uri)
    store.consume([use("jti-1", "mine"), use("jti-2", "mine")])
    store.advance(STREAM, Head(1, b"\x00one", written=False), 0)
    server.send(ending)
    assert "can't be reached" in str(refusal(store))
    server.start()
    with pytest.raises(Replayed):
        store.consume([use("jti-2", "theirs")])
    assert store.head(STREAM) == Head(1, b"\x00one", written=False)


def test_a_consumption_is_whole_or_absent_after_the_server_is_killed(server: RedisServer, tmp_path: Path) -> None:
    backend = Backend(server.uri, tmp_path)
    for trial in range(3):
        sets = [[f"jti-{trial}-{n}-{part}" for part in "abc"] for n in range(200)]
        with contenders(backend, 1) as (process,):
            for jtis in sets:
                tell(process, "mine", jtis)
            done = [answer(process) for _ in range(5 + 20 * trial)]
            server.send(signal.SIGKILL)
            server.start()
        assert set(done) == {"consumed"}
        held = {row.jti for row in backend.open().consumed()}
        consumed = [jtis for jtis in sets if set(jtis) & held]
        assert len(consumed) >= len(done)
        assert all(set(jtis) <= held for jtis in consumed)
        backend.open().consume([use(jti, "mine") for jti in sets[0]])  # the answer was lost, but it is ours
        with pytest.raises(Replayed):
            backend.open().consume([use(jti, "theirs") for jti in consumed[-1]])


def test_a_server_that_stops_blocks_in_bounded_time(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (redislink.CONNECT_SECONDS + redislink.ANSWER_SECONDS) * redisserver.TRIES + 3 < 30
    monkeypatch.setattr(redislink, "ANSWER_SECONDS", 0.05)
    store = open_at(server.uri)
    store.head(STREAM)
    server.send(signal.SIGSTOP)
    started = time.monotonic()
    assert "did not answer in time" in str(refusal(store))
    assert time.monotonic() - started < 10  # seven calls, three tries each, 0.05 s per try
    server.send(signal.SIGCONT)
    store.consume([use("jti-1", "mine")])  # it may have been done meanwhile, in our name
    with pytest.raises(Replayed):
        store.consume([use("jti-1", "theirs")])


def test_a_store_survives_a_fork(redis: Backend) -> None:
    store = redis.open()
    store.consume([use("jti-0", "mine")])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.consume([use("jti-1", "child")])
            status = 0
        finally:
            os._exit(status)
    for n in range(100):
        store.consume([use(f"jti-x-{n}", "mine")])
    assert os.waitpid(child, 0)[1] == 0
    assert "jti-1" in {row.jti for row in store.consumed()}


# Its state is lost: what the head of each stream is for


@pytest.fixture
def world(server: RedisServer, tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world", replay=server.uri)


def _decides(world: World, token: str, **changes: Any) -> str:
    return world.gate().check([token], world.deployment(**changes)).reason


def test_an_empty_server_in_its_place_allows_nothing(world: World, server: RedisServer) -> None:
    used = world.token()
    assert _decides(world, used) == "allowed"
    server.send(signal.SIGKILL)
    shutil.rmtree(server.folder)
    server.start()
    assert _decides(world, used) == "audit.unavailable"
    assert _decides(world, world.token(sha="5e" * 20), sha="5e" * 20) == "audit.unavailable"


def test_a_server_that_lost_its_newest_writes_allows_nothing(world: World, server: RedisServer) -> None:
    assert _decides(world, world.token()) == "allowed"
    server.send(signal.SIGTERM)
    shutil.copytree(server.folder, server.folder.with_name("older"))
    server.start()
    used = world.token(sha="5e" * 20)
    assert _decides(world, used, sha="5e" * 20) == "allowed"
    server.send(signal.SIGKILL)
    shutil.rmtree(server.folder)
    server.folder.with_name("older").rename(server.folder)
    server.start()
    assert _decides(world, used, sha="5e" * 20) == "audit.unavailable"
