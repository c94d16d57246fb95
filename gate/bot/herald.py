"""The herald: sees that every notice is delivered, although bots die and channels are down.

An errand is written *before* the change that it tells of, and compared with the request when it is run: so a change is
never left untold, and one that did not come about is not told.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event, Thread
from typing import Any, NamedTuple

from gate.bot.errors import BotError
from gate.bot.metrics import NOTICES
from gate.bot.notices import Channel, News, Notice, Undelivered
from gate.bot.request import ApprovalRequest
from gate.bot.state import Document, State
from gate.errors import GateError

_LOG = logging.getLogger(__name__)
_UNTOLD = 10  # seconds that a change may take until it can be told
_LEASE = 60  # seconds that a bot has for one errand before another bot takes it over
_PATIENCE = 45.0  # seconds that it waits for all channels; each has a bound of its own, and this is for one without
_MOST_TRIES = 12
_MOST_LOOKS = 4  # for a change that has not come about, 150 s in all: whoever is to make it may be slow
_LONGEST_PAUSE = 600  # seconds
_KEPT = 24 * 3600  # seconds after an errand is due that it is given up
_REMEMBERED = 60  # seconds that what was told stays known, so that a racing bot's errand does not tell it again
_TICK = 5.0  # seconds between looks for errands that other bots left
_ERRANDS, _DELIVERIES = 8, 4  # at once: in all, and by one channel

Tell = Callable[[str, int, News], Notice | None]
"""The notice about the request of this id and generation, None where it does not, or no longer, tell this news."""


class _Outcome(NamedTuple):
    """What became of one notice in one channel: `over` if there is nothing more to do, else wait `after` seconds."""

    over: bool
    after: float = 0.0


class Herald:
    """Delivers to `channels`. `tell` puts a request into words; `clock` gives epoch seconds."""

    def __init__(self, state: State, channels: Sequence[Channel], tell: Tell, clock: Callable[[], float]) -> None:
        self._state = state
        self._channels = {channel.name: channel for channel in channels}
        self._tell = tell
        self._clock = clock
        self._pool = ThreadPoolExecutor(_ERRANDS, thread_name_prefix="herald")
        self._couriers = {name: ThreadPoolExecutor(_DELIVERIES, thread_name_prefix=name) for name in self._channels}
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="herald", daemon=True)

    def start(self) -> None:
        """Begin to look for errands."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and let what is under way end. What is left stays for whoever looks next."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for pool in (self._pool, *self._couriers.values()):
            pool.shutdown(wait=True)

    def announce(self, request: ApprovalRequest, news: News, *, due_at: int | None = None) -> None:
        """Have `news` of the request told at `due_at` (epoch seconds), by whichever bot is alive then; without it, when
        the change that is about to be made must have come about.

        Raises:
            Unavailable: that can't be written down.
        """
        if not self._channels:
            return
        due_at = self._now + _UNTOLD if due_at is None else due_at
        errand = _errand(request, news, due_at)
        self._state.put("errand", _key(request, news), errand, expires_at=due_at + _KEPT, expected=0, now=self._now)

    def hurry(self, request: ApprovalRequest, news: News) -> None:
        """Tell it now: the change has come about."""
        if self._channels and not self._stop.is_set():
            self._pool.submit(self._guarded, lambda: self._run_one(_key(request, news)))

    def run_due(self) -> None:
        """Run every errand that is due, several at once."""
        now = self._now
        due = [document for document in self._state.list("errand", now) if _due_at(document) <= now]
        wait([self._pool.submit(self._guarded, partial(self._run, one)) for one in due])

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
            if not self._stop.is_set():
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
        errand = dict(taken.value)
        notice = self._tell(errand["id"], errand["generation"], errand["news"])
        if notice is None:
            self._put_off(taken, errand, most=_MOST_LOOKS)
            return
        outcomes = self._deliver(notice, [name for name in self._channels if name not in errand["done"]])
        errand["done"] = sorted({*errand["done"], *(name for name, outcome in outcomes.items() if outcome.over)})
        if all(outcome.over for outcome in outcomes.values()):
            self._put_back(taken, errand | {"due_at": self._now + _KEPT}, expires_at=self._now + _REMEMBERED)
        else:
            self._put_off(taken, errand, most=_MOST_TRIES, least=max(one.after for one in outcomes.values()))

    def _put_off(self, taken: Document, errand: dict[str, Any], *, most: int, least: float = 0.0) -> None:
        """Have it tried again later, unless it was tried often enough."""
        if errand["tries"] >= most:
            self._state.take("errand", taken.key, self._now)
            return
        pause = max(min(_LONGEST_PAUSE, 5 * 2 ** errand["tries"]), min(_LONGEST_PAUSE, int(least) + 1))
        self._put_back(taken, errand | {"due_at": self._now + pause})

    def _deliver(self, notice: Notice, names: Sequence[str]) -> dict[str, _Outcome]:
        """Deliver to all of these channels at once: none waits for another."""
        under_way = {name: self._couriers[name].submit(self._delivered, self._channels[name], notice) for name in names}
        wait(under_way.values(), _PATIENCE)
        return {name: _outcome(future) for name, future in under_way.items()}

    def _delivered(self, channel: Channel, notice: Notice) -> _Outcome:
        try:
            channel.deliver(notice)
        except Exception as error:  # noqa: BLE001 (a bug in one channel must not keep the others from telling)
            NOTICES.labels(channel.name, "failed").inc()
            why = error.message if isinstance(error, GateError) else type(error).__name__
            _LOG.warning("notice not delivered", extra={"channel": channel.name, "error": why})
            if isinstance(error, Undelivered):
                return _Outcome(error.final, error.after)
            return _Outcome(over=False)
        NOTICES.labels(channel.name, "delivered").inc()
        return _Outcome(over=True)

    def _put_back(self, document: Document, value: dict[str, Any], expires_at: int = 0) -> Document | None:
        try:
            return self._state.put(
                "errand",
                document.key,
                value,
                expires_at=expires_at or document.expires_at,
                expected=document.version,
                now=self._now,
            )
        except BotError:
            return None


def _errand(request: ApprovalRequest, news: News, due_at: int) -> dict[str, Any]:
    """The document: `done` are the channels that have told it."""
    about = {"id": request.id, "generation": request.generation, "news": news}
    return about | {"due_at": due_at, "tries": 0, "done": []}


def _key(request: ApprovalRequest, news: News) -> str:
    return f"{request.id}.{request.generation}.{news}"


def _due_at(document: Document) -> int:
    """When it is due; one that no bot wrote never is, and stands in nobody's way."""
    due_at = document.value.get("due_at")
    return due_at if isinstance(due_at, int) else document.expires_at


def _outcome(future: "Future[_Outcome]") -> _Outcome:
    future.cancel()
    return future.result() if future.done() and not future.cancelled() else _Outcome(over=False)
