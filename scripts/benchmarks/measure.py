"""How the bench measures: one machine, one run, interleaved rounds, medians, ratios wherever two things compare."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the result. `value` is in `unit`, and so is `baseline_value`, 0 where there is nothing to compare.

    `target` is the largest ratio that is good enough, None where there is only something to see.
    """

    section: str
    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float = 0.0
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """The measured against its baseline, None where it has none."""
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def met(self) -> bool | None:
        """Whether the ratio is within its target, None where it has none."""
        return None if self.ratio is None or self.target is None else self.ratio <= self.target


class Sizes(NamedTuple):
    """How much of everything one run of the bench does."""

    rounds: int  # of fast things
    calls: int  # in each of those rounds
    starts: int  # of a process
    aws_starts: int
    writers: tuple[int, ...]
    repeats: int  # of writers at work
    seconds: float  # that they write, each time
    live_sqlite: tuple[int, int]
    live_redis: tuple[int, int]
    live_dynamodb: tuple[int, int]
    consumptions: int
    records: tuple[int, ...]
    signatures: int  # in each round
    bot_rounds: int
    bot_answers: int  # of each kind, in each round
    bot_approvals: int  # in each round
    crowd: int  # engineers, four for each job
    wait: float  # seconds that a job is taken to wait


FULL = Sizes(
    rounds=40,
    calls=100,
    starts=25,
    aws_starts=11,
    writers=(1, 2, 4, 8),
    repeats=3,
    seconds=0.5,
    live_sqlite=(1_000, 1_000_000),
    live_redis=(1_000, 100_000),
    live_dynamodb=(1_000, 10_000),
    consumptions=800,
    records=(1_000, 10_000, 100_000),
    signatures=20,
    bot_rounds=15,
    bot_answers=160,
    bot_approvals=32,
    crowd=200,
    wait=1800,
)
QUICK = Sizes(
    rounds=2,
    calls=5,
    starts=1,
    aws_starts=1,
    writers=(1, 2),
    repeats=1,
    seconds=0.1,
    live_sqlite=(10, 1_000),
    live_redis=(10, 1_000),
    live_dynamodb=(10, 100),
    consumptions=5,
    records=(10, 100),
    signatures=2,
    bot_rounds=1,
    bot_answers=8,
    bot_approvals=8,
    crowd=8,
    wait=180,
)


def at_hand(what: str, *present: object) -> bool:
    """Whether all that makes up a part is `present`; where it is not, say that it is not measured."""
    if not all(present):
        print(f"  not measured: this machine has no {what}", flush=True)
    return all(present)


def interleaved(subjects: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each of `subjects`, called one after the other, and back, round by round; one to warm up.

    A subject that returns a float has measured itself, for work around it that does not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    order = list(subjects.items())
    for _ in range(rounds + 1):
        for name, subject in order:
            start = time.perf_counter()
            own = subject()
            taken[name].append(own if isinstance(own, float) else time.perf_counter() - start)
        order.reverse()
    return {name: median(times[1:]) for name, times in taken.items()}


class Ended(NamedTuple):
    """What a process took, in wall seconds, and what it printed."""

    seconds: float
    printed: str


def process(command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> Ended:
    """Run a process that must succeed, in `folder`, with `more` than the bare minimum in its environment."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("AWS_")}
    environment = {**kept, "HOME": str(folder), "NO_PROXY": "127.0.0.1", **(more or {})}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"bench: {command[:6]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Ended(taken, done.stdout)
