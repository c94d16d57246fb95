"""Fixtures that tests of several packages share."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.parts import Aws, need, running_aws
from tests.redisserver import SAFE, RedisServer, running_redis


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """A stand-in for AWS, one for each xdist worker, with fake credentials for it in the environment."""
    need(find_spec("ministack") is not None, "ministack (pip install ministack)")
    folder: Path = tmp_path_factory.mktemp("ministack")
    with pytest.MonkeyPatch.context() as patch, running_aws(folder) as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDFAKE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(folder / "no-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "no-credentials"))
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server as it should be, one for each xdist worker; a test takes a database of its own."""
    with running_redis(tmp_path_factory.mktemp("redis"), *SAFE) as server:
        yield server
