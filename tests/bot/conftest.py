"""Fixtures of the pages' tests: one browser and one bot serve all of them in a process."""

from collections.abc import Iterator

import pytest

from tests.bot.browser import Browser, browser_path, driver_path, running_browser
from tests.bot.stage import Stage
from tests.parts import need


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The bot and all around it."""
    with Stage(tmp_path_factory.mktemp("stage")).running() as running:
        yield running


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    need(browser_path() is not None and driver_path() is not None, "Chromium with its chromedriver")
    with running_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def browser(_chromium: Browser, stage: Stage) -> Iterator[Browser]:
    """A browser of nobody, without passkeys. Whatever a page's own rules (CSP) forbade fails the test."""
    _chromium.renew(stage.url)
    yield _chromium
    assert _chromium.complaints() == []
