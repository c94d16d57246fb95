"""Any sequence of calls to any store agrees with two dictionaries."""

from itertools import count
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.models import Head, Stream
from gate.replay import Replayed, ReplayStore
from tests.replay.material import Backend, use

_examples = count()


class Consume(NamedTuple):
    nonce: str
    jtis: list[str]


class Advance(NamedTuple):
    expected: int
    step: int
    record: bytes


class Settle(NamedTuple):
    seq: int


_CALLS = st.one_of(
    st.builds(Consume, st.sampled_from("xyz"), st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)),
    st.builds(Advance, st.integers(0, 3), st.integers(1, 2), st.sampled_from([b"", b"\x00\xff", b"record"])),
    st.builds(Settle, st.integers(1, 4)),
)


class Model:
    """What a store should do, with names of its own so that examples can share a store."""

    def __init__(self, store: ReplayStore) -> None:
        self.store = store
        self.example = next(_examples)
        self.stream = Stream(f"acme/{self.example}", "production")
        self.nonces: dict[str, str] = {}
        self.head: Head | None = None

    def consume(self, call: Consume) -> None:
        jtis = [f"{self.example}-{jti}" for jti in call.jtis]
        replayed = [jti for jti in jtis if self.nonces.get(jti, call.nonce) != call.nonce]
        try:
            self.store.consume([use(jti, call.nonce) for jti in jtis])
        except Replayed as error:
            assert error.prior.jti in replayed
            assert error.prior.nonce == self.nonces[error.prior.jti]
        else:
            assert not replayed
            self.nonces |= dict.fromkeys(jtis, call.nonce)

    def advance(self, call: Advance) -> None:
        new = Head(call.expected + call.step, call.record, written=False)
        again = self.head is not None and self.head[:2] == new[:2]
        moves = (self.head.seq if self.head else 0) == call.expected
        assert self.store.advance(self.stream, new, call.expected) == (again or moves)
        if moves and not again:
            self.head = new

    def settle(self, call: Settle) -> None:
        self.store.settle(self.stream, call.seq)
        if self.head and self.head.seq == call.seq:
            self.head = self.head._replace(written=True)

    def agrees(self) -> None:
        mine = {row.jti: row.nonce for row in self.store.consumed() if row.jti.startswith(f"{self.example}-")}
        assert mine == self.nonces
        assert self.store.head(self.stream) == self.head
        assert (self.stream in set(self.store.heads())) == (self.head is not None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(_CALLS, max_size=12))
def test_a_store_agrees_with_the_model(backend: Backend, calls: list[Consume | Advance | Settle]) -> None:
    model = Model(backend.open())
    for call in calls:
        if isinstance(call, Consume):
            model.consume(call)
        elif isinstance(call, Advance):
            model.advance(call)
        else:
            model.settle(call)
    model.agrees()
