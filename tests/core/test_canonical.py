"""JSON: what is read, strictly, and the one form that is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.canonical import JsonError, canonical, parse_object

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)

REFUSED = {
    "nothing": b"",
    "white space": b" \n",
    "a list": b"[]",
    "a string": b'"a"',
    "a number": b"1",
    "null": b"null",
    "two objects": b"{}{}",
    "text after it": b"{}x",
    "cut short": b'{"a":1',
    "a comma too many": b'{"a":1,}',
    "a comment": b"{}//",
    "single quotes": b"{'a':1}",
    "bare name": b"{a:1}",
    "a fraction": b'{"a":1.0}',
    "an exponent": b'{"a":1e3}',
    "an exponent without effect": b'{"a":1E0}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "a plus sign": b'{"a":+1}',
    "a leading zero": b'{"a":01}',
    "hex": b'{"a":0x1}',
    "5,000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "a member twice": b'{"a":1,"a":1}',
    "a member twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a member twice, deep inside": b'{"a":[{"b":{"c":1,"c":1}}]}',
    "not UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a lone low surrogate": b'{"a":"\\udc00x"}',
    "a lone surrogate as a name": b'{"\\udfff":1}',
    "surrogates the wrong way round": b'{"a":"\\udc00\\ud800"}',
    "a control character": b'{"a":"\x01"}',
    "a newline in a string": b'{"a":"\n"}',
    "an unknown escape": b'{"a":"\\x41"}',
    "a NUL byte": b'{"a":1}\0',
    "a vertical tab as white space": b'{\x0b"a":1}',
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and open": b'{"a":' + b"[" * 1_000_000,
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in REFUSED.items()])
def test_what_is_not_read(data: bytes) -> None:
    with pytest.raises(JsonError) as caught:
        parse_object(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 100


def test_what_is_read() -> None:
    data = b' { "a" : [ 1 , -2 , 0 , true , null , "\\ud83d\\ude00\xc3\xa9\\n" ] , "" : { } } \r\n'
    assert parse_object(data) == {"a": [1, -2, 0, True, None, "\U0001f600\u00e9\n"], "": {}}


@given(OBJECTS)
def test_what_is_written_is_read_again(value: dict[str, Any]) -> None:
    assert parse_object(canonical(value)) == value
    assert canonical(parse_object(json.dumps(value).encode())) == canonical(value)


@given(OBJECTS, st.integers(0, 10**6), st.integers(1, 255))
def test_bytes_that_were_changed_are_read_or_refused(value: dict[str, Any], where: int, by: int) -> None:
    data = bytearray(json.dumps(value).encode())
    data[where % len(data)] ^= by
    try:
        read = parse_object(bytes(data))
    except JsonError:
        return
    assert type(read) is dict


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert type(parse_object(data)) is dict
    except JsonError:
        return


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", ["\ud800", 2**53, -(2**53), float("nan"), float("inf"), {1: 2}, b"x", {"\ud800": 1}, _deep(100_000)],
    ids=["surrogate", "2^53", "-2^53", "nan", "inf", "number as a name", "bytes", "surrogate as a name", "deep"],
)  # fmt: skip
def test_what_can_not_be_written(value: Any) -> None:
    with pytest.raises(JsonError):
        canonical({"a": value})


def test_the_form_is_that_of_rfc_8785() -> None:
    value = {"\u20ac": "Euro", "\r": "CR", "\ufb33": "Hebrew", "1": "One", "\U0001f600": "Emoji", "\x80": "Control"}
    assert list(parse_object(canonical(value))) == ["\r", "1", "\x80", "\u20ac", "\U0001f600", "\ufb33"]  # §3.2.3
    assert canonical({"b": [True, None, "\x0f\u20ac/\\\"'<\b\n"], "a": 0}) == (
        b'{"a":0,"b":[true,null,"\\u000f\xe2\x82\xac/\\\\\\"\'<\\b\\n"]}'
    )
