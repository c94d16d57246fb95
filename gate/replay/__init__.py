"""The replay store: where a JTI is consumed, once, and where the head of each audit stream is anchored."""

import re
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from gate.errors import Denied, UsageError
from gate.models import Consumption, Finding, Head, Stream
from gate.text import printable
from gate.uris import parse_uri


class ReplayStore(Protocol):
    """What a backend does. Every method answers in bounded time or raises ReplayUnavailable; none guesses."""

    def consume(self, uses: Sequence[Consumption]) -> None:
        """Consume every JTI of `uses`, all or none, atomically; they share one nonce and are distinct.

        A JTI that already holds our own nonce counts as consumed by us: the answer to an earlier try was lost.
        What the gate's clock says makes no store forget a use.

        Raises:
            Replayed: one was consumed before, by another invocation; nothing was consumed.
            ClockMismatch: the store forgets by a clock of its own, and this machine's is far from it.
            ReplayUnavailable: the store could not say.
        """
        ...

    def doubt(self) -> str:
        """Why a use may be lost although it was consumed, after the store's name; "" where it is known to last."""
        ...

    def consumed(self) -> Iterator[Consumption]:
        """Every consumption that the store still remembers, in no order."""
        ...

    def head(self, stream: Stream) -> Head | None:
        """The anchored head of `stream`, None where it has no record yet. A strongly consistent read."""
        ...

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """Set the head of `stream` if its `seq` is `expected` (0: there is none yet): a compare-and-set.

        Returns True also when the head already holds these very bytes (the answer to an earlier try was lost).
        """
        ...

    def settle(self, stream: Stream, seq: int) -> None:
        """Mark the head as written if it is still number `seq`; otherwise do nothing."""
        ...

    def heads(self) -> Iterator[Stream]:
        """Every stream that has a head, in no order."""
        ...

    def diagnose(self) -> Iterator[Finding]:
        """What `gate doctor` should say about this store; never raises for a store that is merely broken."""
        ...


class Replayed(Denied):
    """A JTI was used before; `prior` is that use."""

    def __init__(self, prior: Consumption) -> None:
        who, run = printable(prior.approver), f" in run {printable(prior.run_id)}" if prior.run_id else ""
        super().__init__(
            "replay.used",
            f"This approval by {who} was already used at {_moment(prior.used_at)}{run}.",
            hint="An approval works once. Ask for a new one.",
            expected="an approval that was never used",
            actual=f"used at {_moment(prior.used_at)}{run} for {printable(f'{prior.stream.path} {prior.sha}')}",
        )
        self.prior = prior


def _moment(epoch_seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_seconds))
    except (OverflowError, OSError, ValueError):  # whatever a store holds can be shown
        return f"{epoch_seconds} (epoch seconds)"


_BACKENDS = {
    "memory": "gate.replay.memory",
    "sqlite": "gate.replay.sqlite",
    "dynamodb": "gate.replay.dynamodb",
    "redis": "gate.replay.redis",
    "rediss": "gate.replay.redis",
}
_PASSWORD = re.compile(r"rediss?:[^@]*:[^@]*@|rediss?:.*[?&]pass(word)?=", re.IGNORECASE)


def open_replay_store(uri: str, base: Path | None, ca: Path | None = None) -> ReplayStore:
    """The replay store that `uri` names; relative paths start at `base`, the policy file's folder. Over TLS it is
    believed by the CAs of the URI's own `ca`, else those in the file `ca`.

    Each backend module has `open_store(uri: Uri, base: Path | None)`. Nothing is contacted yet.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
    """
    if _PASSWORD.match(uri):  # before any message can repeat it
        raise UsageError(
            "a password never stands in a URI, where logs and process lists show it",
            hint="Write redis://USER@HOST?password_file=/path, and chmod 600 that file.",
        )
    parsed = parse_uri(uri)
    if parsed.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri)}: no replay store is called {parsed.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    store: ReplayStore = import_module(_BACKENDS[parsed.scheme]).open_store(parsed.believing(ca, base), base)
    return store
