"""The work tree, held against its commit: every tracked file is hashed, and so is every tree on the way to it.

So no change is hidden by the index (its bits, its memory of times) or by an object that was tampered with, and nothing
that the repository's configuration names (a filter, a monitor, a hook) runs. Not looked at: untracked files, modes.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gate.files import open_now
from gate.git import GitFailed, Running, plumbing

_LINK, _TREE, _SUBMODULE = b"120000", b"40000", b"160000"  # all others are files
_MOST_OBJECT = 64 << 20
_MOST_TEXT = 16 << 20
_CHUNK = 1 << 20
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"


def changes(top: Path, sha: str, seconds: float) -> Iterator[str]:
    """The tracked files below `top` that are not what commit `sha` says: changed, removed, or replaced.

    A file counts as unchanged too with line ends as on Windows, or where the commit holds its pointer (Git LFS). A
    submodule is held against the commit that is pinned; one that was not fetched is an empty folder.

    Raises:
        GitFailed: the repository does not hold the commit's trees, or looking took longer than `seconds`.
    """
    with plumbing(top, "cat-file", "--batch", seconds=seconds) as git:
        walk = _Walk(git, "sha1" if len(sha) == 40 else "sha256", time.monotonic() + seconds)
        commit = walk.read(sha, b"commit")
        yield from walk.changes(os.fsencode(top), commit.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii"))


class _Walk:
    """One walk over the trees of one repository, until `deadline` (of the monotonic clock)."""

    def __init__(self, git: Running, algorithm: str, deadline: float) -> None:
        self._git = git
        self._algorithm = algorithm
        self._deadline = deadline

    def changes(self, top: bytes, tree: str) -> Iterator[str]:
        """What is not as `tree` says below `top`."""
        folders = [(b"", tree)]
        while folders:
            folder, tree = folders.pop()
            for mode, name, object_id in self._entries(tree):
                path = folder + name
                if mode == _TREE and _kind(top + b"/" + path) == stat.S_IFDIR:
                    folders.append((path + b"/", object_id))
                elif mode == _SUBMODULE:
                    yield from self._submodule(top, path, object_id)
                elif mode == _TREE or not self._is_as(mode, top + b"/" + path, object_id):
                    yield os.fsdecode(path)

    def _entries(self, tree: str) -> Iterator[tuple[bytes, bytes, str]]:
        """The mode, the name and the object's id of each entry of a tree."""
        rest, size = self.read(tree, b"tree"), len(tree) // 2
        while rest:
            entry, _, rest = rest.partition(b"\0")
            mode, _, name = entry.partition(b" ")
            yield mode, name, rest[:size].hex()
            rest = rest[size:]

    def read(self, object_id: str, kind: bytes) -> bytes:
        """The object, once it is seen to hash to its id."""
        content = b""
        with suppress(OSError):
            self._git.stdin.write(f"{object_id}\n".encode("ascii"))
            self._git.stdin.flush()
            header = self._git.stdout.readline(200).split()
            if len(header) == 3 and header[1] == kind and int(header[2]) <= _MOST_OBJECT:
                content = self._git.stdout.read(int(header[2]) + 1)[:-1]
        if self._id(kind, len(content), [content]) != object_id:
            raise GitFailed(f"the {kind.decode()} {object_id[:12]} is missing or damaged, or reading it took too long")
        return content

    def _submodule(self, top: bytes, path: bytes, commit: str) -> Iterator[str]:
        where = top + b"/" + path
        if not os.path.lexists(where + b"/.git"):
            kind = _kind(where)
            if kind and (kind != stat.S_IFDIR or any(Path(os.fsdecode(where)).iterdir())):
                yield os.fsdecode(path)
            return
        try:
            for changed in changes(Path(os.fsdecode(where)), commit, self._deadline - time.monotonic()):
                yield f"{os.fsdecode(path)}/{changed}"
        except GitFailed:
            yield os.fsdecode(path)

    def _is_as(self, mode: bytes, path: bytes, object_id: str) -> bool:
        try:
            if mode == _LINK:
                target = os.readlink(path)  # noqa: PTH115 (a Path would put the target into other words)
                return self._id(b"blob", len(target), [target]) == object_id
            with open(path, "rb", opener=_open_itself) as file:
                return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and object_id in self._ids(file)
        except OSError:  # gone, something else now, or unreadable
            return False

    def _ids(self, file: BinaryIO) -> Iterator[str]:
        """The ids of the blobs that git may have made `file` from when it checked it out."""
        size = os.fstat(file.fileno()).st_size
        yield self._id(b"blob", size, self._chunks(file))
        if size <= _MOST_TEXT:
            file.seek(0)
            text = file.read().replace(b"\r\n", b"\n")
            yield self._id(b"blob", len(text), [text])
        file.seek(0)
        digest = hashlib.sha256()
        for chunk in self._chunks(file):
            digest.update(chunk)
        pointer = _POINTER % (digest.hexdigest().encode(), size)
        yield self._id(b"blob", len(pointer), [pointer])

    def _id(self, kind: bytes, size: int, chunks: Iterable[bytes]) -> str:
        digest = hashlib.new(self._algorithm, b"%s %d\0" % (kind, size), usedforsecurity=False)  # it is what git uses
        for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        while chunk := file.read(_CHUNK):
            if time.monotonic() > self._deadline:
                raise GitFailed("reading its files took too long")
            yield chunk


def _kind(path: bytes) -> int:
    """The kind of what is at `path` itself, 0 where there is nothing."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return 0


def _open_itself(path: str, flags: int) -> int:
    return open_now(path, flags | os.O_NOFOLLOW)
