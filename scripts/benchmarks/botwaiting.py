"""What a job that waits costs a deploy-bot: the requests that the gate's own client makes, by the bot's own count."""

import time
from collections.abc import Iterator
from pathlib import Path

from gate.bot.keyring import Keyring
from gate.bot.state import State
from gate.requester import Asked
from scripts.benchmarks.botplace import Bot, running
from scripts.benchmarks.measure import Row, Sizes

SECTION = "deploy-bot, waiting"
_MOST = 0.5  # requests per second and job
_AT_FIRST = 120.0  # seconds in which the bot asks to be asked more often


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Nobody sleeps: the client's clock is moved on, and its request is made older by as much."""
    with running(folder, 4) as bot:
        for what, seconds in (("the first two minutes", _AT_FIRST), (f"{sizes.wait / 60:.0f} minutes", sizes.wait)):
            rate = _requests(bot, seconds) / seconds
            yield Row(SECTION, f"a job that waits for {what}", rate, "/s", "one in two seconds", _MOST, 1.0)


def _requests(bot: Bot, seconds: float) -> int:
    passing = _Time(bot.state, bot.keyring)
    requester = bot.requester(clock=lambda: passing.now, sleep=passing.sleep, jitter=lambda: 0.0)
    before = _api_calls(bot)
    passing.asked = asked = bot.ask("production", requester)
    requester.wait(asked, seconds)
    return _api_calls(bot) - before


def _api_calls(bot: Bot) -> int:
    return sum(count for (route, _), count in bot.answered().items() if route.startswith("/api/"))


class _Time:
    """Time that passes for the client and, in `state`, for its request."""

    def __init__(self, state: State, keyring: Keyring) -> None:
        self.now = 0.0
        self.asked: Asked | None = None
        self._state = state
        self._keyring = keyring

    def sleep(self, seconds: float) -> None:
        """Let whole seconds pass."""
        self.now += seconds
        now, passed = int(time.time()), round(seconds)
        document = self._state.get("request", self.asked.id, now) if self.asked else None
        if document is None:
            raise SystemExit("bench: the bot has lost a request")
        purpose = f"request {document.key}"
        value = self._keyring.unseal(purpose, document.value["sealed"], now=now) or {}
        older = {name: value[name] - passed for name in ("asked_at", "expires_at")}
        self._state.put(
            "request",
            document.key,
            {"sealed": self._keyring.seal(purpose, {**value, **older}, until=document.expires_at)},
            expires_at=document.expires_at,
            expected=document.version,
            now=now,
        )
