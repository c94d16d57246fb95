"""The policy as it is now: read again when it may have changed, so that a merged passkey counts without a restart."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from gate.bot.errors import Unavailable
from gate.errors import PolicyError
from gate.wiring import LoadedPolicy, load_policy

FRESH = {"s3": 60.0, "file": 2.0}  # seconds that a policy is believed without another look


class PolicySource:
    """The policy at `location`, a path or `s3://…`."""

    def __init__(self, location: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._location = location
        self._clock = clock
        self._lock = Lock()
        self._loaded: LoadedPolicy | None = None
        self._seen = ""
        self._next = 0.0

    def current(self) -> LoadedPolicy:
        """The policy.

        Raises:
            Unavailable: it can't be read, or does not compile. An older one is not used instead: it may let people
                approve who no longer may.
        """
        with self._lock:
            if self._loaded is None or self._clock() >= self._next:
                self._loaded = self._read()
                self._next = self._clock() + FRESH["s3" if self._location.startswith("s3://") else "file"]
            return self._loaded

    def _read(self) -> LoadedPolicy:
        seen = self._stamp()
        if self._loaded is not None and seen and seen == self._seen:
            return self._loaded
        try:
            loaded = load_policy(self._location)
        except PolicyError as error:
            self._loaded = None
            raise Unavailable(f"The bot's policy can't be used: {error.message}", hint=error.hint) from None
        self._seen = seen
        return loaded

    def _stamp(self) -> str:
        """What changes when the file does, "" where there is nothing to look at."""
        if self._location.startswith("s3://"):
            return ""
        try:
            found = Path(self._location).stat()
        except OSError:
            return ""
        return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"
