"""What the tests of the deploy-bot's state are made of."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

from gate.bot.state import Document, State, open_state
from tests.parts import Aws
from tests.replay import material

NOW = 1_800_000_000
LATER = NOW + 3600


class Place(NamedTuple):
    """A place for a state, and how to open one there."""

    uri: str
    base: Path

    def open(self) -> State:
        return open_state(self.uri, self.base)


def dynamodb_uri(table: str, endpoint: str) -> str:
    return f"dynamodb://{table}?region=eu-west-1&endpoint={endpoint}"


def fresh_table(aws: Aws) -> str:
    """The name of a new table, made as the state needs it."""
    return aws.table("kind", sort_key="id")


def put(state: State, key: str, value: Any, expected: int = 0, **changes: Any) -> Document | None:
    """Put `{"is": value}` as a request that lives an hour."""
    values = {"expires_at": LATER, "expected": expected, "now": NOW} | changes
    return state.put("request", key, {"is": value}, **values)


def document(key: str, value: Any, version: int = 1, expires_at: int = LATER) -> Document:
    """The document that `put` leaves."""
    return Document("request", key, {"is": value}, version, expires_at)


def contenders(place: Place, count: int) -> AbstractContextManager[list["Popen[str]"]]:
    """Processes that have opened the state, and do what `tell` says."""
    return material.contenders(material.Backend(*place), count, "tests.bot.state.contender")


def said(processes: list["Popen[str]"]) -> Iterator[str]:
    """The next line of each."""
    return map(material.answer, processes)
