"""`gate audit verify`: prove the whole log."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import click

from gate.cli import complain, json_option
from gate.cli.audit import log_option, offline_option, open_sources, place, policies_option, replay_option
from gate.errors import GateError, exit_code
from gate.models import Stream
from gate.proof import Event, Fault, Note, Step
from gate.record import Happened
from gate.text import plural, printable

_MOST = 1000  # findings in one JSON object


@click.command()
@policies_option
@log_option
@replay_option
@offline_option
@json_option
def verify(policies: tuple[str, ...], audit_uri: str, replay_uri: str, *, offline: bool, as_json: bool) -> None:
    """Prove the whole log.

    No record was altered, removed, moved or added, and every allow was approved: the tokens are verified again.
    Exit code 0: proved. 1: something is wrong. 2: usage or configuration. 3: the log or the replay store can't be read.

    \b
    Example:
      gate audit verify --policy gate.yaml --policy gate-2025.yaml
    """
    tally = _Tally(offline)
    try:
        for event in open_sources(policies, audit_uri, replay_uri, offline=offline).proof():
            tally.add(event)
            if not as_json:
                _show(event)
    except GateError as error:
        tally.error = error
        complain(error)
    if as_json:
        click.echo(json.dumps(tally.as_json()))
    elif not tally.error:
        click.echo(tally.summary())
    if tally.error:
        sys.exit(exit_code(tally.error.reason))
    sys.exit(1 if tally.finding_count else 0)


@dataclass
class _Tally:
    """What a proof came to."""

    offline: bool
    records: int = 0
    events: int = 0
    streams: set[Stream] = field(default_factory=set)
    allows: Counter[str] = field(default_factory=Counter)
    findings: list[Fault] = field(default_factory=list)
    finding_count: int = 0
    notes: list[str] = field(default_factory=list)
    error: GateError | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Step):
            self.records += 1
            self.streams.add(event.record.stream)
            self.events += isinstance(event.record, Happened)
            self.allows.update([event.evidence] if event.record.allowed_sha else [])
        elif isinstance(event, Note):
            self.notes.append(event.message)
        else:
            self.records += event.left_out
            self.finding_count += 1
            self.findings += [event] if len(self.findings) < _MOST else []

    def summary(self) -> str:
        """What a person wants to know in the end."""
        of_the_bot = f" ({plural(self.events, 'event')} of the deploy-bot)" if self.events else ""
        where = f"{plural(self.records, 'record')}{of_the_bot} in {plural(len(self.streams), 'stream')}"
        if not self.records and not self.finding_count:
            return "no records yet: there is nothing to prove"
        if self.finding_count:
            return f"{click.style('NOT PROVED', fg='red')}  {plural(self.finding_count, 'finding')} in {where}."
        given, archived = self.allows["policy"], self.allows["archived"]
        again = f"{plural(given + archived, 'allow')} verified again, under the policy that decided"
        if archived:
            again += f" ({given:,} as you gave it, {archived:,} as archived beside the log)"
        if self.allows["signatures"]:
            again += f"; {self.allows['signatures']:,} more by signature and claims alone, for want of that policy"
        word = click.style("PROVED OFFLINE", fg="yellow") if self.offline else click.style("PROVED", fg="green")
        return f"{word}  {where}: {again}."

    def as_json(self) -> dict[str, Any]:
        error = self.error
        return {
            "proved": not self.finding_count and error is None,
            "offline": self.offline,
            "records": self.records,
            "events": self.events,
            "streams": len(self.streams),
            "allows": {
                "policy": self.allows["policy"],
                "archived": self.allows["archived"],
                "signatures": self.allows["signatures"],
                "none": self.allows[""],
            },
            "finding_count": self.finding_count,
            "findings": [_as_json(fault) for fault in self.findings],
            "notes": self.notes,
            "error": error and {"reason": error.reason, "message": error.message, "hint": error.hint},
        }


def _as_json(fault: Fault) -> dict[str, Any]:
    members = {name: value for name, value in fault._asdict().items() if name != "unread"}
    return members | {"stream": fault.stream and fault.stream._asdict()}


def _show(event: Event) -> None:
    if isinstance(event, Note):
        click.secho(f"! {event.message}", fg="yellow")
    elif isinstance(event, Fault):
        click.echo(f"{click.style(f'✗ {event.kind}', fg='red')}  {place(event)}: {event.message}")
        if event.uri:
            click.echo(f"    {printable(event.uri, 1000)}")
