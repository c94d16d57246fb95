"""This machine's clock, held against others: an approval lives, and a store forgets, by what clocks say."""

import time

from gate.errors import ClockMismatch

_SKEW = 30  # seconds by which two clocks that are kept right may differ
FAR_OFF = 300  # seconds beyond which one of two clocks is wrong; what AWS allows between its own and a request's


def check_clock(theirs: float | None, whose: str) -> None:
    """Check this machine's clock against another, which says `theirs` (epoch seconds) just now; None is not known.

    Raises:
        ClockMismatch: they are so far apart that one of them is wrong.
    """
    ahead = _ahead(theirs)
    if abs(ahead) > FAR_OFF:
        raise ClockMismatch(ahead, f"that of {whose}")


def skew(theirs: float | None, whose: str) -> str:
    """What the doctor should say of this machine's clock against another, "" where they agree."""
    ahead = _ahead(theirs)
    side = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):,} s {side} that of {whose}" if abs(ahead) > _SKEW else ""


def _ahead(theirs: float | None) -> int:
    return 0 if theirs is None else round(time.time() - theirs)
