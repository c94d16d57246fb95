"""Consume and record, as writers grow: threads where the store lives in the process, processes where it does not."""

import multiprocessing
import multiprocessing.dummy
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from gate.audit import AuditLog, open_audit_log
from gate.chain import append
from gate.deployment import Deployment
from gate.errors import Undecided
from gate.models import Consumption
from gate.record import Entry
from gate.replay import ReplayStore, open_replay_store
from scripts.benchmarks.measure import Row, Sizes, at_hand
from tests.parts import Aws
from tests.redisserver import SAFE, RedisServer, running_redis
from tests.world import ALICE, SHA

SECTION = "consume + record"
_DAY = 24 * 3600


class Pair(NamedTuple):
    """A replay store and an audit log, by their URIs."""

    replay: str
    audit: str

    @property
    def name(self) -> str:
        """E.g. `sqlite + file`."""
        return " + ".join(uri.partition(":")[0] for uri in self)


class Tally(NamedTuple):
    """What one writer did: decisions recorded, those that the gate would have refused as too busy, and for how long."""

    recorded: int
    refused: int
    seconds: float


def rows(folder: Path, sizes: Sizes, aws: Aws) -> Iterator[Row]:
    """Every pair, with each writer in a stream of its own, and with all of them in one."""
    folder.mkdir()
    where = f"?region={aws.region}&endpoint={aws.endpoint}"
    yield from _both(Pair("memory:", f"file://{folder}/beside-memory"), sizes)
    yield from _both(Pair(f"sqlite://{folder}/replay.db", f"file://{folder}/beside-sqlite"), sizes)
    with redis_at_hand(folder / "redis") as redis:
        if redis:
            yield from _both(Pair(redis.uri, f"file://{folder}/beside-redis"), sizes)
    yield from _both(Pair(f"dynamodb://{aws.table()}{where}", f"s3://{aws.bucket()}/audit{where}"), sizes)


@contextmanager
def redis_at_hand(folder: Path) -> Iterator[RedisServer | None]:
    """A server of its own that has every write on its disk before it answers, None where there is none to run."""
    if not at_hand("redis-server, or no redis for Python", shutil.which("redis-server"), find_spec("redis")):
        yield None
        return
    with running_redis(folder, *SAFE) as server:
        yield server


def _both(pair: Pair, sizes: Sizes) -> Iterator[Row]:
    yield from _rows(pair, "own streams", sizes)
    yield from _rows(pair, "one stream", sizes)


def _rows(pair: Pair, streams: str, sizes: Sizes) -> Iterator[Row]:
    rates: dict[int, list[float]] = {writers: [] for writers in sizes.writers}
    refused = dict.fromkeys(sizes.writers, 0)
    for _, writers in product(range(sizes.repeats), sizes.writers):
        repositories = [f"acme/shop-{number}" if streams == "own streams" else "acme/shop" for number in range(writers)]
        tallies = _together(pair, repositories, sizes.seconds)
        rates[writers].append(sum(tally.recorded / tally.seconds for tally in tallies))
        refused[writers] += sum(tally.refused for tally in tallies)
    alone = median(rates[sizes.writers[0]])
    for writers in sizes.writers:
        note = f" ({refused[writers]} too busy)" if refused[writers] else ""
        name = f"{pair.name}, {streams}, writers: {writers}{note}"
        yield Row(SECTION, name, median(rates[writers]), "/s", "1 writer", alone if writers > 1 else 0.0)


def _together(pair: Pair, repositories: list[str], seconds: float) -> list[Tally]:
    """Let one writer for each of `repositories` write, all at the same time."""
    kind: Any = multiprocessing.dummy if pair.replay == "memory:" else multiprocessing.get_context("spawn")
    barrier, tallies = kind.Barrier(len(repositories)), kind.Queue()
    _open(pair)  # threads share it; processes open their own
    workers = [
        kind.Process(target=_write, args=(pair, repository, seconds, barrier, tallies)) for repository in repositories
    ]
    for worker in workers:
        worker.start()
    found = [tallies.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    return found


@cache
def _open(pair: Pair) -> tuple[ReplayStore, AuditLog]:
    return open_replay_store(pair.replay, None), open_audit_log(pair.audit, None)


def _write(pair: Pair, repository: str, seconds: float, barrier: Any, tallies: Any) -> None:
    store, log = _open(pair)
    deployment = Deployment(repository=repository, sha=SHA, environment="production")
    _decide(store, log, deployment)  # connects, and pays for the imports
    barrier.wait(timeout=60)
    start = time.monotonic()
    recorded = []
    while time.monotonic() < start + seconds:
        recorded.append(_decide(store, log, deployment))
    tallies.put(Tally(recorded.count(True), recorded.count(False), time.monotonic() - start))


def _decide(store: ReplayStore, log: AuditLog, deployment: Deployment) -> bool:
    """What a decision writes: one use of one JTI, and one record; False where the gate would block instead."""
    now, nonce = int(time.time()), secrets.token_urlsafe(16)
    try:
        store.consume([use(secrets.token_urlsafe(24), nonce, deployment, now)])
        append(log, store, _entry(nonce, deployment, now))
    except Undecided:
        return False
    return True


def use(jti: str, nonce: str, deployment: Deployment, now: int) -> Consumption:
    """A use of a JTI that is remembered for a day."""
    return Consumption(jti, nonce, now + _DAY, now, deployment.stream, deployment.sha, ALICE)


def _entry(nonce: str, deployment: Deployment, now: int) -> Entry:
    return Entry(
        invocation=nonce,
        decided_at=now,
        reason="allowed",
        message=f"Approved by {ALICE}.",
        deployment=deployment,
        approvals=({"approver": ALICE, "jti": nonce, "kid": "test-key", "issued_at": now, "expires_at": now + 600},),
        tokens=("." * 700,),  # as long as a token is
        policy_sha256="0" * 64,
        gate="bench",
    )
