"""What every replay store promises, one after the other and all at once."""

from functools import partial

import pytest

from gate.errors import UsageError
from gate.models import Head, Stream
from gate.replay import Replayed, open_replay_store
from tests.replay.material import NOW, STREAM, Backend, answer, at_once, contenders, tell, use


def test_a_first_use_is_consumed_and_remembered(backend: Backend) -> None:
    store = backend.open()
    first = use(
        "jti-1", "mine", approver="zoë \u202e@example.com", run_id="", expires_at=NOW + 5, stream=Stream("g/s/p", "eu")
    )
    assert list(store.consumed()) == []
    store.consume([first])
    assert list(store.consumed()) == [first]


def test_nothing_to_consume_is_no_use(backend: Backend) -> None:
    store = backend.open()
    store.consume([])
    assert list(store.consumed()) == []


def test_another_invocation_is_told_who_used_it_when_and_in_which_run(backend: Backend) -> None:
    store = backend.open()
    store.consume([use("jti-1", "mine", run_id="4711")])
    with pytest.raises(Replayed) as caught:
        store.consume([use("jti-1", "theirs", approver="mallory@example.com", used_at=NOW + 60, run_id="4712")])
    assert caught.value.reason == "replay.used"
    assert caught.value.prior == use("jti-1", "mine", run_id="4711")
    assert "alice@example.com was already used at 2027-01-15T08:00:00Z in run 4711" in str(caught.value)
    assert "acme/shop/production" in caught.value.actual
    assert list(store.consumed()) == [use("jti-1", "mine", run_id="4711")]


@pytest.mark.parametrize("jtis", [["jti-1"], ["jti-1", "jti-2"]])
def test_ones_own_nonce_is_no_replay(backend: Backend, jtis: list[str]) -> None:
    store = backend.open()
    for _ in range(3):
        store.consume([use(jti, "mine") for jti in jtis])
    assert sorted(store.consumed()) == [use(jti, "mine") for jti in jtis]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_of_several_all_are_consumed_or_none(backend: Backend, position: int) -> None:
    store = backend.open()
    jtis = ["jti-1", "jti-2", "jti-3"]
    store.consume([use(jtis[position], "theirs")])
    with pytest.raises(Replayed) as caught:
        store.consume([use(jti, "mine") for jti in jtis])
    assert caught.value.prior == use(jtis[position], "theirs")
    assert list(store.consumed()) == [use(jtis[position], "theirs")]


@pytest.mark.parametrize("age", [1, 3 * 24 * 3600, 400 * 24 * 3600])
def test_an_expired_row_that_still_stands_is_a_replay(backend: Backend, age: int) -> None:
    store = backend.open()
    store.consume([use("jti-1", "mine", expires_at=NOW - age)])
    with pytest.raises(Replayed):
        store.consume([use("jti-1", "theirs", expires_at=NOW - age)])


def test_of_concurrent_threads_exactly_one_wins(backend: Backend) -> None:
    store = backend.open()
    for trial in range(5):
        results = at_once([partial(store.consume, [use(f"jti-{trial}", f"nonce-{n}")]) for n in range(12)])
        assert results.count(None) == 1
        assert [type(result) for result in results if result] == [Replayed] * 11
        winner = use(f"jti-{trial}", f"nonce-{results.index(None)}")
        assert {result.prior for result in results if result} == {winner}


def test_of_concurrent_overlapping_sets_no_part_is_consumed(backend: Backend) -> None:
    store = backend.open()
    for trial in range(5):
        sets = [[f"jti-{trial}-{n}", f"jti-{trial}-{(n + 1) % 6}", f"jti-{trial}-{(n + 3) % 6}"] for n in range(6)]
        calls = [partial(store.consume, [use(jti, f"nonce-{n}") for jti in jtis]) for n, jtis in enumerate(sets)]
        results = at_once(calls)
        assert {type(result) for result in results} <= {type(None), Replayed}
        won = {f"nonce-{n}": set(jtis) for n, jtis in enumerate(sets) if results[n] is None}
        assert won
        held: dict[str, set[str]] = {}
        for row in store.consumed():
            if row.jti.startswith(f"jti-{trial}-"):
                held.setdefault(row.nonce, set()).add(row.jti)
        assert held == won


def test_of_concurrent_processes_exactly_one_wins(lasting: Backend) -> None:
    with contenders(lasting, 4) as processes:
        for trial in range(15):
            for n, process in enumerate(processes):
                tell(process, f"nonce-{n}", [f"jti-{trial}"])
            assert sorted(map(answer, processes)) == ["consumed"] + ["replay.used"] * 3


def test_of_overlapping_sets_in_processes_no_part_is_consumed(lasting: Backend) -> None:
    with contenders(lasting, 4) as processes:
        for trial in range(10):
            sets = [[f"jti-{trial}-{n}", f"jti-{trial}-{(n + 1) % 4}"] for n in range(4)]
            for n, process in enumerate(processes):
                tell(process, f"nonce-{n}", sets[n])
            answers = list(map(answer, processes))
            assert set(answers) <= {"consumed", "replay.used"}
            won = {(jti, f"nonce-{n}") for n, said in enumerate(answers) if said == "consumed" for jti in sets[n]}
            assert won == {(row.jti, row.nonce) for row in lasting.open().consumed() if f"-{trial}-" in row.jti}
            assert won


