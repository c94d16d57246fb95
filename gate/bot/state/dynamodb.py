"""The deploy-bot's state in a DynamoDB table: partition key `kind` (S), sort key `id` (S), TTL on `expires_at` (N).

The IAM actions that it needs, all on that one table:

- to work: `dynamodb:GetItem`, `dynamodb:PutItem`, `dynamodb:DeleteItem`, `dynamodb:Query`
- for the doctor: `dynamodb:DescribeTable`, `dynamodb:DescribeTimeToLive`

A document is one item, its value one string of JSON. DynamoDB always encrypts it at rest.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gate.bot.errors import Unavailable
from gate.bot.state import Document, check_name, to_document, to_text
from gate.dynamotable import Item, Refused, Table, table_name
from gate.models import Finding
from gate.tablehealth import Flaw, examine
from gate.uris import Uri

_DOCS = "docs/bot.md"


class DynamoState:
    """A `State` in `table`."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def get(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.get`."""
        answer = self.table.call("get_item", TableName=self.table.name, Key=_key(kind, key), ConsistentRead=True)
        document = self.table.read(_document, answer["Item"]) if "Item" in answer else None
        return document if document and document.alive(now) else None

    def put(
        self, kind: str, key: str, value: Mapping[str, Any], *, expires_at: int, expected: int, now: int
    ) -> Document | None:
        """See `State.put`."""
        item = _key(kind, key) | {
            "value": {"S": to_text(value)},
            "version": {"N": str(expected + 1)},
            "expires_at": {"N": str(expires_at)},
        }
        try:
            self.table.call(
                "put_item",
                TableName=self.table.name,
                Item=item,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **_if_version(expected, now),
            )
        except Refused as refused:
            if refused.item != item:  # the SDK asks again after a lost answer, and then meets what it wrote itself
                return None
        return _document(item)

    def take(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.take`."""
        try:
            answer = self.table.call(
                "delete_item",
                TableName=self.table.name,
                Key=_key(kind, key),
                ReturnValues="ALL_OLD",
                **_if("#expires_at > :now", now),
            )
        except Refused:  # also where the SDK asks again after a lost answer: rather lost than taken twice
            return None
        return self.table.read(_document, answer.get("Attributes", {}))

    def list(self, kind: str, now: int) -> Iterator[Document]:
        """See `State.list`."""
        check_name(kind)
        items = self.table.query(
            KeyConditionExpression="#kind = :kind",
            ExpressionAttributeNames={"#kind": "kind"},
            ExpressionAttributeValues={":kind": {"S": kind}},
        )
        for item in items:
            document = self.table.read(_document, item)
            if document.alive(now):
                yield document

    def diagnose(self) -> Iterator[Finding]:
        """See `State.diagnose`."""
        return examine(self.table, "deploy-bot's state", ["kind", "id"], "approval request", _of_replicas)


def open_state(uri: Uri, base: Path | None) -> DynamoState:  # noqa: ARG001 (every backend's signature)
    """The state of a `dynamodb://TABLE?region=R[&owner=ACCOUNT][&endpoint=URL]` URI.

    Raises:
        UsageError: see `table_name`.
    """
    return DynamoState(Table(table_name(uri), uri.query, Unavailable, _DOCS))


def _key(kind: str, key: str) -> dict[str, Any]:
    check_name(kind, key)
    return {"kind": {"S": kind}, "id": {"S": key}}


def _if(condition: str, now: int) -> dict[str, Any]:
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {"#expires_at": "expires_at"},
        "ExpressionAttributeValues": {":now": {"N": str(now)}},
    }


def _if_version(expected: int, now: int) -> dict[str, Any]:
    if not expected:
        return _if("attribute_not_exists(id) OR #expires_at <= :now", now)
    condition = _if("#version = :expected AND #expires_at > :now", now)
    condition["ExpressionAttributeNames"]["#version"] = "version"
    condition["ExpressionAttributeValues"][":expected"] = {"N": str(expected)}
    return condition


def _document(item: Item) -> Document:
    return to_document(
        item["kind"]["S"], item["id"]["S"], item["value"]["S"], int(item["version"]["N"]), int(item["expires_at"]["N"])
    )


def _of_replicas(_: Table, description: Mapping[str, Any]) -> Iterator[Flaw]:
    if description.get("Replicas") and description.get("MultiRegionConsistency") != "STRONG":
        message = "its replicas agree only later, so bots in two regions may both change the same request"
        yield "error", message, "Use a table without replicas, or one of strong consistency."
