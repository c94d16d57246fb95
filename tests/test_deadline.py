"""Work that takes too long, or fails."""

import threading

import pytest

from gate.deadline import deadline, within


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


def test_a_deadline_around_it_ends_work_and_lets_none_begin() -> None:
    done, begun = threading.Event(), threading.Event()
    with deadline(0.05), pytest.raises(TimeoutError):
        within(5, lambda: done.wait(5))
    done.set()
    with deadline(60), deadline(0), deadline(60), pytest.raises(TimeoutError):
        within(5, begun.set)
    assert not begun.is_set()
    assert within(5, lambda: 7) == 7


def test_work_within_work_ends_with_it() -> None:
    with pytest.raises(TimeoutError):
        within(5, lambda: deadline_of(0.05))


def deadline_of(seconds: float) -> None:
    done = threading.Event()
    try:
        with deadline(seconds):
            within(5, lambda: within(5, lambda: done.wait(5)))
    finally:
        done.set()
