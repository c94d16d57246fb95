"""The herald: sees that every notice is delivered, although bots die and channels are down.

An errand is written *before* the change that it tells of, and compared with the request when it is run: so a change is
never left untold, and one that did not come about is not told.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

from gate.bot.errors import BotError
from gate.bot.metrics import NOTICES
from gate.bot.notices import Channel, News, Notice, Undelivered
from gate.bot.request import ApprovalRequest
from gate.bot.state import Document, State
from gate.errors import GateError

_LOG = logging.getLogger(__name__)
_LEASE = 60  # seconds that a bot has for one errand before another bot takes it over
_MOST_TRIES = 12
_LONGEST_PAUSE = 600  # seconds
_KEPT = 24 * 3600  # seconds after an errand is due that it is given up
_TICK = 5.0  # seconds between looks for errands that other bots left

Tell = Callable[[str, int, News], Notice | None]
"""The notice about the request of this id and generation, None where it no longer tells this news."""


class Herald:
    """Delivers to `channels`. `tell` puts a request into words; `clock` gives epoch seconds."""

    def __init__(self, state: State, channels: Sequence[Channel], tell: Tell, clock: Callable[[], float]) -> None:
        self._state = state
        self._channels = {channel.name: channel for channel in channels}
        self._tell = tell
        self._clock = clock
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="herald")
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="herald", daemon=True)

    def start(self) -> None:
        """Begin to look for errands."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and let what is under way end."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._thread.is_alive():
            self._thread.join()

    def announce(self, request: ApprovalRequest, news: News, *, due_at: int) -> None:
        """Have `news` of the request told at `due_at` (epoch seconds), by whichever bot is alive then.

        Raises:
            Unavailable: that can't be written down.
        """
        if not self._channels:
            return
        errand = {"id": request.id, "generation": request.generation, "news": news}
        self._state.put(
            "errand",
            _key(request, news),
            errand | {"due_at": due_at, "tries": 0, "done": []},
            expires_at=due_at + _KEPT,
            expected=0,
            now=self._now,
        )

    def hurry(self, request: ApprovalRequest, news: News) -> None:
        """Tell it now: the change has come about."""
        if self._channels and not self._stop.is_set():
            self._pool.submit(self._guarded, lambda: self._run_one(_key(request, news)))

    def run_due(self) -> None:
        """Run every errand that is due, one after the other."""
        now = self._now
        for document in self._state.list("errand", now):
            if document.value["due_at"] <= now:
                self._run(document)

    @property
    def _now(self) -> int:
        return int(self._clock())

    def _watch(self) -> None:
        while not self._stop.wait(_TICK):
            self._guarded(self.run_due)

    def _run_one(self, key: str) -> None:
        document = self._state.get("errand", key, self._now)
        if document:
            self._run(document)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong, another tick comes; a watch that died would tell nobody anything."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 (see above)
            _LOG.warning("an errand failed", extra={"error": type(error).__name__})

    def _run(self, document: Document) -> None:
        """Take the errand, deliver what is left of it, and put it back if that is not all.

        The holder is random, so that of two bots that take it in the same second one finds the other there.
        """
        errand = dict(document.value)
        taken = self._put_back(
            document,
            errand | {"due_at": self._now + _LEASE, "tries": errand["tries"] + 1, "holder": secrets.token_hex(8)},
        )
        if taken is None:
            return  # another bot has it
        notice = self._tell(errand["id"], errand["generation"], errand["news"])
        done = set(errand["done"])
        left = [] if notice is None else [channel for name, channel in self._channels.items() if name not in done]
        failed = False
        for channel in left:
            if notice and self._delivered(channel, notice):
                done.add(channel.name)
            else:
                failed = True
        tries = taken.value["tries"]
        if not failed or tries >= _MOST_TRIES:
            self._state.take("errand", taken.key, self._now)
            return
        pause = min(_LONGEST_PAUSE, 5 * 2**tries)
        self._put_back(taken, dict(taken.value) | {"due_at": self._now + pause, "done": sorted(done)})

    def _delivered(self, channel: Channel, notice: Notice) -> bool:
        """Whether there is nothing more to do for this channel."""
        try:
            channel.deliver(notice)
        except GateError as error:
            NOTICES.labels(channel.name, "failed").inc()
            _LOG.warning("notice not delivered", extra={"channel": channel.name, "error": error.message})
            return isinstance(error, Undelivered) and error.final
        NOTICES.labels(channel.name, "delivered").inc()
        return True

    def _put_back(self, document: Document, value: dict[str, Any]) -> Document | None:
        try:
            return self._state.put(
                "errand",
                document.key,
                value,
                expires_at=document.expires_at,
                expected=document.version,
                now=self._now,
            )
        except BotError:
            return None


def _key(request: ApprovalRequest, news: News) -> str:
    return f"{request.id}.{request.generation}.{news}"
