"""What a proof tells while it runs."""

from typing import Literal, NamedTuple

from gate.models import Stream
from gate.record import AnyRecord

FaultKind = Literal[
    "removed",  # no record stands where one belongs
    "altered",  # its digest is not the one that the next record, or the anchor, names
    "misplaced",  # it is a record of another place
    "inserted",  # it stands beyond the head, and does not follow it
    "unanchored",  # its stream has no usable head in the replay store, or one that is older than the log
    "forged",  # it allows, but its own tokens don't
    "unproved",  # it allows, and no policy that was given lists its key
    "reused",  # it allows with an approval that an earlier record had used up
    "stray",  # it is no record at all
    "unrecorded",  # an approval was consumed, and no record allows with it
]


Strength = Literal["policy", "archived", "signatures"]


class Fault(NamedTuple):
    """Something that is wrong, from record `first` to record `last` of `stream` (None where it is no record).

    `unread` says that what stands there counts as no decision: no `Step` tells of it.
    """

    kind: FaultKind
    message: str
    stream: Stream | None = None
    first: int = 0
    last: int = 0
    uri: str = ""
    unread: bool = False

    @property
    def left_out(self) -> int:
        """How many records stand in the log that no `Step` tells of because of it."""
        return self.last - self.first + 1 if self.unread else 0


class Note(NamedTuple):
    """Something to know that is not wrong."""

    message: str


class Step(NamedTuple):
    """A record that was read: what it says, and how far it proved itself.

    `evidence` is "policy" for an allow verified under the policy that decided, as it was given; "archived" for one
    under it as the log keeps it, where a given one leads to it; "signatures" for one of which only the signatures and
    claims could be verified; "" for one that did not hold and for everything that is no allow.
    """

    record: AnyRecord
    uri: str
    evidence: Strength | Literal[""] = ""


Event = Fault | Note | Step
