"""`gate audit verify` on a log that grows: the time for each record, and the most memory that it ever holds."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gate.audit import RecordPath
from gate.models import Head
from gate.record import Entry, Record, compose, digest, parse
from gate.tokens import decode
from scripts.benchmarks.measure import Row, Sizes, process
from scripts.benchmarks.writers import use
from tests.world import World

SECTION = "gate audit verify, in a folder"
# A process's peak starts at that of its parent, so a parent that is smaller than any gate starts it.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in
_PACE = 600  # seconds between two decisions
_REMEMBERED = 31 * 24 * 3600  # seconds for which SQLite remembers a use


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """One log, proved again whenever it has grown to the next size."""
    folder.mkdir()
    world = World(folder, now=int(time.time()))
    growing = _Log(world, sizes.records[-1])
    first = (0.0, 0.0)
    for count in sizes.records:
        growing.grow(count)
        verify = [sys.executable, "-I", "-m", "gate", "audit", "verify", "--policy", str(world.path)]
        ended = process([sys.executable, "-I", "-c", _PEAK, *verify], folder)
        each, peak = ended.seconds / count * 1e6, int(ended.printed) * _UNIT / 2**20
        baseline = f"{sizes.records[0]:,} records"
        yield Row(SECTION, f"{count:,} records, each", each, "µs", baseline, first[0])
        yield Row(SECTION, f"{count:,} records, peak memory", peak, "MiB", baseline, first[1])
        first = first if any(first) else (each, peak)


class _Log:
    """A log of allows, ten minutes apart and the last one just now, written as fast as the disk takes it."""

    def __init__(self, world: World, last: int) -> None:
        self._world = world
        self._policy = world.loaded().policy
        self._store = world.loaded().replay_store()
        self._stream = world.deployment().stream
        self._start = int(world.now) - last * _PACE
        self._before: Record | None = None
        self._newest = b""

    def grow(self, count: int) -> None:
        """Extend the log to `count` records, and anchor its head."""
        seq = expected = self._before.seq if self._before else 0
        folder = self._world.folder / "audit"
        (folder / self._stream.path).mkdir(parents=True, exist_ok=True)
        uses = []
        while seq < count:
            seq += 1
            now = self._start + seq * _PACE
            token = self._world.token(issued=now)
            self._append(token, now)
            (folder / str(RecordPath(self._stream, seq))).write_bytes(self._newest)
            if now > self._world.now - _REMEMBERED:
                uses.append(use(decode(token).jti, f"{seq:022d}", self._world.deployment(), now))
        self._store.consume(uses)
        self._store.advance(self._stream, Head(count, self._newest, written=True), expected)

    def _append(self, token: str, now: int) -> None:
        approval = decode(token)
        entry = Entry(
            invocation=f"{now:022d}",
            decided_at=now,
            reason="allowed",
            message=f"Approved by {approval.approver}.",
            deployment=self._world.deployment(),
            approvals=(approval.summary(),),
            tokens=(token,),
            policy_sha256=self._policy.sha256,
            gate="bench",
        )
        previous = [digest(self._newest)] if self._before else []
        self._newest = compose(entry, self._before, *previous)
        self._before = parse(self._newest)
