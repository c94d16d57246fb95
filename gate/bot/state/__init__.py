"""The deploy-bot's state: small documents that any of several bots may change, each change a compare-and-set.

Kinds of documents: `request`, `draft`, `session`, `enrolment`, `errand`. Nothing here can approve anything: an approval
is a signed token, and the gate verifies it.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gate.errors import UsageError
from gate.models import Finding
from gate.text import printable
from gate.uris import parse_uri

MAX_DOCUMENT = 256 * 1024  # bytes of JSON


class Document(NamedTuple):
    """A JSON object under `(kind, key)`. `version` counts its changes from 1; `expires_at` is in epoch seconds."""

    kind: str
    key: str
    value: Mapping[str, Any]
    version: int
    expires_at: int


class State(Protocol):
    """What a backend does. Every method answers in bounded time or raises Unavailable; none guesses.

    `kind` and `key` are 1 to 128 of `A-Za-z0-9._-`. Documents that have expired are never given, deleted or not; a
    document may be written where an expired one stands, with `expected` 0.
    """

    def get(self, kind: str, key: str, now: int) -> Document | None:
        """The document, None where there is none that is alive at `now`. A strongly consistent read."""
        ...

    def put(
        self, kind: str, key: str, value: Mapping[str, Any], *, expires_at: int, expected: int, now: int
    ) -> Document | None:
        """Write the document if its version is `expected` (0: there is none that is alive): a compare-and-set.

        Returns the document as it now stands, None where another version stands there. Finding these very bytes at the
        next version is success: the answer to an earlier try was lost.
        """
        ...

    def take(self, kind: str, key: str, now: int) -> Document | None:
        """Remove the document and return it; of several takers at once exactly one gets it."""
        ...

    def list(self, kind: str, now: int) -> Iterator[Document]:
        """Every document of a kind that is alive at `now`, in no order."""
        ...

    def diagnose(self) -> Iterator[Finding]:
        """What `gate doctor` and `/readyz` should say about this state; never raises for one that is merely broken."""
        ...


_BACKENDS = {
    "sqlite": "gate.bot.state.sqlite",
    "dynamodb": "gate.bot.state.dynamodb",
}


def open_state(uri: str, base: Path | None) -> State:
    """The state that `uri` names; relative paths start at `base`. Each backend module has `open_state(uri, base)`.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
    """
    parsed = parse_uri(uri)
    if parsed.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri)}: no state is called {parsed.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    state: State = import_module(_BACKENDS[parsed.scheme]).open_state(parsed, base)
    return state
