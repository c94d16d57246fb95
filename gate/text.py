"""Values, and text from outside, made fit to show."""

import time


def printable(text: str, limit: int = 300) -> str:
    """`text` with every character that does not print (controls, newlines, bidi marks, lone surrogates) written as an
    escape, cut to `limit` characters. A log line or a terminal can't be driven by it, nor a runner that takes `##[`
    anywhere in a line for a command of its own."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    text = text.replace("##[", "# #[")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def plural(count: int, noun: str) -> str:
    """`1 approval`, `2 approvals`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def utc(seconds: int) -> str:
    """Epoch seconds as `2026-11-23 20:41:07Z`; as a bare number where no calendar goes that far."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"
