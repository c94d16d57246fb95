"""Presence: whether the job that asked still waits. One that was cancelled, or ran out of time, only stops asking."""

from collections.abc import Callable

from gate.bot.register import KEPT
from gate.bot.request import ApprovalRequest
from gate.bot.state import Document, State

LONGEST_POLL = 10  # seconds that a job is told to wait until it asks again
_NOTED = 5  # seconds within which a job that asks again is not noted again
GONE = 2 * LONGEST_POLL + 2 * _NOTED  # seconds without a question; clients stretch their pauses by up to a quarter


class Presence:
    """When the jobs of requests asked last, in `state`. `clock` gives epoch seconds."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def note(self, request: ApprovalRequest) -> None:
        """The request's job asks, now.

        Raises:
            Unavailable: that can't be written.
        """
        now = int(self._clock())
        document = self._state.get("presence", request.id, now)
        if now - _at(document) < _NOTED:
            return
        expected = document.version if document else 0  # where another bot was faster, its note is as good
        until = request.expires_at + KEPT
        self._state.put("presence", request.id, {"at": now}, expires_at=until, expected=expected, now=now)

    def is_gone(self, request: ApprovalRequest) -> bool:
        """Whether an approval would reach no job: the one that asked waits no longer, and nothing runs it again.

        Raises:
            Unavailable: that can't be told.
        """
        if request.comes_back:
            return False
        now = int(self._clock())
        if now - request.asked_at <= GONE:
            return False
        return now - _at(self._state.get("presence", request.id, now)) > GONE


def _at(document: Document | None) -> int:
    at = document.value.get("at") if document else None
    return at if isinstance(at, int) else 0
