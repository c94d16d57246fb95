"""Every way to ask a Redis store, and how all of them end where it can't be asked."""

import re
from collections.abc import Callable

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Head
from gate.replay import ReplayStore, open_replay_store
from tests.replay.material import STREAM, use

ACCESSES: list[Callable[[ReplayStore], object]] = [
    lambda store: store.consume([use("jti-1", "mine")]),
    lambda store: store.consume([use("jti-1", "mine"), use("jti-2", "mine")]),
    lambda store: list(store.consumed()),
    lambda store: store.head(STREAM),
    lambda store: store.advance(STREAM, Head(1, b"one", written=False), 0),
    lambda store: store.settle(STREAM, 1),
    lambda store: list(store.heads()),
]
WRITES = [ACCESSES[0], ACCESSES[1], ACCESSES[4]]


def open_at(uri: str) -> ReplayStore:
    return open_replay_store(uri, None)


def refusal(store: ReplayStore, accesses: list[Callable[[ReplayStore], object]] = ACCESSES) -> ReplayUnavailable:
    """The one error that every kind of access ends in, with nothing in it that outsiders must not see."""
    errors = []
    for access in accesses:
        with pytest.raises(ReplayUnavailable) as caught:
            access(store)
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    assert re.fullmatch(r"The replay store rediss?://[\w.]+:\d+/\d+ [\w ,.:'-]+\.", str(errors[0]))
    assert errors[0].hint
    return errors[0]
