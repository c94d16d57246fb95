"""The picture of decisions over time, as inline SVG: allows above the line, everything else below it."""

from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from gate.errors import Verdict
from gate.text import plural, utc

_MOST_BARS = 62
_WEEK = 7
_DAY = 86400


class Bar(NamedTuple):
    """The decisions of the days from `day` on (days since 1970)."""

    day: int
    allowed: int
    refused: int


class Chart(NamedTuple):
    """Bars of `days` days each."""

    bars: tuple[Bar, ...]
    days: int

    @property
    def unit(self) -> str:
        """What one bar stands for."""
        if self.days == 1:
            return "day"
        return "week" if self.days == _WEEK else f"{self.days // _WEEK:,} weeks"

    @property
    def most_allowed(self) -> int:
        """The highest bar above the line."""
        return max(bar.allowed for bar in self.bars)

    @property
    def most_refused(self) -> int:
        """The lowest bar below it."""
        return max(bar.refused for bar in self.bars)


def chart(days: Mapping[tuple[int, Verdict], int]) -> Chart:
    """The chart of these counts by day and verdict (at least one): a bar for each day, week or number of weeks."""
    first, last = min(days)[0], max(days)[0]
    span = last - first + 1
    width = 1 if span <= _MOST_BARS else -(-span // (_MOST_BARS * _WEEK)) * _WEEK
    allowed, refused = Counter[int](), Counter[int]()
    for (day, outcome), count in days.items():
        (allowed if outcome == "allow" else refused)[(day - first) // width] += count
    numbers = range((last - first) // width + 1)
    return Chart(tuple(Bar(first + number * width, allowed[number], refused[number]) for number in numbers), width)


def svg(drawn: Chart) -> str:
    """The chart as an SVG element, stretched to its container; its words stand outside."""
    high, low = max(drawn.most_allowed, 1), drawn.most_refused
    scale = 100 / (high + low)
    line = high * scale
    description = (
        f"One bar per {drawn.unit}, from {_date(drawn.bars[0].day)}: up to {drawn.most_allowed:,} allowed above the "
        f"line, up to {drawn.most_refused:,} refused below it."
    )
    shapes = "".join(_shape(number, bar, scale, line, drawn) for number, bar in enumerate(drawn.bars))
    return (
        f'<svg viewBox="0 0 {len(drawn.bars) * 10} 100" preserveAspectRatio="none" role="img" '
        'aria-labelledby="chart-title chart-description"><title id="chart-title">Deployments over time</title>'
        f'<desc id="chart-description">{escape(description)}</desc>{shapes}'
        f'<rect class="line" x="0" y="{line:.2f}" width="{len(drawn.bars) * 10}" height="0.6"/></svg>'
    )


def _shape(number: int, bar: Bar, scale: float, line: float, drawn: Chart) -> str:
    if not bar.allowed and not bar.refused:
        return ""
    x = number * 10 + 1
    rise, fall = (max(count * scale, 1.0) if count else 0.0 for count in (bar.allowed, bar.refused))
    when = _date(bar.day) if drawn.days == 1 else f"{drawn.unit} from {_date(bar.day)}"
    words = f"{when}: {plural(bar.allowed, 'deployment')} allowed, {bar.refused:,} refused"
    return (
        f"<g><title>{escape(words)}</title>"
        f'<rect class="allowed" x="{x}" y="{line - rise:.2f}" width="8" height="{rise:.2f}"/>'
        f'<rect class="refused" x="{x}" y="{line:.2f}" width="8" height="{fall:.2f}"/></g>'
    )


def _date(day: int) -> str:
    return utc(day * _DAY)[:10]
