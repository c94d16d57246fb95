"""What notices say: text of others can do nothing, whatever it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.bot.notices.words import code, facts, headline, inert, summary
from tests.bot.news import HOSTILE, notice


@given(st.text() | st.text("htps:/w.`@ mailto\n", max_size=30))
def test_code_is_one_span_on_one_line(text: str) -> None:
    told = code(text)
    assert told.isprintable()
    assert len(told) > 2
    assert told[0] == told[-1] == "`"
    assert "`" not in told[1:-1]
    assert not re.search(r"(?i)[a-z0-9]://|www\\.|mailto:", told)


def test_links_stay_readable() -> None:
    assert inert("see https://example.com/a?b=c#d") == "see https[:]//example.com/a?b=c#d"
    assert inert("www.example.com mailto:a@example.com") == "www[.]example.com mailto[:]a@example.com"
    assert inert(" feat(api): a::b //c\n\n more ") == "feat(api): a::b //c more"


def test_long_text_is_cut() -> None:
    assert inert("x" * 1000) == "x" * 199 + "\u2026"


@pytest.mark.parametrize("news", ["asked", "approved", "declined", "expired"])
def test_a_summary_fits_a_status(news: str) -> None:
    told = summary(notice(news, title=HOSTILE, needed=1000, approved_by=(HOSTILE,), environment="e" * 100))
    assert len(told) <= 140
    assert "evil" not in told


def test_many_approvers_are_counted() -> None:
    told = dict(fact[:2] for fact in facts(notice(approved_by=tuple(f"a{number}" for number in range(12)))))
    assert told["Approved by"].endswith("a9 and 2 more")


def test_the_headline_is_ours() -> None:
    assert headline(notice("declined", title=HOSTILE)) == "Declined: production of acme/shop at 000000030000"
