"""Real git repositories, made to order."""

import hashlib
import os
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple


class Who(NamedTuple):
    """A name and an address, as git is told them."""

    name: str
    email: str


ALICE = Who("Alice", "alice@example.com")
BOB = Who("Bob", "bob@example.com")
CAROL = Who("Carol", "carol@example.com")
WEB_FLOW = Who("GitHub", "noreply@github.com")


class Repository:
    """A work tree in `path`, with a clock that ticks once a minute for each commit."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        self._minutes = 0
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}", ".")

    def git(self, *arguments: str, stdin: bytes = b"", **environment: str) -> str:
        """The output of a git command; its failure is the test's."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_AUTHOR_NAME": "x",
                "GIT_AUTHOR_EMAIL": "x@example.com",
                "GIT_COMMITTER_NAME": "x",
                "GIT_COMMITTER_EMAIL": "x@example.com",
                **environment,
            },
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def commit(
        self, author: Who = ALICE, committer: Who | None = None, message: str = "work", *, date: int | None = None
    ) -> str:
        """The id of a new, empty commit on the branch that is checked out."""
        return self._dated("commit", "--quiet", "--allow-empty", "-m", message, who=(author, committer), date=date)

    def merge(self, *branches: str, author: Who = BOB) -> str:
        """The id of a merge of branches into the one that is checked out."""
        return self._dated("merge", "--quiet", "--no-ff", "-m", "merge", *branches, who=(author, None), date=None)

    def _dated(self, *arguments: str, who: tuple[Who, Who | None], date: int | None) -> str:
        self._minutes += 1
        when = f"{1_800_000_000 + 60 * self._minutes if date is None else date} +0000"
        author, committer = who[0], who[1] or who[0]
        self.git(
            *arguments,
            GIT_AUTHOR_NAME=author.name,
            GIT_AUTHOR_EMAIL=author.email,
            GIT_AUTHOR_DATE=when,
            GIT_COMMITTER_NAME=committer.name,
            GIT_COMMITTER_EMAIL=committer.email,
            GIT_COMMITTER_DATE=when,
        )
        return self.head

    @property
    def head(self) -> str:
        """The id that HEAD stands at."""
        return self.git("rev-parse", "HEAD")

    def raw_commit(self, content: bytes) -> str:
        """The id of an object with these very bytes, put there without git's opinion on them."""
        data = b"commit %d\0" % len(content) + content
        sha = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self.put_object(sha, zlib.compress(data))
        return sha

    def put_object(self, sha: str, compressed: bytes) -> None:
        """Write a loose object's file, over the one that may be there."""
        path = self.path / ".git" / "objects" / sha[:2] / sha[2:]
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(compressed)

    def clone(self, path: Path, *options: str) -> "Repository":
        """A clone of this repository in `path`, over the protocol that `--depth` needs."""
        self.git("clone", "--quiet", *options, f"file://{self.path}", str(path))
        copy = Repository.__new__(Repository)
        copy.path, copy._minutes = path, self._minutes
        return copy
