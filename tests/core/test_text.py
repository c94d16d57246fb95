"""What text from outside looks like once it is shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.text import legible, plural, printable, utc


@given(st.text(st.characters()), st.integers(1, 400))
def test_nothing_that_drives_a_terminal_is_left(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9 \u2764 \U0001f600", "plain \u00e9 \u2764 \U0001f600"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("\u3164\u2800\uffa0\u034f", "\\u3164\\u2800\\uffa0\\u034f"),
        ("a\ufe00\U000e0100 \u2764\ufe0f", "a\\ufe00\\U000e0100 \u2764\ufe0f"),
        ("e\u0301 \u0e17\u0e35\u0e48", "e\u0301 \u0e17\u0e35\u0e48"),
        ("Z\u0301\u0302\u0303\u0304\u0305x", "Z\u0301\u0302\u0303\\u0304\\u0305x"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "\u2026"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text, 10 if text.startswith("xx") else 300) == shown


@given(st.text(st.characters()))
def test_our_own_sentences_are_made_fit_to_show_in_the_same_way_and_never_cut(text: str) -> None:
    assert legible(text) == printable(text, len(text) + 1)
    assert legible(f"{'x' * 10_000}{text}").startswith("x" * 10_000)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "1970-01-01 00:00:00Z"), (1_800_000_000, "2027-01-15 08:00:00Z"), (2**70, f"{2**70} s after 1970")],
)
def test_times(seconds: int, shown: str) -> None:
    assert utc(seconds) == shown


@given(st.integers(-(2**70), 2**70))
def test_any_number_of_seconds_is_shown(seconds: int) -> None:
    assert utc(seconds).isprintable()


def test_counts() -> None:
    assert [plural(count, "approval") for count in (0, 1, 2, 12_000)] == [
        "0 approvals", "1 approval", "2 approvals", "12,000 approvals",
    ]  # fmt: skip
