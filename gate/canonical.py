"""JSON in and out: strict in reading, canonical (RFC 8785) in writing."""

import json
from collections.abc import Mapping
from typing import Any

import rfc8785


class JsonError(ValueError):
    """The text is not JSON as this project reads it; the message says why."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("an object has the same member twice")
    return members


def _refuse(number: str) -> Any:
    raise JsonError(f"{number[:20]} is not an integer")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_float=_refuse, parse_constant=_refuse)


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` (UTF-8) holds: no duplicate members, no NaN, no fractions, nothing around it.

    Raises:
        JsonError: anything else, however deep or large; also lone surrogates, which no UTF-8 can carry.
    """
    try:
        text = data.decode("utf-8").strip(" \t\n\r")
        value, end = _DECODER.raw_decode(text)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate raises UnicodeEncodeError
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except JsonError:
        raise
    except ValueError as error:  # bad UTF-8, bad JSON, or an integer of thousands of digits
        raise JsonError("it is not JSON in UTF-8") from error
    if type(value) is not dict or end != len(text):
        raise JsonError("it is not one JSON object")
    return value


def canonical(value: Mapping[str, Any]) -> bytes:
    """`value` in the one form that RFC 8785 gives it.

    Raises:
        JsonError: it holds what JSON in UTF-8 can't.
    """
    try:
        return rfc8785.dumps(dict(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise JsonError("it can't be written as canonical JSON") from error
