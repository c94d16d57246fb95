"""The replay store that lives in this process and dies with it: for tests and for a first look."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from gate.errors import UsageError
from gate.models import Consumption, Finding, Head, Stream
from gate.replay import Replayed
from gate.uris import Uri

_FORGETS = "forgets every use when this process ends"


class MemoryStore:
    """A `ReplayStore` in two dictionaries; safe between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._uses: dict[str, Consumption] = {}
        self._heads: dict[Stream, Head] = {}

    def consume(self, uses: Sequence[Consumption]) -> None:
        """See `ReplayStore.consume`."""
        with self._lock:
            for use in uses:
                prior = self._uses.get(use.jti, use)
                if prior.nonce != use.nonce:
                    raise Replayed(prior)
            self._uses.update({use.jti: use for use in uses})

    def doubt(self) -> str:
        """See `ReplayStore.doubt`."""
        return f"replay store memory: {_FORGETS}"

    def consumed(self) -> Iterator[Consumption]:
        """See `ReplayStore.consumed`."""
        with self._lock:
            return iter(list(self._uses.values()))

    def head(self, stream: Stream) -> Head | None:
        """See `ReplayStore.head`."""
        with self._lock:
            return self._heads.get(stream)

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """See `ReplayStore.advance`."""
        with self._lock:
            current = self._heads.get(stream)
            if current and (current.seq, current.record) == (head.seq, head.record):
                return True
            if (current.seq if current else 0) != expected:
                return False
            self._heads[stream] = head
            return True

    def settle(self, stream: Stream, seq: int) -> None:
        """See `ReplayStore.settle`."""
        with self._lock:
            current = self._heads.get(stream)
            if current and current.seq == seq:
                self._heads[stream] = current._replace(written=True)

    def heads(self) -> Iterator[Stream]:
        """See `ReplayStore.heads`."""
        with self._lock:
            return iter(list(self._heads))

    def diagnose(self) -> Iterator[Finding]:
        """See `ReplayStore.diagnose`."""
        yield Finding(
            "warning",
            "replay store memory:",
            f"{_FORGETS}, so an approval works again in the next one",
            "Name a store that lasts in the policy: sqlite: or dynamodb:",
        )


def open_store(uri: Uri, base: Path | None) -> MemoryStore:  # noqa: ARG001 (every backend's signature)
    """The store of a `memory:` URI, a new one each time.

    Raises:
        UsageError: something follows the colon.
    """
    if uri.text != "memory:":
        raise UsageError(f"{uri.text}: this store takes no path and no options", hint="Write memory:")
    return MemoryStore()
