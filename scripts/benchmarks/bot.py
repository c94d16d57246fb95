"""What one core of a deploy-bot answers in a second: pages, looks by jobs, approvals, against a static file of its."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gate.bot.views import asset_url
from scripts.benchmarks.botplace import Bot, Engineer, expect, running
from scripts.benchmarks.measure import Row, Sizes, interleaved
from scripts.benchmarks.wire import Wire

SECTION = "deploy-bot, one core"
_CONNECTIONS = 8  # at once: enough to keep one core busy
_ENGINEERS = 64
_NAMES = {
    "page": "a request's page, signed in",
    "poll": "a look by a job that waits",
    "approval": "an approval: challenge, passkey, token",
}


class _Worker(NamedTuple):
    """One connection, and what it does again and again."""

    wire: Wire
    steps: Sequence[Callable[[], object]]


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Every kind of answer by the same process, round by round, over connections that are kept alive."""
    with running(folder, _ENGINEERS) as bot, ThreadPoolExecutor(_CONNECTIONS) as pool:

        def measured(workers: Callable[[Bot, int], list[_Worker]], count: int) -> Callable[[], float]:
            return lambda: _seconds_each(pool, workers(bot, count // _CONNECTIONS))

        subjects = {
            "static": measured(_static, sizes.bot_answers),
            "page": measured(_pages, sizes.bot_answers),
            "poll": measured(_polls, sizes.bot_answers),
            "approval": measured(_approvals, sizes.bot_approvals),
        }
        taken = interleaved(subjects, sizes.bot_rounds)
    yield Row(SECTION, "its style sheet", 1 / taken["static"], "/s")
    for name, what in _NAMES.items():
        yield Row(SECTION, what, 1 / taken[name], "/s", "its style sheet", 1 / taken["static"])


def _seconds_each(pool: ThreadPoolExecutor, workers: Sequence[_Worker]) -> float:
    """The seconds that one step takes while all work at once; to connect does not count."""
    for worker in workers:
        expect(200, worker.wire.get("/healthz"))
    start = time.perf_counter()
    list(pool.map(_work, workers))
    taken = time.perf_counter() - start
    for worker in workers:
        worker.wire.close()
    return taken / sum(len(worker.steps) for worker in workers)


def _work(worker: _Worker) -> None:
    for step in worker.steps:
        step()


def _static(bot: Bot, count: int) -> list[_Worker]:
    return [_getting(wire, asset_url("app.css"), count) for wire in _wires(bot)]


def _polls(bot: Bot, count: int) -> list[_Worker]:
    asked = bot.ask("staging")
    path, secret = f"/api/requests/{asked.id}", f"Bearer {asked.secret}"
    return [_getting(wire, path, count, Authorization=secret) for wire in _wires(bot)]


def _pages(bot: Bot, count: int) -> list[_Worker]:
    key = bot.ask("staging").id
    return [_Worker(one.wire, [partial(one.look, key)] * count) for one in bot.next_engineers(_CONNECTIONS)]


def _approvals(bot: Bot, count: int) -> list[_Worker]:
    """Each of a request of its own, which waits for this one."""
    return [
        _Worker(one.wire, [_approving(one, bot.ask("staging").id) for _ in range(count)])
        for one in bot.next_engineers(_CONNECTIONS)
    ]


def _approving(engineer: Engineer, key: str) -> Callable[[], object]:
    """To look at the page first is not measured here."""
    return partial(engineer.approve, key, engineer.look(key))


def _getting(wire: Wire, path: str, count: int, **headers: str) -> _Worker:
    def step() -> None:
        expect(200, wire.get(path, **headers))

    return _Worker(wire, [step] * count)


def _wires(bot: Bot) -> list[Wire]:
    return [bot.wire(number) for number in range(_CONNECTIONS)]
