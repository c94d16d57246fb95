"""Reading files that somebody else may have put in place, and whether a disk takes any."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, or name another place.",
    errno.EDQUOT: "The disk quota is used up: raise it, or name another place.",
    errno.EROFS: "The file system is read-only: mount it writable, or name another place.",
}
_ROOM = 256 * 1024  # bytes: what the largest record takes
_MOST_LINKS = 40  # that Linux follows in one path (path_resolution(7))


def read_regular(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a regular file; a FIFO, a device or a folder is refused instead of waited for.

    Raises:
        OSError: it can't be read, or is not a regular file.
    """
    with open(path, "rb", opener=open_now) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a file")
        return file.read(limit)


def open_now(path: str, flags: int) -> int:
    """An `opener` for `open` that never waits, be it for whoever is to be at the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def check_room(folder: Path) -> None:
    """Check that a file of some size can be brought to the disk of `folder`; none is left.

    Raises:
        OSError: it can't.
    """
    path = folder / f".room-{os.urandom(8).hex()}"
    with path.open("xb") as file:
        path.unlink()
        file.write(os.urandom(_ROOM))  # a full disk takes an empty file, and may make room for one that is all zeros
        file.flush()
        os.fsync(file.fileno())


def is_decided_by(path: Path, folders: Sequence[Path]) -> bool:
    """True if whoever can write to one of `folders` decides what is found at `path`: it lies there, or is reached
    through there, be it by a link that a link leads to.

    Raises:
        OSError: there are more links than anything follows.
    """
    roots, places = {folder.resolve() for folder in folders}, [*_way(path)]
    return places[-1] in roots or any(roots.intersection(place.parents) for place in places)


def _way(path: Path) -> Iterator[Path]:
    """Every place that is looked at on the way to `path`, and where that leads, last: none has a link above it."""
    here, left, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        place = here / part
        yield place
        if not place.is_symlink():
            here = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(0, "too many links")
        target = place.readlink()
        here = Path("/") if target.is_absolute() else here
        left.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    yield here
