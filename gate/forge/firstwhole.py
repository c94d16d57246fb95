"""Several histories as one: the first that has the range whole."""

from collections.abc import Iterable, Sequence
from itertools import tee

from gate.forge import History, Unattributed
from gate.models import Commit


class FirstWhole:
    """Asks each of `histories` in turn, e.g. the local clone, then the forge."""

    def __init__(self, histories: Sequence[History]) -> None:
        self._histories = tuple(histories)

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        """The commits that are new in `sha`; see `History.commits`.

        Raises:
            Unattributed: none has them; says why, for each.
        """
        failures: list[Unattributed] = []
        for history, candidates in zip(self._histories, tee(allowed, len(self._histories)), strict=True):
            try:
                return list(history.commits(repository, candidates, sha))
            except Unattributed as failure:  # noqa: PERF203 (each history has its own)
                failures.append(failure)
        raise _together(failures)

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """The first of these commits that the repository has; see `History.holds`.

        Raises:
            Unattributed: none can tell; says why, for each.
        """
        asked, failures = tuple(shas), list[Unattributed]()
        for history in self._histories:
            try:
                return history.holds(repository, asked)
            except Unattributed as failure:  # noqa: PERF203 (each history has its own)
                failures.append(failure)
        raise _together(failures)


def _together(failures: Sequence[Unattributed]) -> Unattributed:
    if len(failures) == 1:
        return failures[0]
    messages = dict.fromkeys(failure.message for failure in failures)
    hints = dict.fromkeys(failure.hint for failure in failures)
    return Unattributed(
        " ".join(messages) or "There is nobody to ask who wrote the commits.",
        hint=" Or: ".join(hints)
        or "Run the gate in a full clone (fetch-depth: 0), or give it a token for the forge's API.",
        actual="; ".join(failure.actual for failure in failures if failure.actual),
    )
