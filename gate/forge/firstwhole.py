"""Several histories as one: the first that has the range whole."""

from collections.abc import Sequence

from gate.forge import History, Unattributed
from gate.models import Commit


class FirstWhole:
    """Asks each of `histories` in turn, e.g. the local clone, then the forge."""

    def __init__(self, histories: Sequence[History]) -> None:
        self._histories = tuple(histories)

    def commits(self, repository: str, base: str | None, sha: str) -> list[Commit]:
        """The commits of `base..sha`, without a base those of `sha^1..sha`.

        Raises:
            Unattributed: none has them; says why, for each.
        """
        failures: list[Unattributed] = []
        for history in self._histories:
            try:
                return list(history.commits(repository, base, sha))
            except Unattributed as failure:  # noqa: PERF203 (each history has its own)
                failures.append(failure)
        raise _together(failures)


def _together(failures: Sequence[Unattributed]) -> Unattributed:
    if len(failures) == 1:
        return failures[0]
    return Unattributed(
        " ".join(failure.message for failure in failures) or "There is nobody to ask who wrote the commits.",
        hint=" Or: ".join(dict.fromkeys(failure.hint for failure in failures))
        or "Run the gate in a full clone (fetch-depth: 0), or give it a token for the forge's API.",
        actual="; ".join(failure.actual for failure in failures if failure.actual),
    )
