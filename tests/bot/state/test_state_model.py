"""Any sequence of calls, by several bots and while time goes by, agrees with a dictionary."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gate.bot.state import Document, State, open_state, to_text

_KINDS = st.sampled_from(["request", "draft"])
_KEYS = st.sampled_from("abc")
_VALUES = st.dictionaries(
    st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(max_size=5), max_size=2
)


def _written(document: Document) -> tuple[str, int, int]:
    return to_text(document.value), document.version, document.expires_at


class StateMachine(RuleBasedStateMachine):
    """Three bots with one file; `model` holds what is alive or expired, by kind and key."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.bots = [self.opened() for _ in range(3)]
        self.model: dict[tuple[str, str], Document] = {}
        self.now = 1_800_000_000

    def opened(self) -> State:
        return open_state("sqlite:bot.db", Path(self.folder.name))

    def alive(self, kind: str, key: str) -> Document | None:
        stands = self.model.get((kind, key))
        return stands if stands and self.now < stands.expires_at else None

    @rule(bot=st.integers(0, 2), kind=_KINDS, key=_KEYS, value=_VALUES, life=st.integers(1, 5), off=st.integers(-1, 1))
    def put(self, bot: int, kind: str, key: str, value: dict[str, Any], life: int, off: int) -> None:
        stands = self.alive(kind, key)
        version = stands.version if stands else 0
        expected = max(0, version + off)
        ours = Document(kind, key, value, expected + 1, self.now + life)
        found = self.bots[bot].put(kind, key, value, expires_at=ours.expires_at, expected=expected, now=self.now)
        if expected == version:
            self.model[kind, key] = ours
        same = expected == version or (stands is not None and _written(stands) == _written(ours))
        assert found == (ours if same else None)

    @rule(bot=st.integers(0, 2), kind=_KINDS, key=_KEYS)
    def put_again(self, bot: int, kind: str, key: str) -> None:
        if stands := self.alive(kind, key):
            expected = stands.version - 1
            again = self.bots[bot].put(
                kind, key, stands.value, expires_at=stands.expires_at, expected=expected, now=self.now
            )
            assert again == stands

    @rule(bot=st.integers(0, 2), kind=_KINDS, key=_KEYS)
    def take(self, bot: int, kind: str, key: str) -> None:
        assert self.bots[bot].take(kind, key, self.now) == self.alive(kind, key)
        self.model.pop((kind, key), None)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(bot=st.integers(0, 2))
    def restart(self, bot: int) -> None:
        self.bots[bot] = self.opened()

    @invariant()
    def agrees(self) -> None:
        for kind in ("request", "draft"):
            expected = [self.alive(kind, key) for key in "abc"]
            for bot in self.bots:
                assert [bot.get(kind, key, self.now) for key in "abc"] == expected
                assert sorted(bot.list(kind, self.now)) == [document for document in expected if document]

    def teardown(self) -> None:
        self.bots.clear()
        self.folder.cleanup()


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
