"""`gate audit`, run in this process, and records that mean it ill."""

from collections.abc import Callable
from typing import NamedTuple

from tests.audit.book import Book, entry

HOSTILE = "=cmd|'/c calc'!A1<script>alert(1)</script>\"&\u202e\x1b[31m\r\n::error::x"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


def hostile(book: Book) -> None:
    """A record by somebody who may write what they like."""
    approval = {"approver": HOSTILE, "jti": HOSTILE, "kid": HOSTILE, "issued_at": 1, "expires_at": 2, "reason": HOSTILE}
    made = entry(book.world, 50, reason="allowed", message=HOSTILE, approvals=(approval,), tokens=(HOSTILE,))
    book.append(made)
    book.append(entry(book.world, 51, message=HOSTILE))
