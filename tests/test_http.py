"""Work that takes too long, or fails."""

import threading

import pytest

from gate.http import within


def test_what_the_work_gives() -> None:
    assert within(5, lambda: 7) == 7


def test_work_that_takes_too_long_is_left_behind() -> None:
    done = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, lambda: done.wait(5))
    done.set()


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError(), KeyboardInterrupt()])
def test_what_the_work_raises(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        within(5, fail)
