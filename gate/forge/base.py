"""The base: which of the commits that were allowed before says what is old in a deployment."""

from collections.abc import Callable, Iterable

from gate.forge import Unattributed
from gate.scope import parse_sha


def find_base(allowed: Iterable[str], sha: str, is_below: Callable[[str], bool]) -> str | None:
    """The first of `allowed` that is `sha` or, as `is_below` says, an ancestor of it; None where nothing was allowed.

    A commit is old if it is reached from there, and only then. What a deployment further up brought in was approved
    as part of that one, by whoever had no hand in it; alone, or under other commits, it was never approved.

    Raises:
        Unattributed: there are allowed ones, but none is at or below `sha`.
    """
    asked = 0
    for candidate in map(parse_sha, allowed):
        if candidate == sha or is_below(candidate):
            return candidate
        asked += 1
    if asked:
        raise _nothing_below(sha, asked)
    return None


def _nothing_below(sha: str, asked: int) -> Unattributed:
    return Unattributed(
        f"None of the commits that were allowed here is {sha[:12]} or an ancestor of it, so what is new can't be told.",
        hint="Deploy a commit that was allowed before, or a descendant of one. Or approve this deployment under a "
        "policy with separation_of_duties: false, which its record shows (docs/policy.md).",
        actual=f"{asked} looked at",
    )
