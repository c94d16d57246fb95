"""The forge: who wrote the commits that are about to ship."""

from collections.abc import Iterable
from typing import Protocol

from gate.errors import Denied
from gate.models import Commit


class History(Protocol):
    """A source of commits: the local clone, or a forge's API."""

    def commits(self, repository: str, base: str | None, sha: str) -> Iterable[Commit]:
        """The commits of `base..sha`; without a base (nothing was ever allowed) those of `sha^1..sha`.

        Raises:
            Unattributed: the range can't be had whole.
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
