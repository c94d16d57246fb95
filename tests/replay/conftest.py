"""Every backend of the replay store, so that one contract is tested over all."""

from pathlib import Path

import pytest

from tests.parts import Aws
from tests.replay.material import Backend


@pytest.fixture
def sqlite(tmp_path: Path) -> Backend:
    return Backend("sqlite:state/replay.db", tmp_path)


@pytest.fixture
def dynamodb(aws: Aws, tmp_path: Path) -> Backend:
    return Backend(f"dynamodb://{aws.table()}?region={aws.region}&endpoint={aws.endpoint}", tmp_path)


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each backend in turn."""
    if request.param == "memory":
        return Backend("memory:", tmp_path)
    place: Backend = request.getfixturevalue(request.param)
    return place


@pytest.fixture(params=["sqlite", "dynamodb"])
def lasting(request: pytest.FixtureRequest) -> Backend:
    """Each backend that outlives its process."""
    place: Backend = request.getfixturevalue(request.param)
    return place
