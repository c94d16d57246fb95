"""Redis over a wire that cuts each answer at each byte, or never ends one: the truth, or `replay.unavailable`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Head
from gate.replay import ReplayStore, redislink, redisserver
from tests.redisserver import RedisServer
from tests.replay.accesses import ACCESSES, open_at
from tests.replay.material import STREAM, use
from tests.replay.wire import PASS, info, middleman
from tests.sabotage import Cut, Spoil, endless, ends, relay, sweep

HEAD = Head(1, b"record", written=True)
fresh = count()

ASKED: dict[str, tuple[Callable[[ReplayStore], object], object]] = {
    "consume": (lambda store: store.consume([use(f"fresh-{next(fresh)}", "nonce")]), None),
    "consume again": (lambda store: store.consume([use("jti-1", "nonce-1"), use("jti-2", "nonce-1")]), None),
    "head": (lambda store: store.head(STREAM), HEAD),
    "overtaken": (lambda store: store.advance(STREAM, Head(2, b"other", written=False), 7), False),
    "consumed": (lambda store: "jti-1" in [use.jti for use in store.consumed()], True),
    "heads": (lambda store: [*store.heads()], [STREAM]),
}
WITHOUT_END = {
    "a word": endless(b"+", b"O" * 4096),
    "a text": endless(b"$999999999999\r\n", b"x" * 65536),
    "a list": endless(b"*999999999\r\n", b":1\r\n" * 4096),
    "lists in lists": endless(b"", b"*1\r\n" * 4096),
    "a dripping word": endless(b"+", b"O", 0.02),
    "a dripping text": endless(b"$9999\r\n", b"x", 0.02),
    "a dripping list": endless(b"*9999\r\n", b":1\r\n", 0.02),
}


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redisserver, "TRIES", 1)


@contextmanager
def spoiled(server: RedisServer, spoil: Spoil) -> Iterator[str]:
    """A URI of the server behind a relay. Its answer to INFO is short: the real one has six thousand bytes to cut."""
    with (
        middleman(lambda command, _: info() if command == "INFO" else PASS, server.port) as between,
        relay(between.port, spoil) as port,
    ):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("name", ASKED)
def test_a_cut_answer_is_the_truth_or_none(server: RedisServer, name: str) -> None:
    store = open_at(server.uri)
    store.consume([use("jti-1", "nonce-1"), use("jti-2", "nonce-1")])
    store.advance(STREAM, HEAD, 0)
    ask, truth = ASKED[name]
    with spoiled(server, cut := Cut()) as uri:
        sweep(cut, lambda: ask(open_at(uri)), truth, ReplayUnavailable)


@pytest.mark.parametrize("what", WITHOUT_END)
@pytest.mark.parametrize("late", [False, True])
def test_an_answer_without_end_ends_in_time(
    redis_server: RedisServer, what: str, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    monkeypatch.setattr(redislink, "WHOLE_SECONDS", 0.3)
    spoil = after_info(WITHOUT_END[what]) if late else WITHOUT_END[what]
    with spoiled(redis_server, spoil) as uri:
        for access in ACCESSES if late else ACCESSES[:1]:
            assert ends(lambda access=access: access(open_at(uri))) is ReplayUnavailable


def after_info(spoil: Spoil) -> Spoil:
    def late(answers: Iterator[bytes]) -> Iterator[bytes]:
        for part in answers:
            yield part
            if b"role:" in part:
                break
        yield from spoil(answers)

    return late
