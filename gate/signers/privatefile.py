"""Files that hold a secret: read only where nobody but their owner can."""

import os
import stat
from pathlib import Path

from gate.errors import SignerError
from gate.files import open_now

_MAX_BYTES = 16 * 1024


def read_private(path: Path, secret: str, *, otherwise: str, missing: str) -> bytes:
    """The first 16 KiB of the file that holds `secret`, e.g. "private key".

    `otherwise` is the advice for when somebody may have read it, `missing` that for when there is none.

    Raises:
        SignerError: it can't be read, it is not a file, or others may read or write it.
    """
    try:
        with open(path, "rb", opener=open_now) as file:
            _check_private(path, os.fstat(file.fileno()).st_mode, secret, otherwise, missing)
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise SignerError(f"{path}: can't be read ({error.strerror}).", hint=missing) from None


def _check_private(path: Path, mode: int, secret: str, otherwise: str, missing: str) -> None:
    if not stat.S_ISREG(mode):
        raise SignerError(f"{path}: is not a file.", hint=missing)
    if mode & 0o077:
        raise SignerError(
            f"{path}: others may read or write this {secret}.",
            expected="mode 0600",
            actual=f"mode {stat.S_IMODE(mode):04o}",
            hint=f"If nobody did: chmod 600 {path}. Otherwise {otherwise}.",
        )
