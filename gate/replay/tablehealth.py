"""Whether a DynamoDB table is set up so that it forgets no use of an approval."""

from collections.abc import Iterator, Mapping
from typing import Any

from gate.dynamotable import Table
from gate.tablehealth import Flaw, told


def flaws(table: Table, description: Mapping[str, Any]) -> Iterator[Flaw]:
    """What is not well with the table, by the answer to DescribeTable and what DynamoDB says of its backups."""
    yield from _of_protection(description)
    yield from _of_backups(table)


def _of_protection(description: Mapping[str, Any]) -> Iterator[Flaw]:
    if description.get("MultiRegionConsistency") == "STRONG":
        yield (
            "warning",
            "as a strongly consistent global table it has no transactions, so whoever needs two approvals is blocked",
            "Use a table without replicas.",
        )
    elif description.get("Replicas"):
        yield (
            "error",
            "its replicas agree only later, so an approval works once in every region",
            "Use a table without replicas.",
        )
    if "DeletionProtectionEnabled" not in description:  # AWS says so of every table
        yield "note", "its server offers no deletion protection", ""
    elif not description["DeletionProtectionEnabled"]:
        yield "warning", "one call can delete it, and used approvals would work again", "Turn on deletion protection."


def _of_backups(table: Table) -> Iterator[Flaw]:
    whether = "point-in-time recovery is on"
    try:
        yield from told(table, whether, "DescribeContinuousBackups", lambda: _of_recovery(table))
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is a finding)
        message, fix = table.explain(error)
        yield "warning", f"can't tell whether {whether}: {message}", fix


def _of_recovery(table: Table) -> Iterator[Flaw]:
    answer = table.client.describe_continuous_backups(TableName=table.name)
    recovery = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        yield (
            "warning",
            "what was in it can't be looked up once it is lost: point-in-time recovery is off",
            "aws dynamodb update-continuous-backups (docs/operations.md)",
        )
