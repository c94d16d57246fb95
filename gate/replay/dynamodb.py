"""The replay store in a DynamoDB table: partition key `jti` (S), no sort key, TTL attribute `expires_at` (N).

The IAM actions that it needs, all on that one table:

- to verify: `dynamodb:PutItem`, `dynamodb:GetItem`, `dynamodb:UpdateItem`; and, where a repository has a new name under
  separation of duties, `dynamodb:Scan`
- to prove the audit log: `dynamodb:GetItem`, `dynamodb:Scan`
- for the doctor: `dynamodb:DescribeTable`, `dynamodb:DescribeTimeToLive`, `dynamodb:DescribeContinuousBackups`

A JTI is one item. The head of a stream is the item `head:<stream>`, which no JTI can be called; it never expires.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gate.clocks import check_clock
from gate.dynamotable import Item, Refused, Table, said_at, table_name
from gate.errors import ReplayUnavailable
from gate.models import Consumption, Finding, Head, Stream
from gate.replay import Replayed
from gate.replay.tablehealth import flaws
from gate.tablehealth import examine
from gate.uris import Uri

_HEAD = "head:"


class DynamoStore:
    """A `ReplayStore` in `table`."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def consume(self, uses: Sequence[Consumption]) -> None:
        """See `ReplayStore.consume`."""
        if not uses:
            return
        puts = [self._put(use) for use in uses]
        try:
            if len(puts) == 1:
                answer = self.table.call("put_item", **puts[0])
            else:
                answer = self.table.call("transact_write_items", TransactItems=[{"Put": put} for put in puts])
        except Refused as refused:
            raise Replayed(self.table.read(_use, refused.item)) from None
        # The TTL goes by that clock: of what has expired to it, nothing may be left.
        check_clock(said_at(answer), f"the DynamoDB table {self.table.name}")

    def doubt(self) -> str:
        """See `ReplayStore.doubt`."""
        return ""

    def consumed(self) -> Iterator[Consumption]:
        """See `ReplayStore.consumed`."""
        for item in self.table.scan():
            if not self.table.read(_name, item).startswith(_HEAD):
                yield self.table.read(_use, item)

    def head(self, stream: Stream) -> Head | None:
        """See `ReplayStore.head`."""
        answer = self.table.call("get_item", TableName=self.table.name, Key=_key(stream), ConsistentRead=True)
        return self.table.read(_head, answer["Item"]) if "Item" in answer else None

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """See `ReplayStore.advance`."""
        values = {"seq": {"N": str(head.seq)}, "record": {"B": head.record}, "written": {"BOOL": head.written}}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(jti)"}
        if expected:
            condition = _if_seq(expected)
        try:
            self.table.call(
                "put_item",
                TableName=self.table.name,
                Item=_key(stream) | values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **condition,
            )
        except Refused as refused:
            current = self.table.read(_head, refused.item) if refused.item else None
            return current is not None and (current.seq, current.record) == (head.seq, head.record)
        return True

    def settle(self, stream: Stream, seq: int) -> None:
        """See `ReplayStore.settle`."""
        condition = _if_seq(seq)
        condition["ExpressionAttributeValues"][":true"] = {"BOOL": True}
        with suppress(Refused):
            self.table.call(
                "update_item",
                TableName=self.table.name,
                Key=_key(stream),
                UpdateExpression="SET written = :true",
                **condition,
            )

    def heads(self) -> Iterator[Stream]:
        """See `ReplayStore.heads`."""
        for item in self.table.scan(ProjectionExpression="jti"):
            name = self.table.read(_name, item)
            if name.startswith(_HEAD):
                repository, _, environment = name.removeprefix(_HEAD).rpartition("/")
                yield Stream(repository, environment)

    def diagnose(self) -> Iterator[Finding]:
        """See `ReplayStore.diagnose`."""
        return examine(self.table, "replay store", ["jti"], "approval", flaws)

    def may_write(self) -> bool:
        """Whether these credentials may consume; nothing is, by a condition that can't hold."""
        use = Consumption("doctor", "doctor", 0, 0, Stream("deploy-gate/doctor", "doctor"), "", "")
        put = self._put(use) | {"ConditionExpression": "nonce = :nonce AND nonce <> :nonce"}
        del put["TableName"]
        return self.table.may("put_item", **put)

    def _put(self, use: Consumption) -> dict[str, Any]:
        values = use._asdict() | use.stream._asdict()
        del values["stream"]
        return {
            "TableName": self.table.name,
            "Item": {
                name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in values.items()
            },
            "ConditionExpression": "attribute_not_exists(jti) OR nonce = :nonce",
            "ExpressionAttributeValues": {":nonce": {"S": use.nonce}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }


def open_store(uri: Uri, base: Path | None) -> DynamoStore:  # noqa: ARG001 (every backend's signature)
    """The store of a `dynamodb://TABLE?region=R[&owner=ACCOUNT][&endpoint=URL]` URI.

    Raises:
        UsageError: see `table_name`.
    """
    return DynamoStore(Table(table_name(uri), uri.query, ReplayUnavailable))


def _key(stream: Stream) -> dict[str, Any]:
    return {"jti": {"S": _HEAD + stream.path}}


def _if_seq(seq: int) -> dict[str, Any]:
    return {"ConditionExpression": "seq = :seq", "ExpressionAttributeValues": {":seq": {"N": str(seq)}}}


def _name(item: Item) -> str:
    return str(item["jti"]["S"])


def _use(item: Item) -> Consumption:
    return Consumption(
        jti=item["jti"]["S"],
        nonce=item["nonce"]["S"],
        expires_at=int(item["expires_at"]["N"]),
        used_at=int(item["used_at"]["N"]),
        stream=Stream(item["repository"]["S"], item["environment"]["S"]),
        sha=item["sha"]["S"],
        approver=item["approver"]["S"],
        run_id=item["run_id"]["S"],
    )


def _head(item: Item) -> Head:
    return Head(int(item["seq"]["N"]), bytes(item["record"]["B"]), bool(item["written"]["BOOL"]))
