"""Every backend of the deploy-bot's state, so that one contract is tested over all."""

from pathlib import Path

import pytest

from gate.bot.state import State
from tests.bot.state.material import Place, dynamodb_uri, fresh_table
from tests.parts import Aws


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    return Place("sqlite:state/bot.db", tmp_path)


@pytest.fixture
def dynamodb(aws: Aws, tmp_path: Path) -> Place:
    return Place(dynamodb_uri(fresh_table(aws), aws.endpoint), tmp_path)


@pytest.fixture(params=["sqlite", "dynamodb"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each backend in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def state(place: Place) -> State:
    """An empty state in each backend."""
    return place.open()
