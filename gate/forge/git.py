"""Local git: the history of a clone, believed only as far as its commits prove themselves by their ids.

The walk is ours, over raw commits that are each hashed: what could lie about history (grafts, replacement objects,
a commit-graph, the list of shallow commits, a tampered object) is never asked, or is found out.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from gate.forge import Unattributed
from gate.forge.base import find_base
from gate.forge.commitobject import CommitObject, parse_commit
from gate.forge.walk import Ancestors, Range, Read, present
from gate.git import SECONDS, GitFailed, Running, output, plumbing
from gate.models import Commit
from gate.scope import parse_sha
from gate.text import printable

MOST_COMMITS = 20_000
_MOST_BYTES = 64 << 20


class LocalGit:
    """The history in the clone whose work tree has its top at `checkout`.

    At most `most` commits are read, on both sides of the range, in at most `seconds`.
    """

    def __init__(self, checkout: Path, *, most: int = MOST_COMMITS, seconds: float = SECONDS) -> None:
        self._checkout = checkout
        self._most = most
        self._seconds = seconds

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:  # noqa: ARG002 (an id says it all)
        """The commits that are new in `sha`, newest first; see `History.commits`.

        Raises:
            Unattributed: the clone is shallow or damaged, lacks a commit, or git can't answer in time.
        """
        with self.reading() as read:
            return _range(read, allowed, parse_sha(sha), self._is_shallow)

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:  # noqa: ARG002 (an id says it all)
        """The first of these commits that the clone has; see `History.holds`.

        Raises:
            Unattributed: the clone is shallow or damaged, or git can't answer in time.
        """
        with self.reading() as read:
            missing = ""
            for sha in map(parse_sha, shas):
                if read(sha):
                    return sha
                missing = sha
            if missing and self._is_shallow():
                present(None, missing)
            return None

    @contextmanager
    def reading(self) -> Iterator[Read]:
        """What reads the clone's commits, each once.

        Raises:
            Unattributed: git can't answer.
        """
        try:
            with plumbing(self._checkout, "cat-file", "--batch", seconds=self._seconds) as git:
                yield cache(_Objects(git, self._most).read)
        except GitFailed as error:
            raise Unattributed(
                f"The local clone can't tell who wrote the commits: {error}.",
                hint="Run the gate in a clone of the repository, with git installed.",
                actual=str(error),
            ) from None

    def _is_shallow(self) -> bool:
        return output(self._checkout, "rev-parse", "--is-shallow-repository").strip() != "false"


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


def _range(read: Read, allowed: Iterable[str], sha: str, is_shallow: Callable[[], bool]) -> list[Commit]:
    newest = present(read(sha), sha)
    base = find_base(allowed, sha, Ancestors(read, newest, is_shallow).hold)
    if base == sha:
        return []
    if base is None and not newest.parents:
        return [newest.commit]
    start = base or newest.parents[0]
    return Range(read, newest, start, read(start)).new()  # one that is named as an ancestor need not be there
