"""Whether a DynamoDB table is made as a store needs it, and AWS and this machine agree on the time."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gate import aws
from gate.clocks import skew
from gate.dynamotable import Table, said_at
from gate.errors import GateError
from gate.models import Finding, Severity

Flaw = tuple[Severity, str, str]  # severity, message and fix


def examine(
    table: Table,
    store: str,
    keys: Sequence[str],
    thing: str,
    more: Callable[[Table, Mapping[str, Any]], Iterable[Flaw]],
) -> Iterator[Finding]:
    """What the doctor should say of the table of a `store`, whose `keys` are strings, and whose items expire.

    `thing` is what an item stands for, with "an" before it. `more` finds the flaws that matter to this store alone in
    the answer to DescribeTable. Never raises for a table that is merely broken.
    """
    subject = f"{store} dynamodb://{table.name}"
    if table.in_clear:
        yield Finding("warning", subject, "is asked over plain HTTP", "Use an https:// endpoint.")
    flaws = _flaws(table, keys, thing, more)
    yield from (Finding(severity, subject, message, fix) for severity, message, fix in flaws)
    if not flaws:
        yield Finding("ok", subject, "answers, and has the keys, the expiry and the protection that it needs")
    elif all(severity == "note" for severity, *_ in flaws):
        yield Finding("ok", subject, "answers, and is as it should be as far as its server shows")


def _flaws(
    table: Table, keys: Sequence[str], thing: str, more: Callable[[Table, Mapping[str, Any]], Iterable[Flaw]]
) -> list[Flaw]:
    def of_table() -> Iterator[Flaw]:
        described = _described(table, keys)
        clock = skew(said_at(described), "AWS")
        yield from _of_keys(described["Table"], keys, table.docs)
        yield from _of_account(table, described["Table"])
        yield from more(table, described["Table"])
        if clock:
            yield "error", clock, "Synchronise the clock (NTP)."

    try:
        return [
            *told(table, "it has the keys and the protection that it needs", "DescribeTable", of_table),
            *told(
                table,
                f"it forgets an {thing} only once it has expired",
                "DescribeTimeToLive",
                lambda: _of_expiry(table, thing),
            ),
        ]
    except GateError as error:
        return [("error", error.message, error.hint)]
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is a finding)
        message, fix = table.explain(error)
        return [("error", message, fix)]


def _described(table: Table, keys: Sequence[str]) -> Mapping[str, Any]:
    """The answer to DescribeTable.

    Raises:
        GateError: it is denied, or not offered, and the table can't be read either.
        Exception: whatever else the SDK raises.
    """
    try:
        answer: Mapping[str, Any] = table.client.describe_table(TableName=table.name)
    except Exception as error:
        if _is_denial(error) or aws.is_not_offered(error):
            table.call("get_item", TableName=table.name, Key={key: {"S": "of nobody"} for key in keys})
        raise
    return answer


def told(table: Table, whether: str, action: str, look: Callable[[], Iterable[Flaw]]) -> Iterator[Flaw]:
    """What `look` finds; or that it can't be told, where the right to that `action` is missing, or the server lacks it.

    Raises:
        Exception: whatever else the SDK raises.
    """
    try:
        yield from list(look())
    except Exception as error:
        if aws.is_not_offered(error):
            yield "note", f"can't tell whether {whether}: its server does not offer dynamodb:{action}", ""
        elif _is_denial(error):
            yield "warning", f"can't tell whether {whether}: that takes dynamodb:{action}", f"Grant it ({table.docs})."
        else:
            raise


def _is_denial(error: Exception) -> bool:
    return aws.code(error).startswith("AccessDenied")


def _of_keys(description: Mapping[str, Any], keys: Sequence[str], docs: str) -> Iterator[Flaw]:
    found = [part["AttributeName"] for part in description["KeySchema"]]
    strings = [{"AttributeName": key, "AttributeType": "S"} in description["AttributeDefinitions"] for key in keys]
    if found != list(keys) or not all(strings):
        wanted = f"key is not {keys[0]} alone, a string"
        if len(keys) > 1:
            wanted = f"keys are not {' and '.join(keys)}, both strings"
        yield "error", f"its {wanted}", f"Make it anew: {docs} has the command."
    if description["TableStatus"] not in ("ACTIVE", "UPDATING"):
        yield "error", "is not ready to be used", "Wait until its status is ACTIVE."


def _of_expiry(table: Table, thing: str) -> Iterator[Flaw]:
    ttl = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    if ttl.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        yield "warning", f"never forgets an expired {thing}, so it grows", "Turn on its TTL, on expires_at."
    elif ttl.get("AttributeName") != "expires_at":
        yield (
            "error",
            f"its TTL looks at another attribute, so it may forget an {thing} that still works",
            "Turn that TTL off, and on again on expires_at.",
        )


def _of_account(table: Table, description: Mapping[str, Any]) -> Iterator[Flaw]:
    """Whether the URI should name the account; a server that is not AWS has none, as its ARNs show."""
    arn = re.fullmatch(r"arn:aws[a-z-]*:dynamodb:[^:]+:([0-9]{12}):table/.+", str(description.get("TableArn")))
    if not table.owned and arn and arn[1] != "0" * 12:
        yield (
            "warning",
            "is bound to no account: with credentials of another one, a table of that name there would take its place",
            "Add &owner= and the account to its URI: aws sts get-caller-identity --query Account",
        )
