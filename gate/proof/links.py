"""Which record of a chain was altered, told from the links between neighbours that no longer hold."""

from collections.abc import Iterator
from typing import NamedTuple


class Conviction(NamedTuple):
    """Record `seq` was altered. `alone` is False where its link backwards is broken too, so that nothing vouches for
    the record before it."""

    seq: int
    alone: bool


class Links:
    """The links of one stream, handed over in order, and the records they convict.

    Link k joins record k - 1 to record k: it is broken where record k names another digest than record k - 1 has. The
    last link joins the newest record to its anchor. A link next to a record that is missing or no record says nothing,
    and counts as whole.

    A record's own link backwards is broken if its `previous` was edited, and its link forwards if any of it was. So
    record i is convicted by a broken link forwards, unless that break is better explained by record i + 1, whose own
    link forwards is broken as well.
    """

    def __init__(self) -> None:
        self._count = 0
        self._broken = (False, False)

    def add(self, *, broken: bool) -> Iterator[Conviction]:
        """Take the next link (the first is link 1, to the stream's beginning); gives what it convicts, if anything.

        Record 0 is convicted where the first record claims to follow another.
        """
        self._count += 1
        backwards, forwards = self._broken
        self._broken = (forwards, broken)
        if forwards and (backwards or not broken):
            yield Conviction(self._count - 2, alone=not backwards)

    def close(self) -> Iterator[Conviction]:
        """What the last link convicts."""
        yield from self.add(broken=False)
