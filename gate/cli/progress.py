"""How far a long command has come, on a terminal."""

import sys
import time
from typing import TextIO

_PATIENCE = 0.5  # seconds that nobody needs to be told about
_PAUSE = 0.1  # seconds between two updates
_EVERY = 32  # counts between two looks at the clock


class Progress:
    """A line on stderr, where that is a terminal, which says how many of `noun` are done, and how fast."""

    def __init__(self, noun: str, stream: TextIO | None = None) -> None:
        self._noun = noun
        self._stream = sys.stderr if stream is None else stream
        self._count = 0
        self._began = time.monotonic()
        self._told = self._began + _PATIENCE - _PAUSE if self._stream.isatty() else float("inf")
        self._shown = False

    def step(self) -> None:
        """One more is done."""
        self._count += 1
        if self._count % _EVERY:
            return
        now = time.monotonic()
        if now - self._told >= _PAUSE:
            self._told = now
            self._shown = True
            rate = self._count / (now - self._began)
            self._stream.write(f"\r\x1b[K  {self._count:,} {self._noun}, {rate:,.0f} a second")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        if self._shown:
            self._shown = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()
