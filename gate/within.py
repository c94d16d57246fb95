"""Work in bounded time, where nothing in the work itself bounds it: a slow name server, or a server that drips."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as _FutureTimeout  # the builtin one only since Python 3.11
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class TooLate(Exception):
    """The work was not done in time."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` gives, or raises, in a thread of its own.

    Raises:
        TooLate: it took longer; the thread is left behind, and does not keep the process alive.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised again where the result is asked for)
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except _FutureTimeout:
        raise TooLate from None
