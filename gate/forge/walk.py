"""Walks over raw commits, newest first, that believe nothing but the commits themselves."""

from collections.abc import Callable
from heapq import heappop, heappush

from gate.forge import Unattributed
from gate.forge.commitobject import CommitObject
from gate.models import Commit

_NEVER = 1 << 62  # later than any date that parse_commit gives
_WRONG_CLOCKS = 30 * 86_400  # seconds

_FETCH = "Fetch the whole history, e.g. `fetch-depth: 0` for actions/checkout, or `git fetch --unshallow`."

Read = Callable[[str], CommitObject | None]


def present(commit: CommitObject | None, sha: str) -> CommitObject:
    """The commit `sha`, which was looked for.

    Raises:
        Unattributed: it was not found.
    """
    if commit is None:
        raise Unattributed(f"Commit {sha[:12]} is not in the local clone.", hint=_FETCH, actual="it is missing")
    return commit


class Ancestors:
    """The ancestors of a commit, read only as far down as the questions about them ask for.

    Yes is always proved: by commits that are each hashed. No may be wrong, where clocks were wrong by a month or the
    clone is not what it says; an older base is then asked for, so that too much counts as new, never too little.
    """

    def __init__(self, read: Read, newest: CommitObject, is_shallow: Callable[[], bool]) -> None:
        self._read = read
        self._is_shallow = is_shallow
        self._named: set[str] = set()
        self._queue: list[tuple[int, str]] = []
        self._missing: str | None = None
        self._name_parents(newest)

    def hold(self, sha: str) -> bool:
        """Is `sha` one of them?

        Raises:
            Unattributed: the clone lacks what it takes to tell.
        """
        if sha in self._named:
            return True
        commit = self._read(sha)
        if commit is None and self._is_shallow():  # a whole clone has every ancestor, so it is none
            present(commit, sha)
        while commit and self._queue and -self._queue[0][0] >= commit.date - _WRONG_CLOCKS:
            self._descend()
            if sha in self._named:
                return True
        if self._missing is not None:
            present(None, self._missing)
        return False

    def _descend(self) -> None:
        sha = heappop(self._queue)[1]
        self._name_parents(present(self._read(sha), sha))

    def _name_parents(self, commit: CommitObject) -> None:
        for parent in commit.parents:
            if parent in self._named:
                continue
            self._named.add(parent)
            found = self._read(parent)
            if found:
                heappush(self._queue, (-found.date, parent))
            else:
                self._missing = parent


class Range:
    """From both ends of a range down, until everything still to come is old.

    Old is what the base is proved to reach. Dates only say when to stop: where clocks were wrong, a commit that is
    old may be taken for new, never one that is new for old.
    """

    def __init__(self, read: Read, newest: CommitObject, start: str, oldest: CommitObject | None) -> None:
        self._read = read
        self._old = {start}
        self._seen: dict[str, CommitObject] = {}
        self._queue: list[tuple[int, str]] = []
        self._found: list[CommitObject] = []
        self._earliest: int | None = None  # the date of the first of the new ones; None: to be worked out again
        for commit in (newest, oldest):
            if commit:
                self._push(commit)

    def new(self) -> list[Commit]:
        """The commits that the base does not reach."""
        while self._queue and not self._done():
            commit = self._seen[heappop(self._queue)[1]]
            if commit.commit.sha not in self._old:
                self._found.append(commit)
                self._earliest = None
            self._follow(commit)
        return [commit.commit for commit in self._still_new()]

    def _still_new(self) -> list[CommitObject]:
        return [commit for commit in self._found if commit.commit.sha not in self._old]

    def _done(self) -> bool:
        if any(sha not in self._old for _, sha in self._queue):
            return False
        if self._earliest is None:
            self._earliest = min((commit.date for commit in self._still_new()), default=_NEVER)
        return -self._queue[0][0] < self._earliest

    def _follow(self, commit: CommitObject) -> None:
        old = commit.commit.sha in self._old
        for parent in commit.parents:
            if old:
                self._age(parent)
            if parent in self._seen:
                continue
            found = self._read(parent)
            if found or parent not in self._old:
                self._push(present(found, parent))

    def _age(self, sha: str) -> None:
        """Mark a commit as old, and all that is known to be reached from it."""
        waiting = [sha]
        while waiting:
            sha = waiting.pop()
            if sha in self._old:
                continue
            self._old.add(sha)
            if sha in self._seen:
                self._earliest = None
                waiting.extend(self._seen[sha].parents)

    def _push(self, commit: CommitObject) -> None:
        self._seen[commit.commit.sha] = commit
        heappush(self._queue, (-commit.date, commit.commit.sha))
