"""How a decision is told to GitHub Actions: outputs, a step summary and an annotation (docs/ci.md).

Everything that came from outside could try to speak for the gate here. Outputs go into a heredoc whose delimiter nobody
can guess; the summary is HTML in which outside text stands escaped inside `<code>`, where GitHub makes no links, images
or mentions; an annotation's text is escaped as the runner unescapes it.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from html import escape
from typing import Any, TextIO

from gate.deployment import Deployment
from gate.errors import GateError
from gate.files import open_now
from gate.models import Check, Decision
from gate.text import legible, printable

_TITLES = {
    "allow": "✅ Deployment approved",
    "deny": "⛔ Deployment blocked",
    "error": "⚠️ Deployment blocked: no decision could be made",
    "none": "🔎 Dry run: nothing was decided",
}
_MARKS = {"pass": "✅", "warn": "⚠️", "fail": "❌", "skip": "skipped"}
# A word of plain prose: nothing that GitHub could turn into something else (@name, #1, GH-1, a URL, :emoji:, a commit).
_PLAIN_WORD = re.compile(r"(?!.*[0-9a-fA-F]{7})(?![Gg][Hh]-)\(?[^\W_]+(?:['-][^\W_]+)*\)?")
_COMMAND = re.compile("`([^`]+)`")
_STOP_TOKEN = re.compile("[0-9a-f]{32}")  # as scripts/pre-deploy makes it; any other text could be a command of its own


def announce(decision: Decision, environ: Mapping[str, str], stdout: TextIO) -> None:
    """Tell GitHub of `decision`: annotations on `stdout` where it blocks and of what it warns, then the outputs and the
    step summary.

    Raises:
        GateError: a file that GitHub named can't be written.
    """
    told = "" if decision.allowed else _annotation(decision)
    told += "".join(_warning(check) for check in decision.checks if check.status == "warn")
    if told:
        stdout.write(_unmuted(told, environ))
        stdout.flush()
    _append(environ, "GITHUB_OUTPUT", _outputs(decision))
    _append(environ, "GITHUB_STEP_SUMMARY", _summary(decision))


def announce_request(url: str, deployment: Deployment, environ: Mapping[str, str], stdout: TextIO) -> None:
    """Show people the link to approve `deployment` at, before anybody waits: a notice, an output, the step summary.

    `url` leads to the deploy-bot, and has no character that could end it (gate.requester.answers).

    Raises:
        GateError: a file that GitHub named can't be written.
    """
    what = f"{deployment.repository} at {deployment.sha[:12]} for {deployment.environment}"
    stdout.write(_unmuted(f"::notice title=Approval needed::{_data(f'{what}: {url}')}\n", environ))
    stdout.flush()
    _append(environ, "GITHUB_OUTPUT", _heredocs({"request-url": url}))
    link = f'<p><a href="{escape(url)}">Look at it, and approve or decline</a></p>'
    _append(environ, "GITHUB_STEP_SUMMARY", f"<h2>⏳ Approval needed</h2>\n{link}\n<p>{_code(what)}</p>\n\n")


def hide(tokens: Iterable[str], environ: Mapping[str, str], stdout: TextIO) -> None:
    """Have GitHub hide `tokens` from the log; they are of characters that need no escape (gate.requester.answers)."""
    masks = "".join(f"::add-mask::{token}\n" for token in tokens)
    if masks:
        stdout.write(_unmuted(masks, environ))
        stdout.flush()


def _append(environ: Mapping[str, str], variable: str, text: str) -> None:
    if not environ.get(variable):
        return
    try:
        with open(environ[variable], "a", encoding="utf-8", opener=open_now) as file:
            file.write(text)
    except (OSError, ValueError):
        raise GateError(
            f"The file that {variable} names can't be written.",
            hint="The decision stands in the audit log. Check the runner's disk, and ask for a new approval.",
        ) from None


def _outputs(decision: Decision) -> str:
    values = {
        "decision": decision.decision,
        "reason": decision.reason,
        "approvers": _joined(decision, "approver"),
        "jti": _joined(decision, "jti"),
        "record": printable(decision.record or "", 2000),
    }
    return _heredocs(values)


def _heredocs(values: Mapping[str, str]) -> str:
    delimiter = secrets.token_hex(16)
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())


def _joined(decision: Decision, member: str) -> str:
    """A member of every approval that was consumed: of none, unless the deployment is allowed."""
    consumed = decision.approvals if decision.allowed else ()
    return ",".join(printable(str(approval.get(member, ""))) for approval in consumed)


def _annotation(decision: Decision) -> str:
    title = f"{_TITLES[decision.decision].partition(' ')[2]} ({decision.reason})"
    kind = "notice" if decision.decision == "none" else "error"
    return f"::{kind} title={_property(title)}::{_data(f'{decision.message} {decision.hint}'.strip())}\n"


def _warning(check: Check) -> str:
    return f"::warning title={_property(f'The gate warns ({check.name})')}::{_data(check.actual)}\n"


def _data(text: str) -> str:
    return legible(text).replace("%", "%25")  # the runner also unescapes line ends, but none is left here


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _unmuted(command: str, environ: Mapping[str, str]) -> str:
    """`command` between the words that let the runner listen for it, where scripts/pre-deploy made it deaf."""
    token = environ.get("GATE_STOP_COMMANDS", "")
    return f"::{token}::\n{command}::stop-commands::{token}\n" if _STOP_TOKEN.fullmatch(token) else command


def _summary(decision: Decision) -> str:
    # One HTML block: Markdown is not read inside it, as long as no line is blank.
    lines = [
        f"<h2>{_TITLES[decision.decision]}</h2>",
        f"<p>{_prose(decision.message)}</p>",
        "<table>",
        *(_row(f'<th align="left">{name}</th>', value) for name, value in _facts(decision) if value),
        "</table>",
        "<details><summary>Every check</summary><table>",
        "<tr><th></th><th>Check</th><th>Expected</th><th>Found</th></tr>",
        *map(_check_row, decision.checks),
        "</table></details>",
    ]
    return "\n".join(lines) + "\n\n"


def _facts(decision: Decision) -> list[tuple[str, str]]:
    asked = decision.deployment
    return [
        ("Repository", _code(asked.get("repository"))),
        ("Commit", _code(str(asked.get("sha") or "")[:12])),
        ("Environment", _code(asked.get("environment"))),
        ("Asked for by", _listed(asked.get("actors") or ())),
        ("Approved by", "<br>".join(map(_approval, decision.approvals))),
        ("Decision", f"<b>{decision.decision}</b> (<code>{decision.reason}</code>)"),
        ("Next step", _prose(decision.hint)),
        ("Audit record", _code(decision.record)),
    ]


def _approval(approval: Mapping[str, Any]) -> str:
    issued, expires = (_moment(approval.get(name)) for name in ("issued_at", "expires_at"))
    return f"{_code(approval.get('approver'))} on {issued}, good until {expires}"


def _moment(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return _code(seconds) or "an unknown time"


def _check_row(check: Check) -> str:
    return _row(f"<td>{_MARKS[check.status]}</td>", *map(_code, (check.name, check.expected, check.actual)))


def _row(head: str, *cells: str) -> str:
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(_code, values))


def _code(value: Any) -> str:
    text = "" if value is None else legible(str(value))
    return f"<code>{escape(text)}</code>" if text.strip() else ""


def _prose(text: str) -> str:
    """`text` as HTML: plain words as they are; quoted commands, and whatever else is not plain prose, as code."""
    parts = _COMMAND.split(legible(text))
    return " ".join(_code(part) if odd % 2 else " ".join(map(_word, part.split())) for odd, part in enumerate(parts))


def _word(word: str) -> str:
    core = word.rstrip(".,;:")
    return (core if _PLAIN_WORD.fullmatch(core) else _code(core)) + word[len(core) :]
