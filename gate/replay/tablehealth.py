"""Whether a DynamoDB table is set up so that it forgets nothing, and AWS and this machine agree on the time."""

import time
from collections.abc import Iterator, Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import Any

from gate import aws
from gate.models import Severity
from gate.replay.table import Table

_Flaw = tuple[Severity, str, str]

_SKEW = 30  # seconds


def flaws(table: Table) -> list[_Flaw]:
    """What is not well with the table: severity, message and fix of each flaw."""
    try:
        described = table.client.describe_table(TableName=table.name)
        now = time.time()
        ttl = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
        return [
            *_of_keys(described["Table"]),
            *_of_protection(described["Table"]),
            *_of_expiry(ttl),
            *_of_backups(table),
            *_of_clock(described, now),
        ]
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is a finding)
        message, fix = aws.explain(error, table.what)
        return [("error", message, fix)]


def _of_keys(description: Mapping[str, Any]) -> Iterator[_Flaw]:
    keys = [part["AttributeName"] for part in description["KeySchema"]]
    if keys != ["jti"] or {"AttributeName": "jti", "AttributeType": "S"} not in description["AttributeDefinitions"]:
        yield "error", "its key is not jti alone, a string", "Make it anew: docs/operations.md has the command."
    if description["TableStatus"] not in ("ACTIVE", "UPDATING"):
        yield "error", "is not ready to be used", "Wait until its status is ACTIVE."


def _of_protection(description: Mapping[str, Any]) -> Iterator[_Flaw]:
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
    if not description.get("DeletionProtectionEnabled"):
        yield "warning", "one call can delete it, and used approvals would work again", "Turn on deletion protection."


def _of_expiry(ttl: Mapping[str, Any]) -> Iterator[_Flaw]:
    if ttl.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        yield "warning", "never forgets an expired approval, so it grows", "Turn on its TTL, on expires_at."
    elif ttl.get("AttributeName") != "expires_at":
        yield (
            "error",
            "its TTL looks at another attribute, so it may forget an approval that still works",
            "Turn that TTL off, and on again on expires_at.",
        )


def _of_backups(table: Table) -> Iterator[_Flaw]:
    try:
        answer = table.client.describe_continuous_backups(TableName=table.name)
        recovery = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    except Exception as error:  # noqa: BLE001 (as above)
        if aws.code(error).startswith("AccessDenied"):
            message = "nobody here is allowed to look whether point-in-time recovery is on"
            yield "warning", message, "Grant dynamodb:DescribeContinuousBackups (docs/operations.md)."
            return
        message, fix = aws.explain(error, table.what)
        yield "warning", f"can't tell whether point-in-time recovery is on: {message}", fix
        return
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        yield (
            "warning",
            "what was in it can't be looked up once it is lost: point-in-time recovery is off",
            "aws dynamodb update-continuous-backups (docs/operations.md)",
        )


def _of_clock(answer: Mapping[str, Any], now: float) -> Iterator[_Flaw]:
    """By the Date header (RFC 9110 §6.6.1) of an answer that arrived at `now`, in epoch seconds."""
    date = parsedate_tz(answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
    skew = round(now - mktime_tz(date)) if date else 0
    if abs(skew) > _SKEW:
        side = "ahead of" if skew > 0 else "behind"
        yield "error", f"this machine's clock is {abs(skew)} s {side} that of AWS", "Synchronise the clock (NTP)."
