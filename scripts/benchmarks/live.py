"""Does consuming a JTI cost more where many others are remembered?"""

import secrets
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from gate.deployment import Deployment
from gate.replay import ReplayStore, open_replay_store
from scripts.benchmarks.measure import Row, Sizes, interleaved
from scripts.benchmarks.writers import redis_at_hand, use
from tests.parts import Aws
from tests.world import SHA

SECTION = "consume, by live JTIs"
_DEPLOYMENT = Deployment(repository="acme/shop", sha=SHA, environment="production")


def rows(folder: Path, sizes: Sizes, aws: Aws) -> Iterator[Row]:
    """SQLite, Redis and DynamoDB, each with few and with many."""
    folder.mkdir()
    where = f"?region={aws.region}&endpoint={aws.endpoint}"
    yield from _rows("sqlite", [f"sqlite://{folder}/{live}.db" for live in sizes.live_sqlite], sizes.live_sqlite, sizes)
    with redis_at_hand(folder / "redis") as redis:
        if redis:
            yield from _rows("redis", [redis.fresh() for _ in sizes.live_redis], sizes.live_redis, sizes)
    tables = [f"dynamodb://{aws.table()}{where}" for _ in sizes.live_dynamodb]
    yield from _rows("dynamodb", tables, sizes.live_dynamodb, sizes)


# Uses that one call may carry: DynamoDB takes 100 in a transaction.
_BATCH = {"sqlite": 200_000, "redis": 1_000, "dynamodb": 100}


def _rows(name: str, uris: list[str], counts: tuple[int, int], sizes: Sizes) -> Iterator[Row]:
    few, many = (open_replay_store(uri, None) for uri in uris)
    for store, count in zip((few, many), counts, strict=True):
        _fill(store, count, batch=_BATCH[name])
    taken = interleaved({"few": _consume(few), "many": _consume(many)}, sizes.consumptions)
    ms = {which: seconds * 1e3 for which, seconds in taken.items()}
    yield Row(SECTION, f"{name}, {counts[1]:,} live", ms["many"], "ms", f"{counts[0]:,} live", ms["few"])


def _fill(store: ReplayStore, count: int, batch: int) -> None:
    now, nonce = int(time.time()), secrets.token_urlsafe(16)
    jtis = (secrets.token_urlsafe(24) for _ in range(count))
    while some := list(islice(jtis, batch)):
        store.consume([use(jti, nonce, _DEPLOYMENT, now) for jti in some])


def _consume(store: ReplayStore) -> Callable[[], None]:
    return lambda: store.consume(
        [use(secrets.token_urlsafe(24), secrets.token_urlsafe(16), _DEPLOYMENT, int(time.time()))]
    )
