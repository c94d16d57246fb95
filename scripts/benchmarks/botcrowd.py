"""A crowd at a deploy-bot on one core: all engineers approve at once, while all jobs wait with the gate's client."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from gate.errors import GateError
from gate.requester import Asked, Requester, tokens_of
from scripts.benchmarks.botplace import APPROVALS, Engineer, Refused, running
from scripts.benchmarks.measure import Row, Sizes

SECTION = "deploy-bot, a crowd"
_MOST_SECONDS = 120.0  # that a job waits
_NEEDED = APPROVALS["production"]


class _Visit(NamedTuple):
    """Seconds that an engineer waited for the page, and then for the approval. Those of a failure do not count."""

    page: float
    approval: float
    failed: bool = False


class _Wait(NamedTuple):
    """Seconds from when the engineers began until a job had its tokens, and whether it got all of them."""

    seconds: float
    failed: bool = False


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Each request wants four approvals; all engineers open theirs, and approve it, as fast as they are answered."""
    jobs = sizes.crowd // _NEEDED
    with running(folder, sizes.crowd) as bot, ThreadPoolExecutor(jobs + sizes.crowd) as pool:
        requesters = [bot.requester() for _ in range(jobs)]
        asked = [bot.ask("production", requester) for requester in requesters]
        start = time.monotonic()
        waiting = [pool.submit(_waited, *pair, start) for pair in zip(requesters, asked, strict=True)]
        visits = list(pool.map(_visited, bot.engineers, [one.id for one in asked for _ in range(_NEEDED)]))
        waits = [job.result() for job in waiting]
        answers = bot.answered()
    refused = sum(count for (_, status), count in answers.items() if status >= "4")
    lost = sum(one.failed for one in (*visits, *waits))
    who = f"{sizes.crowd} engineers, {jobs} jobs"
    yield Row(SECTION, f"{who}: errors", max(refused, lost), "", "all requests", sum(answers.values()), 0.0)
    yield from _times("a page", [visit.page for visit in visits if not visit.failed])
    yield from _times("an approval", [visit.approval for visit in visits if not visit.failed])
    yield Row(SECTION, "until the last job has its tokens", max(wait.seconds for wait in waits), "s")


def _times(what: str, seconds: Sequence[float]) -> Iterator[Row]:
    percents = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [0.0] * 99
    for percent in (50, 99):
        yield Row(SECTION, f"{what}, {percent} of 100 within", percents[percent - 1], "s")


def _visited(engineer: Engineer, request_id: str) -> _Visit:
    start = time.monotonic()
    try:
        form = engineer.look(request_id)
        seen = time.monotonic()
        engineer.approve(request_id, form)
    except (Refused, OSError, EOFError) as error:
        print(f"  {type(error).__name__}: {error}", flush=True)
        return _Visit(0.0, 0.0, failed=True)
    finally:
        engineer.wire.close()
    return _Visit(seen - start, time.monotonic() - seen)


def _waited(requester: Requester, asked: Asked, start: float) -> _Wait:
    try:
        tokens = tokens_of(asked, requester.wait(asked, _MOST_SECONDS))
    except GateError as error:
        print(f"  {type(error).__name__}: {error}", flush=True)
        tokens = ()
    return _Wait(time.monotonic() - start, failed=len(tokens) != _NEEDED)
