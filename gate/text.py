"""Values, and text from outside, made fit to show."""

import time
from collections.abc import Iterable, Iterator

_UNSEEN = frozenset(  # what counts as printable, and shows nothing; U+FE0F is a part of emojis, and stays
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0))))
)
_MOST_MARKS = 3  # on one letter: more than people write, and few enough not to paint over what stands above


def printable(text: str, limit: int = 300) -> str:
    """Text of others, as it enters a sentence of ours: cut to `limit` characters, and made `legible`."""
    return legible(text if len(text) <= limit else f"{text[: limit - 1]}…")


def legible(text: str) -> str:
    """`text`, whole, with every character that does not print (controls, newlines, bidi marks, lone surrogates), or
    does not show, written as an escape. A log line or a terminal can't be driven by it, nor a runner that takes `##[`
    anywhere in a line for a command of its own, and no page is painted over by it. Our own sentences are shown so: what
    to do next stands at their end."""
    text = text.replace("##[", "# #[")
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(text))


def _shown(text: str) -> Iterator[str]:
    from unicodedata import category  # noqa: PLC0415 (paid for when used)

    marks = 0
    for char in text:
        marks = marks + 1 if category(char) in ("Mn", "Me") else 0
        plain = char.isprintable() and char not in _UNSEEN and marks <= _MOST_MARKS
        yield char if plain else char.encode("unicode_escape").decode("ascii")


def closest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that may have been meant by `name`: what it begins, or what it resembles; "" if none."""
    names = list(known)
    if begun := [one for one in names if name and one.startswith(name)]:
        return min(begun, key=len)
    from difflib import get_close_matches  # noqa: PLC0415 (paid for when used)

    return next(iter(get_close_matches(name[:100].lower(), names, 1)), "")


def plural(count: int, noun: str) -> str:
    """`1 approval`, `2 approvals`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def utc(seconds: int) -> str:
    """Epoch seconds as `2026-11-23 20:41:07Z`; as a bare number where no calendar goes that far."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"
