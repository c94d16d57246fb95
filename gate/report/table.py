"""The CSV: one line for each decision, safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable
from typing import IO

from gate.report import Row
from gate.text import printable, utc

COLUMNS = (
    "decided_at",
    "decision",
    "reason",
    "repository",
    "environment",
    "sha",
    "approvers",
    "approval_reasons",
    "keys",
    "jtis",
    "actors",
    "run_id",
    "message",
    "proof",
    "record",
)
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four: the same signs at full width


class Table:
    """Writes rows as they come."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        self._writer.writerow(COLUMNS)

    def add(self, row: Row) -> None:
        """Write one row."""
        record, deployment = row.record, row.record.deployment
        cells = (
            utc(row.decided_at),
            row.verdict,
            record.reason,
            deployment.repository,
            deployment.environment,
            deployment.sha,
            _joined(approval["approver"] for approval in record.approvals),
            _joined(approval.get("reason", "") for approval in record.approvals),
            _joined(approval["kid"] for approval in record.approvals),
            _joined(approval["jti"] for approval in record.approvals),
            _joined(deployment.actors),
            deployment.run_id,
            record.message,
            row.proof,
            row.uri,
        )
        self._writer.writerow([_cell(text) for text in cells])


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    shown = printable(text, 2000)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(filter(None, texts))
