"""`gate audit report`: a page for a manager, a CSV for an auditor."""

import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import click

from gate.cli import json_option
from gate.cli.audit import (
    Sources,
    log_option,
    offline_option,
    open_sources,
    place,
    policies_option,
    replay_option,
)
from gate.errors import UsageError
from gate.proof import Fault, Step
from gate.record import Happened
from gate.report import DAY, Report, Row, Selection
from gate.report.page import page
from gate.report.table import Table
from gate.scope import parse_repository
from gate.text import plural, printable

_DATE = click.DateTime(["%Y-%m-%d"])
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--output", type=_FILE, default="audit.html", show_default=True, help="Where the page goes.")
@click.option("--csv", "table_path", type=_FILE, help="Where a CSV of every decision goes.")
@click.option("--since", type=_DATE, help="Only decisions of this day (UTC) and later.")
@click.option("--until", type=_DATE, help="Only decisions of this day (UTC) and earlier.")
@click.option("--repository", default="", help="Only this repository.")
@click.option("--environment", default="", help="Only this environment.")
@policies_option
@log_option
@replay_option
@offline_option
@json_option
def report(
    output: Path,
    table_path: Path | None,
    since: datetime | None,
    until: datetime | None,
    repository: str,
    environment: str,
    policies: tuple[str, ...],
    audit_uri: str,
    replay_uri: str,
    *,
    offline: bool,
    as_json: bool,
) -> None:
    """Write a page on who approved what, and when.

    It also says what was denied, and why. The whole log is proved on the way.
    Exit code 0: the log is proved. 1: it is not, and the page says what is wrong. 2: usage or configuration. 3: the log
    or the replay store can't be read; nothing is written.

    \b
    Example:
      gate audit report --since 2026-11-01 --environment production --output november.html --csv november.csv
    """
    if table_path and table_path.absolute() == output.absolute():
        raise UsageError("The page and the CSV can't be one file.", hint="Name another one: --csv.")
    if since and until and since > until:
        raise UsageError(
            "No day is of --since and later, and of --until and earlier.",
            expected=f"--until {since:%Y-%m-%d} or later",
            actual=f"{until:%Y-%m-%d}",
            hint="Exchange the two.",
        )
    selection = Selection(
        _seconds(since),
        None if until is None else _seconds(until, DAY),
        parse_repository(repository) if repository else "",
        environment,
    )
    made = Report(selection, offline)
    _write(made, open_sources(policies, audit_uri, replay_uri, offline=offline), output, table_path)
    if as_json:
        click.echo(json.dumps(_as_json(made, output, table_path)))
    else:
        files = " and ".join(printable(str(path)) for path in (output, table_path) if path)
        click.echo(f"{_outcome(made)}, in {files}")
    sys.exit(1 if made.finding_count else 0)


def _outcome(made: Report) -> str:
    """What a person wants to know in the end."""
    if made.is_blank:
        return "no records yet"
    proved = click.style("NOT PROVED", fg="red") if made.finding_count else click.style("PROVED", fg="green")
    if not made.total and made.decisions:
        return f"{proved}  nothing matches (0 of {plural(made.decisions, 'decision')})"
    return f"{proved}  {plural(made.total, 'decision')}"


def _seconds(day: datetime | None, more: int = 0) -> int | None:
    """Epoch seconds of the beginning of a day in UTC, and `more`."""
    return None if day is None else int(day.replace(tzinfo=timezone.utc).timestamp()) + more


def _write(made: Report, sources: Sources, output: Path, table_path: Path | None) -> None:
    """One pass over the log fills the report and the table; then the page is written."""
    with ExitStack() as files:
        page_file = files.enter_context(_replacing(output, "utf-8"))
        # The byte order mark is what tells a spreadsheet that it is UTF-8.
        table = Table(files.enter_context(_replacing(table_path, "utf-8-sig"))) if table_path else None
        for event in sources.proof():
            if isinstance(event, Fault):
                made.find(f"{event.kind}: {place(event)}: {event.message} {event.uri}".rstrip(), event.left_out)
            elif isinstance(event, Step):
                _count(made, event, table)
        page_file.writelines(page(made, int(time.time())))


def _count(made: Report, step: Step, table: Table | None) -> None:
    if isinstance(step.record, Happened):
        made.happen(step.record)
        return
    row = Row(step.record.decided_at, step.uri, step.record, step.evidence)
    if made.add(row) and table:
        table.add(row)


@contextmanager
def _replacing(path: Path, encoding: str) -> Iterator[IO[str]]:
    """A file that takes the place of `path` once it is whole; nothing changes where that fails.

    Raises:
        UsageError: it can't be written.
    """
    if not path.name:
        raise UsageError("A file needs a name.", hint="See --output and --csv.")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with draft.open("x", encoding=encoding, newline="") as file:
                yield file
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        why = (error.strerror or "input/output error").lower()
        raise UsageError(f"{printable(str(path))} can't be written ({why}).", hint="Choose another --output.") from None


def _as_json(made: Report, output: Path, table_path: Path | None) -> dict[str, object]:
    return {
        "proved": not made.finding_count,
        "offline": made.offline,
        "page": str(output),
        "csv": str(table_path) if table_path else None,
        "records": made.records,
        "decisions": made.total,
        "allowed": made.verdicts["allow"],
        "denied": made.verdicts["deny"],
        "blocked": made.verdicts["error"],
        "events": made.events.total(),
        "finding_count": made.finding_count,
    }
