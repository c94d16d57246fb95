"""Every backend of the replay store, so that one contract is tested over all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gate.replay import redisserver
from tests.parts import Aws
from tests.redisserver import SAFE, RedisServer, running_redis
from tests.replay.material import Backend


@pytest.fixture
def sqlite(tmp_path: Path) -> Backend:
    return Backend("sqlite:state/replay.db", tmp_path)


@pytest.fixture
def dynamodb(aws: Aws, tmp_path: Path) -> Backend:
    return Backend(f"dynamodb://{aws.table()}?region={aws.region}&endpoint={aws.endpoint}", tmp_path)


@pytest.fixture
def owned(aws: Aws, tmp_path: Path) -> Backend:
    """A table that is asked for by its ARN; where the access key names no account, the stand-in's is all zeros."""
    return Backend(f"dynamodb://{aws.table()}?region={aws.region}&endpoint={aws.endpoint}&owner={'0' * 12}", tmp_path)


@pytest.fixture
def redis(redis_server: RedisServer, tmp_path: Path) -> Backend:
    return Backend(redis_server.fresh(), tmp_path)


@pytest.fixture(params=["memory", "sqlite", "dynamodb", "owned", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each backend in turn."""
    if request.param == "memory":
        return Backend("memory:", tmp_path)
    place: Backend = request.getfixturevalue(request.param)
    return place


@pytest.fixture(params=["sqlite", "dynamodb", "redis"])
def lasting(request: pytest.FixtureRequest) -> Backend:
    """Each backend that outlives its process."""
    place: Backend = request.getfixturevalue(request.param)
    return place


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of one's own, that writes through to its disk."""
    with running_redis(tmp_path / "redis", *SAFE) as server:
        yield server


@pytest.fixture
def hasty_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly a pause between tries."""
    monkeypatch.setattr(redisserver, "_PAUSE", 0.01)
