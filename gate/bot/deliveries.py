"""Deliveries: which of GitHub's webhooks were taken, so that an old one that is sent again later opens nothing."""

from collections.abc import Callable

from gate.bot.state import State

_KEPT = 35 * 24 * 3600  # seconds; a run ends after 35 days, its waits included (GitHub, "Actions limits")


class Deliveries:
    """The deliveries in `state`, each by the digest of its signed body. `clock` gives epoch seconds."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def has(self, delivery: str) -> bool:
        """Whether it was taken before.

        Raises:
            Unavailable: that can't be told.
        """
        return self._state.get("delivery", delivery, self._now) is not None

    def add(self, delivery: str) -> None:
        """Remember it, once its request is there: a bot that dies before takes it again, as the same.

        Raises:
            Unavailable: that can't be written.
        """
        now = self._now
        self._state.put("delivery", delivery, {}, expires_at=now + _KEPT, expected=0, now=now)

    @property
    def _now(self) -> int:
        return int(self._clock())
