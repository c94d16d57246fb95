"""A decision, put into words for a person."""

from collections.abc import Callable, Iterator

from gate.models import Decision
from gate.text import legible

_MARKS = {"pass": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("·", "bright_black")}
_VERDICTS = {
    "allow": ("ALLOWED", "green"),
    "deny": ("DENIED", "red"),
    "error": ("BLOCKED", "yellow"),
    "none": ("DRY RUN", "cyan"),
}

Style = Callable[[str, str], str]


def decision_lines(decision: Decision, style: Style) -> Iterator[str]:
    """The lines that a terminal shows; `style(text, colour)` colours, or does not."""
    word, colour = _VERDICTS[decision.decision]
    yield f"{style(word, colour)}  {legible(decision.message)}  {style(f'[{decision.reason}]', 'bright_black')}"
    if decision.deployment:
        yield f"  {_deployment(decision)}"
    for check in decision.checks:
        mark, colour = _MARKS[check.status]
        if check.status == "fail":
            yield f"  {style(mark, colour)} {check.name}"
            if check.expected:
                yield f"      expected  {legible(check.expected)}"
            yield f"      actual    {legible(check.actual)}"
        elif check.actual != "not reached":
            words = legible(check.actual or check.expected)
            yield f"  {style(mark, colour)} {check.name:<12}{style(words, 'bright_black')}"
    if decision.hint:
        yield f"  next    {legible(decision.hint)}"
    if decision.record:
        yield f"  record  {legible(decision.record)}"


def _deployment(decision: Decision) -> str:
    deployment = decision.deployment
    return f"{deployment['repository']} {deployment['sha']} → {deployment['environment']}"
