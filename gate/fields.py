"""Reading the fields of a strict YAML mapping: each has one type, and an error names its line."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from gate.errors import PolicyError, UsageError
from gate.sha256 import parse_sha256
from gate.strictyaml import Node
from gate.text import closest, printable

_LONGEST_LIST = 500  # so that teams in lists in environments can't multiply beyond measure
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

T = TypeVar("T")


def bad(node: Node, message: str, hint: str = "") -> PolicyError:
    """The error for what stands at `node`."""
    return PolicyError(f"Line {node.line}: {message}", hint=hint)


class Fields:
    """The members of one mapping, each taken once; what is left over is unknown."""

    def __init__(self, node: Node, what: str) -> None:
        if not node.members:
            raise bad(node, f"{what} is not a mapping with members.")
        self.node, self._what = node, what
        self._left = dict(node.members)
        self._known: list[str] = []
        self.members = node.members

    def required(self, name: str, convert: Callable[[Node], T]) -> T:
        """The member `name`, which must be there."""
        self._known.append(name)
        if name not in self._left:
            raise bad(self.node, f"{self._what} has no {name!r}.", self._resembling(name))
        return convert(self._left.pop(name))

    def _resembling(self, name: str) -> str:
        """The member that may have been meant, and its line."""
        meant = closest(name, self._left)
        return f"Is it {printable(meant, 60)!r} on line {self._left[meant].line} that was meant?" if meant else ""

    def optional(self, name: str, convert: Callable[[Node], T], default: T) -> T:
        """The member `name`, or `default`."""
        self._known.append(name)
        return convert(self._left.pop(name)) if name in self._left else default

    def done(self) -> None:
        """Check that every member was taken."""
        for name, node in self._left.items():
            meant = closest(name, self._known)
            hint = f"Did you mean {meant!r}?" if meant else f"It may have {', '.join(self._known)}."
            raise bad(node, f"{self._what} has an unknown member {printable(name, 60)!r}.", hint)


def list_of(convert: Callable[[Node], T]) -> Callable[[Node], list[T]]:
    """A reader of a list, not empty, of what `convert` reads."""

    def convert_all(node: Node) -> list[T]:
        if not node.items or len(node.items) > _LONGEST_LIST:
            raise bad(node, f"this must be a list of 1 to {_LONGEST_LIST} entries.")
        return [convert(item) for item in node.items]

    return convert_all


def mapping(node: Node) -> dict[str, Node]:
    """The members, at least one, of a mapping whose names are the policy's own choice."""
    return Fields(node, "this").members


def word(node: Node) -> str:
    """A text of printable characters."""
    if not node.text or len(node.text) > 2048 or not node.text.isprintable():
        raise bad(node, "this must be a text of printable characters.")
    return node.text


def one_of(*words: str) -> Callable[[Node], str]:
    """A reader of one of these words."""

    def choose(node: Node) -> str:
        if node.text not in words:
            raise bad(node, f"this must be {' or '.join(words)}.")
        return node.text

    return choose


def fixed(name: str, value: str) -> Callable[[Node], bool]:
    """A reader of a field that says one thing, or is left out."""

    def read(node: Node) -> bool:
        if plain(node, f"the word {value}") != value:
            raise bad(node, f"{name} must be {value}, or left out.")
        return True

    return read


def plain(node: Node, what: str) -> str:
    """A scalar that stands without quotes, `what` being the words for it in the error."""
    if node.text is None or not node.plain:
        raise bad(node, f"this must be {what}, without quotes.")
    return node.text


def der(node: Node) -> bytes:
    """DER, in base64 or as PEM; empty where it is neither, which no reader of DER takes."""
    text = "".join(line for line in (node.text or "").split("\n") if not line.startswith("-----"))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        return b""


def sha256(node: Node) -> str:
    """A SHA-256, in hex."""
    try:
        return parse_sha256(node.text or "")
    except UsageError:
        raise bad(node, "this must be a SHA-256: 64 hex digits.") from None


def boolean(node: Node) -> bool:
    """`true` or `false`."""
    text = plain(node, "true or false")
    if text not in ("true", "false"):
        raise bad(node, "this must be true or false.")
    return text == "true"


def seconds(text: str) -> int | None:
    """How long `90s`, `15m`, `1h` or `1d` is, in seconds; None for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def duration(node: Node) -> int:
    """A length of time, in seconds."""
    length = seconds(node.text or "")
    if length is None:
        raise bad(node, "this must be a duration such as 90s, 15m or 1h.")
    return length


def time(node: Node) -> int:
    """A time in UTC (RFC 3339), in epoch seconds."""
    text = node.text or ""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", text):
        raise bad(node, "this must be a time in UTC such as 2026-11-01T00:00:00Z.")
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        raise bad(node, "this is no time that ever was or will be.") from None
