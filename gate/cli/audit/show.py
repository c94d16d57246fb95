"""`gate audit show`: who approved this?"""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gate.cli import json_option
from gate.cli.audit import log_option, open_sources, policies_option
from gate.errors import UsageError, verdict
from gate.proof.search import Answer, records_on
from gate.record import EventKind, Happened, Record
from gate.scope import parse_repository
from gate.text import legible, plural, printable, utc

_VERDICTS = {"allow": ("allowed", "green"), "deny": ("denied ", "red"), "error": ("blocked", "yellow")}
_EVENTS: Mapping[EventKind, str] = {
    "approval": "approved on the page by {}",
    "refusal": "declined by {}",
    "enrolment": "passkey enrolled by {}",
    "sign_in_failure": "sign-in failed for {}",
}


@click.command()
@click.argument("sha")
@click.option("--repository", default="", help="Only this repository.")
@click.option("--environment", default="", help="Only this environment.")
@policies_option
@log_option
@json_option
def show(
    sha: str, repository: str, environment: str, policies: tuple[str, ...], audit_uri: str, *, as_json: bool
) -> None:
    """Say who approved a commit, or why not.

    One line for each decision on SHA, which may be abbreviated; of a deploy-bot's log (--audit), for each event. Each
    allow is proved by its own tokens; the chain of records is for gate audit verify to prove.
    Exit code 0: there are decisions. 1: there are none, or one is not proved. 2: usage or configuration. 3: the log
    can't be read.

    \b
    Example:
      gate audit show 1f3c9ab2e0aa --environment production
    """
    if not re.fullmatch(r"[0-9a-f]{4,64}", sha):
        raise UsageError(
            "The sha is not a commit id, nor the beginning of one.",
            expected="4 to 64 lower-case hex digits",
            actual=printable(sha, 100),
        )
    named = parse_repository(repository) if repository else ""
    sources = open_sources(policies, audit_uri, offline=True)
    found = records_on(
        sources.log,
        sha,
        lambda stream: named in ("", stream.repository) and environment in ("", stream.environment),
        sources.policies,
    )
    answers = sorted(found, key=lambda answer: answer.record.at)
    _check_one_commit(sha, answers)
    decisions = [_decision(answer, answer.record) for answer in answers if isinstance(answer.record, Record)]
    if as_json:
        events = [_event(answer, answer.record) for answer in answers if isinstance(answer.record, Happened)]
        click.echo(json.dumps({"sha": sha, "decisions": decisions, "events": events}))
    else:
        for answer in answers:
            click.echo(_fitted(_line(answer), printable(answer.uri, 1000)))
    if not decisions:
        filters = [name for name, value in (("repository", repository), ("environment", environment)) if value]
        where = f" for that {' and '.join(filters)}" if filters else ""
        click.echo(f"gate: no decision on {sha} is recorded{where}", err=True)
    sys.exit(0 if decisions and not any(answer.doubt for answer in answers) else 1)


def _check_one_commit(sha: str, answers: Sequence[Answer]) -> None:
    commits = sorted({answer.deployment.sha for answer in answers})
    if len(commits) > 1:
        raise UsageError(
            f"{plural(len(commits), 'commit')} in the log start with {sha}.",
            expected="the beginning of one",
            actual=", ".join(commits[:5]),
            hint="Give more digits.",
        )


def _fitted(line: str, uri: str) -> str:
    """The line and the record's URI; on a terminal that is too narrow for both, the URI on a line of its own."""
    whole = f"{line}  {uri}"
    if sys.stdout.isatty() and len(click.unstyle(whole)) > shutil.get_terminal_size().columns:
        return f"{line}\n    {uri}"
    return whole


def _line(answer: Answer) -> str:
    record, deployment = answer.record, answer.deployment
    if isinstance(record, Happened):
        word, what = "event  ", _happened(record)
    else:
        name, colour = _VERDICTS[verdict(record.reason)]
        word, what = click.style(name, fg=colour), _decided(record)
    parts = [
        utc(record.at),
        word,
        f"{deployment.repository} {deployment.sha[:12]} {deployment.environment}",
        what + (f" run {printable(deployment.run_id)}" if deployment.run_id else ""),
    ]
    if answer.doubt:
        parts.insert(2, click.style(f"NOT PROVED: {legible(answer.doubt)}", fg="red"))
    return "  ".join(parts)


def _decided(record: Record) -> str:
    if not record.allowed:
        return f"{record.reason}: {printable(record.message, 2000)}"
    return "approved by " + ", ".join(
        printable(approval["approver"])
        + (f' ("{printable(approval["reason"])}")' if approval.get("reason") else "")
        + f" key {printable(approval['kid'])}"
        for approval in record.approvals
    )


def _happened(record: Happened) -> str:
    what = _EVENTS[record.event].format(record.who or "somebody")
    return f"{what}: {printable(record.message, 2000)}" if record.message else what


def _decision(answer: Answer, record: Record) -> dict[str, Any]:
    return {
        "decided_at": record.decided_at,
        "decision": verdict(record.reason),
        "reason": record.reason,
        "message": record.message,
        "deployment": record.deployment.as_json(),
        "approvals": [dict(approval) for approval in record.approvals],
        "record": answer.uri,
        "proved": not answer.doubt,
        "doubt": answer.doubt,
    }


def _event(answer: Answer, record: Happened) -> dict[str, Any]:
    return {
        "happened_at": record.happened_at,
        "event": record.event,
        "who": record.who,
        "message": record.message,
        "deployment": answer.deployment.as_json(),
        "token_digests": [*record.token_digests],
        "record": answer.uri,
        "doubt": answer.doubt,
    }
