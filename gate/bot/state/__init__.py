"""The deploy-bot's state: small documents that any of several bots may change, each change a compare-and-set.

Kinds of documents: `request`, `draft`, `session`, `enrolment`, `errand`, `delivery`, `presence`, `readiness`. Requests
and sessions are sealed by whoever puts them here (gate.bot.keyring). Nothing here can approve anything: an approval is
a signed token, and the gate verifies it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gate.bot.errors import BotError
from gate.errors import UsageError
from gate.models import Finding
from gate.text import printable
from gate.uris import parse_uri

MAX_DOCUMENT = 256 * 1024  # bytes of JSON in ASCII; a DynamoDB item holds 400 KB

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Document(NamedTuple):
    """A JSON object under `(kind, key)`, alive before `expires_at` (epoch seconds).

    `version` counts its changes from 1, anew where it was taken or has expired.
    """

    kind: str
    key: str
    value: Mapping[str, Any]
    version: int
    expires_at: int

    def alive(self, now: int) -> bool:
        """Whether it has not expired at `now`."""
        return now < self.expires_at


class State(Protocol):
    """What a backend does. Every method answers in bounded time or raises Unavailable; none guesses.

    `kind` and `key` are 1 to 128 of `A-Za-z0-9._-`, and raise BotError otherwise. A document that has expired at `now`
    is never given, whether or not it is deleted yet, and one may be written in its place, with `expected` 0.
    """

    def get(self, kind: str, key: str, now: int) -> Document | None:
        """The document, None where there is none that is alive at `now`. A strongly consistent read."""
        ...

    def put(
        self, kind: str, key: str, value: Mapping[str, Any], *, expires_at: int, expected: int, now: int
    ) -> Document | None:
        """Write the document if its version is `expected` (0: there is none that is alive): a compare-and-set.

        Returns the document as it now stands, None where another version stands there. Finding this very document at
        the next version is success: the answer to an earlier try was lost. So of several writers at once one wins, but
        all who write the same do: what tells who won must be in the value. And None does not prove that it never stood
        there: another writer may have built on it before the lost answer was asked for again. Read, and decide anew.

        Raises:
            BotError: `value` is not JSON, or more than MAX_DOCUMENT bytes of it.
            Unavailable: it can't be told whether it was written; the same call may be made again.
        """
        ...

    def take(self, kind: str, key: str, now: int) -> Document | None:
        """Remove the document and return it: it is given once at most, be there several takers or lost answers.

        Where an answer is lost the document may be gone although nobody got it: None, or Unavailable.
        """
        ...

    def list(self, kind: str, now: int) -> Iterator[Document]:
        """Every document of a kind that is alive at `now`, in no order.

        It is no snapshot: what is written, taken or changed meanwhile may be there as it was, or as it is.
        """
        ...

    def diagnose(self) -> Iterator[Finding]:
        """What `gate doctor` should say about this state; never raises for one that is merely broken."""
        ...


_BACKENDS = {
    "sqlite": "gate.bot.state.sqlite",
    "dynamodb": "gate.bot.state.dynamodb",
}


def open_state(uri: str, base: Path | None) -> State:
    """The state that `uri` names; relative paths start at `base`. Each backend module has `open_state(uri, base)`.

    Nothing is contacted yet.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
    """
    parsed = parse_uri(uri)
    if parsed.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri)}: no state is called {parsed.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    state: State = import_module(_BACKENDS[parsed.scheme]).open_state(parsed.believing(None, base), base)
    return state


def check_name(*names: str) -> None:
    """Check that each may be the kind or the key of a document.

    Raises:
        BotError: one may not.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise BotError(
                "A kind or a key that no document can have.",
                expected="1 to 128 of A-Z a-z 0-9 . _ -",
                actual=printable(name[:200]),
            )


def to_text(value: Mapping[str, Any]) -> str:
    """The JSON that a backend keeps: the same for equal values, and ASCII, so that whatever was sent can be kept.

    Raises:
        BotError: it is too large, or not JSON.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise BotError("A document holds something that JSON can't say, e.g. NaN, or nests too deep.") from None
    if len(text) > MAX_DOCUMENT:
        raise BotError(
            "A document is too large to be kept.",
            hint="Shorten what was sent.",
            expected=f"at most {MAX_DOCUMENT:,} bytes",
            actual=f"{len(text):,} bytes",
        )
    return text


def to_document(kind: str, key: str, text: str, version: int, expires_at: int) -> Document:
    """The document that a backend has kept as `text`.

    Raises:
        ValueError: it is not a JSON object.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 (as for all other text that is none)
    return Document(kind, key, value, version, expires_at)
