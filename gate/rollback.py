"""A rollback: a deployment that takes back what was allowed last (docs/policy.md, "Going back")."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gate.text import plural

if TYPE_CHECKING:
    from gate.forge import History

_NAMED = 3  # commits that were allowed, by their ids


def rollback(history: "History", repository: str, allowed: Sequence[str], sha: str) -> str:
    """How far `sha` goes back, in a sentence; "" where it does not. `allowed` are the commits that were looked at for
    its base (gate.forge.base), newest first. What can't be told is left out: this only tells, and never raises."""
    if len(allowed) < 2 or allowed[0] == sha:  # what was allowed last is at or below it
        return ""
    newest, *others = allowed[:-1]
    back = _between(history, repository, sha, newest)
    if back is None and _between(history, repository, newest, sha) is not None:
        return ""
    named = [f"{newest[:12]}, which was allowed last", *(one[:12] for one in others[: _NAMED - 1])]
    if len(others) >= _NAMED:
        named.append(f"{len(others) - _NAMED + 1} more that were allowed")
    past = f"{', '.join(named[:-1])} and {named[-1]}" if others else named[0]
    if back is None:
        return f"This goes back: it is not built on {past}."
    return f"This goes back by {plural(back, 'commit')}, past {past}."


def _between(history: "History", repository: str, old: str, new: str) -> int | None:
    """How many commits `new` has that `old` has not; None where it is not built on that, or that can't be told."""
    try:
        return len(list(history.commits(repository, [old], new)))
    except Exception:  # noqa: BLE001 (what is only told changes no decision, be it a bug)
        return None