def test_uses_and_heads_outlive_the_store(lasting: Backend) -> None:
    lasting.open().consume([use("jti-1", "mine")])
    lasting.open().advance(STREAM, Head(1, b"\x00record", written=False), 0)
    with pytest.raises(Replayed):
        lasting.open().consume([use("jti-1", "theirs")])
    assert lasting.open().head(STREAM) == Head(1, b"\x00record", written=False)


def test_memory_forgets(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_replay_store("memory:", None).consume([use("jti-1", "mine")])
    open_replay_store("memory:", None).consume([use("jti-1", "theirs")])
    finding = next(open_replay_store("memory:", None).diagnose())
    assert finding.severity == "warning"
    assert "forgets" in finding.message


def test_a_stream_starts_without_a_head(backend: Backend) -> None:
    store = backend.open()
    assert store.head(STREAM) is None
    assert list(store.heads()) == []
    store.settle(STREAM, 1)
    assert store.head(STREAM) is None
    assert not store.advance(STREAM, Head(2, b"two", written=False), 1)
    assert store.head(STREAM) is None


def test_a_head_advances_only_from_the_number_that_it_has(backend: Backend) -> None:
    store = backend.open()
    assert store.advance(STREAM, Head(1, b"one", written=False), 0)
    assert not store.advance(STREAM, Head(1, b"another one", written=False), 0)
    assert not store.advance(STREAM, Head(3, b"three", written=False), 2)
    assert store.head(STREAM) == Head(1, b"one", written=False)
    assert store.advance(STREAM, Head(2, b"two", written=False), 1)
    assert not store.advance(STREAM, Head(2, b"another two", written=False), 1)
    assert store.head(STREAM) == Head(2, b"two", written=False)


def test_advancing_again_to_the_same_bytes_is_ones_own_lost_answer(backend: Backend) -> None:
    store = backend.open()
    for seq, record in enumerate([b"one", b"two"], start=1):
        assert store.advance(STREAM, Head(seq, record, written=False), seq - 1)
        assert store.advance(STREAM, Head(seq, record, written=False), seq - 1)
    store.settle(STREAM, 2)
    assert store.advance(STREAM, Head(2, b"two", written=False), 1)
    assert store.head(STREAM) == Head(2, b"two", written=True)


def test_settling_marks_the_head_only_while_it_is_the_same(backend: Backend) -> None:
    store = backend.open()
    store.advance(STREAM, Head(1, b"one", written=False), 0)
    store.settle(STREAM, 1)
    assert store.head(STREAM) == Head(1, b"one", written=True)
    store.advance(STREAM, Head(2, b"two", written=False), 1)
    store.settle(STREAM, 1)
    store.settle(STREAM, 3)
    assert store.head(STREAM) == Head(2, b"two", written=False)


def test_streams_have_heads_of_their_own_and_are_no_uses(backend: Backend) -> None:
    store = backend.open()
    streams = [Stream("acme/shop", "production"), Stream("acme/shop", "Production"), Stream("acme/shop/x", "eu.1")]
    for stream in streams:
        assert store.advance(stream, Head(1, stream.path.encode(), written=False), 0)
    store.consume([use("jti-1", "mine")])
    assert sorted(store.heads()) == sorted(streams)
    assert [store.head(stream) for stream in streams] == [Head(1, s.path.encode(), written=False) for s in streams]
    assert list(store.consumed()) == [use("jti-1", "mine")]


def test_concurrent_writers_advance_once_for_each_number(backend: Backend) -> None:
    store = backend.open()
    writers, rounds = 6, 5
    advanced: list[int] = []

    def write(name: int) -> None:
        done = 0
        while done < rounds:
            head = store.head(STREAM)
            seq = head.seq if head else 0
            if store.advance(STREAM, Head(seq + 1, f"{name} {done}".encode(), written=False), seq):
                advanced.append(seq + 1)
                done += 1

    assert at_once([partial(write, name) for name in range(writers)]) == [None] * writers
    assert sorted(advanced) == list(range(1, writers * rounds + 1))
    head = store.head(STREAM)
    assert head is not None
    assert head.seq == writers * rounds


@pytest.mark.parametrize("uri", ["memory:x", "memory://", "memory:?a=b", "redis-ish:x", "sqlite:", "sqlite:a?b=c"])
def test_a_uri_that_no_store_takes_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        open_replay_store(uri, None)


@pytest.mark.parametrize("used_at", [10**20, -(10**20), 10**400])
def test_a_time_that_no_calendar_holds_is_shown_as_it_is(used_at: int) -> None:
    assert f"{used_at} (epoch seconds)" in str(Replayed(use("jti-1", "mine", used_at=used_at)))
