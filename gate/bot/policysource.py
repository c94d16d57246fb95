"""The policy as it is now: read again when it may have changed, so that a merged passkey counts without a restart."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from gate.bot.errors import Unavailable
from gate.errors import PolicyError
from gate.wiring import LoadedPolicy, load_policy

FRESH = {"s3": 60.0, "file": 2.0}  # seconds that a policy is believed without another look
_LINE = re.compile(r"(?:.*?: )?Line [0-9]+")  # the file's name may have spaces
_AGAIN = 2.0  # seconds until one that can't be had is tried again: S3 may take long to say no, and all would wait


class PolicySource:
    """The policy at `location`, a path or `s3://…`."""

    def __init__(self, location: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._location = location
        self._clock = clock
        self._lock = Lock()
        self._found: LoadedPolicy | PolicyError | None = None
        self._seen = ""
        self._next = 0.0

    def current(self) -> LoadedPolicy:
        """The policy.

        Raises:
            Unavailable: it can't be read, or does not compile. An older one is not used instead: it may let people
                approve who no longer may.
        """
        with self._lock:
            if self._found is None or self._clock() >= self._next:
                self._found = self._look()
            found = self._found
        if isinstance(found, PolicyError):
            line = _LINE.match(found.message)  # the rest may name people; this goes to strangers, and into logs
            why = f"{line[0]} is wrong." if line else found.message
            raise Unavailable(
                f"The bot's policy can't be used: {why}", hint="To whoever runs the bot, gate doctor --bot says more."
            )
        return found

    def forget(self) -> None:
        """Look again at once: it has just been changed."""
        with self._lock:
            self._found = None

    def _look(self) -> LoadedPolicy | PolicyError:
        seen, found = self._stamp(), self._found
        if not isinstance(found, LoadedPolicy) or not seen or seen != self._seen:
            found = _loaded(self._location)
        self._seen = seen
        fresh = FRESH["s3" if self._location.startswith("s3://") else "file"]
        self._next = self._clock() + (_AGAIN if isinstance(found, PolicyError) else fresh)
        return found

    def _stamp(self) -> str:
        """What changes when the file does, "" where there is nothing to look at."""
        if self._location.startswith("s3://"):
            return ""
        try:
            found = Path(self._location).stat()
        except OSError:
            return ""
        return f"{found.st_mtime_ns} {found.st_size} {found.st_ino}"


def _loaded(location: str) -> LoadedPolicy | PolicyError:
    try:
        return load_policy(location)
    except PolicyError as error:
        return error
