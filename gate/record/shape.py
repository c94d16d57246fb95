"""What every record is made of, whatever it tells: its place in a chain, and members of one strict shape."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from gate.deployment import Deployment
from gate.errors import UsageError

_MAX_TIME = 2**53 - 1  # the largest integer that every JSON reader keeps exact (RFC 8259 §6)


class RecordError(ValueError):
    """The bytes are no record; the message says why, in words that are safe to show."""


@dataclass(frozen=True)
class Placed:
    """An entry's place in its stream.

    `previous` is the digest of the record before it; `last_allowed_sha` the newest allowed sha of the stream, this
    record included.
    """

    seq: int
    previous: str
    last_allowed_sha: str | None


def digest(record: bytes) -> str:
    """What the next record calls this one: the hex SHA-256 of its bytes."""
    return hashlib.sha256(record).hexdigest()


class Rule(NamedTuple):
    """What a member must hold, and whether it may be missing."""

    holds: Callable[[Any], bool]
    optional: bool = False


def check(members: Mapping[str, Any], rules: Mapping[str, Rule], where: str = "") -> None:
    """Check that there are the members that the rules name, and no others.

    Raises:
        RecordError: there are not.
    """
    if not members.keys() <= rules.keys():
        raise RecordError(f"{where}it has a member that it must not have")
    for name, (holds, optional) in rules.items():
        if name in members and not holds(members[name]):
            raise RecordError(f"{where}{name} is not what it must be")
        if name not in members and not optional:
            raise RecordError(f"{where}{name} is missing")


def read_deployment(members: Mapping[str, Any]) -> Deployment:
    """The deployment that a record names, its members being of `DEPLOYMENT`'s shape.

    Raises:
        RecordError: it is none.
    """
    try:
        deployment = Deployment(**{**members, "actors": tuple(members["actors"])})
    except UsageError as error:
        raise RecordError(f"deployment: {error.message}") from None
    if deployment.repository != members["repository"]:
        raise RecordError("deployment: the repository is not in lower case")
    return deployment


def is_text(value: Any) -> bool:
    """True for a string."""
    return type(value) is str


def is_number(value: Any) -> bool:
    """True for an integer from 0 on that every JSON reader keeps exact."""
    return type(value) is int and 0 <= value <= _MAX_TIME


def matching(pattern: str) -> Callable[[Any], bool]:
    """True for a string that matches the pattern as a whole."""
    compiled = re.compile(pattern)
    return lambda value: type(value) is str and compiled.fullmatch(value) is not None


def one_of(*values: Any) -> Callable[[Any], bool]:
    """True for one of these, and of its very type: 1 is not True."""
    return lambda value: any(type(value) is type(known) and value == known for known in values)


def list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """True for a list of such values."""
    return lambda value: type(value) is list and all(map(holds, value))


def object_of(rules: Mapping[str, Rule], where: str) -> Callable[[Any], bool]:
    """True for an object; raises RecordError where its members are not what the rules say."""

    def holds(value: Any) -> bool:
        if type(value) is not dict:
            return False
        check(value, rules, where)
        return True

    return holds


TEXT = Rule(is_text)
NUMBER = Rule(is_number)
DIGEST = Rule(matching("[0-9a-f]{64}"))
DEPLOYMENT = Rule(
    object_of(
        {field.name: TEXT for field in fields(Deployment)} | {"actors": Rule(list_of(is_text))},
        "deployment: ",
    )
)
_SHA = matching("[0-9a-f]{40}|[0-9a-f]{64}")

PLACE_RULES = {
    "seq": Rule(lambda value: is_number(value) and value > 0),
    "previous": DIGEST,
    "invocation": Rule(matching("[A-Za-z0-9_-]{22,64}")),
    "last_allowed_sha": Rule(lambda value: value is None or _SHA(value)),
    "gate": TEXT,
}
