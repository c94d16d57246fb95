"""The forge: who wrote the commits that are about to ship."""

from collections.abc import Iterable
from typing import Protocol

from gate.errors import Denied
from gate.models import Commit


class History(Protocol):
    """A source of commits: the local clone, or a forge's API."""

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> Iterable[Commit]:
        """The commits that are new in `sha`, where those of `allowed` were allowed before it, newest first.

        They are those of `base..sha`, where the base is the first of `allowed` that is `sha` or an ancestor of it. If
        nothing was ever allowed they are those of `sha^1..sha`. `allowed` is read only as far as needed, and may raise
        errors of its own.

        Raises:
            Unattributed: the range can't be had whole, or none of `allowed` is a base.
        """
        ...

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """The first of these commits that the repository has, on whatever branch.

        Raises:
            Unattributed: that can't be told.
        """
        ...


class Unattributed(Denied):
    """Who wrote the commits can't be told, so nobody can be shown not to have written them."""

    def __init__(self, message: str, *, hint: str, actual: str = "") -> None:
        super().__init__(
            "approver.is_author",
            message,
            hint=hint,
            expected="every commit attributed to somebody other than the approver",
            actual=actual,
        )
