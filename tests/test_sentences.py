"""What to do next stands at the end of a sentence: none of our own is cut, however long, on any face of the gate."""

import io
from collections.abc import Callable
from html import unescape
from pathlib import Path

import click
import pytest

from gate.actions import announce
from gate.audit import START_ANEW
from gate.cli import complain
from gate.cli.doctor import _show
from gate.errors import GateError, UsageError
from gate.models import Check, Decision, Finding
from gate.render import decision_lines
from gate.report import Report, Selection
from gate.report.page import page
from gate.uris import parse_uri
from tests.audit.book import COUNT, Book, faults

LONG = f"{'The recovery takes several steps. ' * 100}{START_ANEW} And this is the last of them."


def decision() -> Decision:
    check = Check("consume", "fail", LONG.replace("steps", "stages"), LONG.replace("steps", "turns"))
    return Decision("audit.unavailable", LONG.replace("steps", "words"), LONG, {}, checks=(check,))


def on_a_terminal(capsys: pytest.CaptureFixture[str], _: Path) -> str:
    return "\n".join(decision_lines(decision(), lambda text, _: text))


def as_a_complaint(capsys: pytest.CaptureFixture[str], _: Path) -> str:
    message, expected, actual = (LONG.replace("steps", word) for word in ("words", "stages", "turns"))
    complain(GateError(message, hint=LONG, expected=expected, actual=actual))
    return capsys.readouterr().err


def by_the_doctor(capsys: pytest.CaptureFixture[str], _: Path) -> str:
    _show(Finding("error", LONG.replace("steps", "stages"), LONG.replace("steps", "words"), LONG))
    return capsys.readouterr().out + LONG.replace("steps", "turns")


def on_github(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    stdout, summary = io.StringIO(), folder / "summary"
    announce(decision(), {"GITHUB_STEP_SUMMARY": str(summary)}, stdout)
    assert LONG in stdout.getvalue()
    return unescape(summary.read_text()).replace("<code>", "").replace("</code>", "")


@pytest.mark.parametrize("face", [on_a_terminal, as_a_complaint, by_the_doctor, on_github])
def test_a_sentence_is_shown_to_its_end(
    face: Callable[[pytest.CaptureFixture[str], Path], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown = face(capsys, tmp_path)
    for word in ("steps", "words", "stages", "turns"):
        assert LONG.replace("steps", word) in shown


def test_a_finding_on_the_report_is_shown_to_its_end() -> None:
    made = Report(Selection(), offline=False)
    made.find(LONG, 0)
    assert LONG in unescape("".join(page(made, 0)))


def test_a_finding_of_the_proof_is_told_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UsageError(LONG)

    monkeypatch.setattr("gate.proof.stream.prove_allow", refuse)
    found = Book(tmp_path).write(COUNT).prove()
    assert faults(found)[0][0] == "forged"
    assert any(LONG in event.message for event in found if hasattr(event, "message"))


def test_what_others_wrote_is_bounded_where_it_enters_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_uri("file:" + "x" * 100_000)
    assert len(f"{raised.value.message}{raised.value.actual}") < 300
    from gate.cli import _explained

    assert len(_explained(click.UsageError("x" * 100_000)).message) == 2000
