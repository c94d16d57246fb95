"""Which approvals a stream has used up, as far back as one could be used again."""

import heapq
from collections.abc import Iterator, Sequence

from gate.record import Record
from gate.steps import LEEWAY
from gate.text import printable
from gate.tokens import Approval

_SLACK = LEEWAY + 3600  # seconds by which the clocks of two gates may differ before it is worth a word


class Used:
    """The JTIs of one stream; each is forgotten some time after it has expired, so memory stays flat."""

    def __init__(self) -> None:
        self._by: dict[str, int] = {}
        self._expiries: list[tuple[int, str]] = []
        self._forgotten = 0  # every JTI that expired before this (epoch seconds) may be forgotten

    def take(self, record: Record, approvals: Sequence[Approval]) -> Iterator[str]:
        """Count the verified `approvals` of `record` as used, and complain of each that may have been before."""
        for approval in approvals:
            jti = printable(approval.jti)
            if approval.jti in self._by:
                yield f"allowed with an approval (JTI {jti}) that record {self._by[approval.jti]} had used up"
            elif approval.expires_at < self._forgotten:
                yield f"allowed with an approval (JTI {jti}) of a time long past, which may have been used up before"
            else:
                self._by[approval.jti] = record.seq
                heapq.heappush(self._expiries, (approval.expires_at, approval.jti))
        self._forget(record.decided_at - _SLACK)

    def _forget(self, before: int) -> None:
        self._forgotten = max(self._forgotten, before)
        while self._expiries and self._expiries[0][0] < self._forgotten:
            del self._by[heapq.heappop(self._expiries)[1]]
