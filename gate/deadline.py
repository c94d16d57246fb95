"""Deadlines from outside: whatever a library, a name server or the other side makes of it, a call ends in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from math import inf
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_end = ContextVar("_end", default=inf)  # on the monotonic clock


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """No call that the block makes `within` its own seconds lasts, or begins, after these."""
    before = _end.set(min(_end.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _end.reset(before)


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` gives, in a thread of its own: nothing else bounds a slow name server, or a server that drips.

    Raises:
        TimeoutError: it took longer, or than a deadline around it; the thread is left behind, and does not keep the
            process alive.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again where it was asked for)
            failed.append(error)

    with deadline(seconds):
        left = _end.get() - time.monotonic()
        if left <= 0:
            raise TimeoutError
        thread = Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(left)
    if failed:
        raise failed.pop()  # kept, it and its traceback would be a circle that keeps its sockets open
    if not done:
        raise TimeoutError
    return done[0]
