"""Local git: the history of a clone, believed only as far as its commits prove themselves by their ids.

The walk is ours, over raw commits that are each hashed: what could lie about history (grafts, replacement objects,
a commit-graph, the list of shallow commits, a tampered object) is never asked, or is found out.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path

from gate.forge import Unattributed
from gate.forge.commitobject import CommitObject, parse_commit
from gate.git import SECONDS, GitFailed, Running, plumbing
from gate.models import Commit
from gate.scope import parse_sha
from gate.text import printable

MOST_COMMITS = 20_000
_MOST_BYTES = 64 << 20
_NEVER = 1 << 62  # later than any date that parse_commit gives

_FETCH = "Fetch the whole history, e.g. `fetch-depth: 0` for actions/checkout, or `git fetch --unshallow`."

Read = Callable[[str], CommitObject | None]


class LocalGit:
    """The history in the clone whose work tree has its top at `checkout`.

    At most `most` commits are read, on both sides of the range, in at most `seconds`.
    """

    def __init__(self, checkout: Path, *, most: int = MOST_COMMITS, seconds: float = SECONDS) -> None:
        self._checkout = checkout
        self._most = most
        self._seconds = seconds

    def commits(self, repository: str, base: str | None, sha: str) -> list[Commit]:  # noqa: ARG002 (an id says it all)
        """The commits of `base..sha`, without a base those of `sha^1..sha`, newest first.

        Raises:
            Unattributed: the clone is shallow or damaged, lacks a commit, or git can't answer in time.
        """
        try:
            with plumbing(self._checkout, "cat-file", "--batch", seconds=self._seconds) as git:
                return _range(_Objects(git, self._most).read, parse_sha(base) if base else None, parse_sha(sha))
        except GitFailed as error:
            raise Unattributed(
                f"The local clone can't tell who wrote the commits: {error}.",
                hint="Run the gate in a clone of the repository, with git installed.",
                actual=str(error),
            ) from None


class _Objects:
    """The commits of a repository, read from a running `git cat-file --batch`, within a bound."""

    def __init__(self, git: Running, most: int) -> None:
        self._git = git
        self._commits_left = most
        self._bytes_left = _MOST_BYTES

    def read(self, sha: str) -> CommitObject | None:
        """The commit `sha`, None where the clone does not have it."""
        self._commits_left -= 1
        if self._commits_left < 0:
            raise _too_many()
        header = self._ask(sha).split()
        if header[1:] == [b"missing"]:
            return None
        if len(header) != 3 or header[1] != b"commit" or not header[2].isdigit():
            raise Unattributed(
                f"{sha[:12]} is no commit in the local clone.",
                hint="Give the id of the commit itself, not that of a tag.",
                actual=printable(header[1].decode("ascii", "replace"), 20),
            )
        return parse_commit(sha, self._content(int(header[2])))

    def _ask(self, sha: str) -> bytes:
        try:
            self._git.stdin.write(f"{sha}\n".encode("ascii"))
            self._git.stdin.flush()
            answer = self._git.stdout.readline(200)
        except OSError:
            answer = b""
        if len(answer.split()) < 2:
            raise GitFailed("git stopped, or took too long, or there is no repository")
        return answer

    def _content(self, size: int) -> bytes:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _too_many()
        content = self._git.stdout.read(size + 1)
        if len(content) != size + 1:
            raise GitFailed("git stopped in the middle of a commit")
        return content[:-1]


def _too_many() -> Unattributed:
    return Unattributed(
        "There is more to read since the last allowed deployment than the gate reads.",
        hint="Deploy something older first, in steps.",
        actual="too many commits, or too long ones",
    )


def _range(read: Read, base: str | None, sha: str) -> list[Commit]:
    newest = _present(read(sha), sha)
    if base is None and not newest.parents:
        return [newest.commit]
    start = base or newest.parents[0]
    oldest = read(start)
    if oldest is None and start not in newest.parents:  # a parent need not be read to know that it is not new
        raise Unattributed(
            f"The commit deployed last, {start[:12]}, is not in the local clone.", hint=_FETCH, actual="it is missing"
        )
    return _Walk(read, newest, start, oldest).new()


def _present(commit: CommitObject | None, sha: str) -> CommitObject:
    if commit is None:
        raise Unattributed(f"Commit {sha[:12]} is not in the local clone.", hint=_FETCH, actual="it is missing")
    return commit


class _Walk:
    """From both ends of a range down, newest first, until everything still to come is old.

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
                self._push(_present(found, parent))

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
