"""Reading files that somebody else may have put in place."""

import os
import stat
from pathlib import Path


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
