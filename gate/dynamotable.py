"""A DynamoDB table as stores ask it: every call is bounded, checked and explained."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import mktime_tz, parsedate_tz
from random import SystemRandom
from threading import Lock
from typing import Any, TypeVar

from gate import aws
from gate.errors import GateError, UsageError
from gate.uris import Uri

Item = Mapping[str, Mapping[str, Any]]
_Value = TypeVar("_Value")

_PATIENCE = 5.0  # seconds to try again while others hold the same items
_BUSY = {
    "TransactionConflict",
    "TransactionConflictException",
    "ReplicatedWriteConflictException",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
}


class Refused(Exception):
    """A condition did not hold; `item` is what stands there, empty where nothing does."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class Table:
    """The table `name`, in the region, in the account and at the endpoint that a URI's `query` names.

    Where it names the account (`owner`), every request names the table by its ARN: credentials of another account are
    refused by DynamoDB itself, which would otherwise look for a table of that name in theirs.

    `error` is raised where it can't be asked, and `docs` the page that says how it is made. Warm it early, in a thread,
    by touching `client`.
    """

    def __init__(
        self, name: str, query: Mapping[str, str], error: type[GateError], docs: str = "docs/operations.md"
    ) -> None:
        self.name = name
        self.what = f"The DynamoDB table {name}"
        self.docs = docs
        self._error = error
        self._query = query
        self._lock = Lock()
        self._client: Any = None

    @property
    def in_clear(self) -> bool:
        """Whether it is asked over plain HTTP, so that the network could answer in its place."""
        return aws.speaks_in_clear(self._query)

    @property
    def owned(self) -> bool:
        """Whether its URI names the account that it lies in."""
        return "owner" in self._query

    @property
    def client(self) -> Any:
        """The SDK's client, made when it is first asked for.

        Raises:
            Exception: see `aws.client`.
        """
        with self._lock:
            if self._client is None:
                self._client = aws.client("dynamodb", self._query)
                if self.owned:
                    self._client.meta.events.register("provide-client-params.dynamodb", self._by_arn)
            return self._client

    def _by_arn(self, params: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        partition, region = self._client.meta.partition, self._query["region"]
        arn = {"TableName": f"arn:{partition}:dynamodb:{region}:{self._query['owner']}:table/{self.name}"}
        if "TransactItems" in params:
            parts = [{verb: part | arn for verb, part in item.items()} for item in params["TransactItems"]]
            return {**params, "TransactItems": parts}
        return {**params, **arn}

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call, made again for a while where others hold the same items.

        Raises:
            Refused: a condition does not hold, and nothing was changed.
            GateError: anything else went wrong; it is the table's `error`.
        """
        answer = self._try(operation, parameters)
        deadline, pause = time.monotonic() + _PATIENCE, 0.05
        while answer is None:
            if time.monotonic() > deadline:
                raise self._error(f"{self.what} stays too busy.", hint="Try again in a moment.")
            time.sleep(SystemRandom().uniform(0, pause))
            pause = min(1.0, 2 * pause)
            answer = self._try(operation, parameters)
        if not self._is_genuine(answer):
            raise self._unavailable(ValueError("not an answer of DynamoDB"))
        return answer

    def may(self, operation: str, **parameters: Any) -> bool:
        """Whether these credentials may do what a condition that can't hold keeps from being done.

        Raises:
            GateError: that can't be told, or the server did it all the same.
        """
        try:
            getattr(self.client, operation)(TableName=self.name, **parameters)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            if aws.code(error) == "ConditionalCheckFailedException":
                return True
            if aws.is_denied(error):
                return False
            raise self._unavailable(error) from None
        raise self._error(f"{self.what} wrote against a condition.", hint="Use a server that minds conditions.")

    def scan(self, **parameters: Any) -> Iterator[Item]:
        """Every item, page by page.

        Raises:
            GateError: as for `call`.
        """
        return self._pages("scan", parameters)

    def query(self, **parameters: Any) -> Iterator[Item]:
        """Every item that a query finds, page by page.

        Raises:
            GateError: as for `call`.
        """
        return self._pages("query", parameters)

    def _pages(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[Item]:
        start: dict[str, Any] = {}
        while True:
            page = self.call(operation, TableName=self.name, ConsistentRead=True, **parameters, **start)
            yield from page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def read(self, parse: Callable[[Item], _Value], item: Item) -> _Value:
        """What `parse` makes of an item.

        Raises:
            GateError: the item is not of the shape that it expects.
        """
        try:
            return parse(item)
        except (KeyError, TypeError, ValueError):
            raise self._error(
                f"{self.what} holds an item that no gate wrote.",
                hint="Give the gate a table of its own, that nothing else writes to.",
            ) from None

    def _try(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer, None where others hold the same items just now."""
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(ReturnConsumedCapacity="TOTAL", **parameters)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises blocks)
            reasons = _reasons(error)
            for code, item in reasons:
                if code in ("ConditionalCheckFailed", "ConditionalCheckFailedException"):
                    raise Refused(item) from None
            if any(code in _BUSY for code, _ in reasons):
                return None
            raise self._unavailable(error) from None
        return answer

    def explain(self, error: Exception) -> aws.Trouble:
        """Put any exception of the SDK into words."""
        if self.owned and aws.is_denied(error):  # DynamoDB does not tell the two apart
            return aws.Trouble(
                f"{self.what} refuses: these credentials are of another account than its URI says, or lack rights.",
                f"Check owner= in the URI, and whose credentials they are; then grant what {self.docs} lists.",
            )
        return aws.explain(error, self.what, self.docs)

    def _unavailable(self, error: Exception) -> GateError:
        message, hint = self.explain(error)
        return self._error(message, hint=hint)

    def _is_genuine(self, answer: Mapping[str, Any]) -> bool:
        """Whether DynamoDB spoke: an empty 200 of whatever stands in between would otherwise read as "written"."""
        capacity = answer.get("ConsumedCapacity")
        bills = capacity if isinstance(capacity, list) else [capacity]
        names = [
            str(bill.get("TableName") or "") for bill in bills if isinstance(bill, dict)
        ]  # as asked: an ARN for an ARN
        return any(name.rpartition(":table/")[2] == self.name for name in names)


def said_at(answer: Mapping[str, Any]) -> int | None:
    """When the service gave an answer, by its own clock (the Date header, RFC 9110 §6.6.1), in epoch seconds."""
    date = parsedate_tz(answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
    return mktime_tz(date) if date else None


def table_name(uri: Uri) -> str:
    """TABLE of a `dynamodb://TABLE?region=R[&owner=ACCOUNT][&endpoint=URL]` URI.

    Raises:
        UsageError: TABLE is not the name of a table, or the options are not those three.
    """
    table, path = uri.location("table")
    if path or not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", table):
        raise UsageError(
            "dynamodb: the URI names no table",
            hint="It has 3 to 255 of A-Z a-z 0-9 _ . - (not an ARN: owner= names the account).",
        )
    aws.check_options(uri, "owner")
    return table


def _reasons(error: Exception) -> list[tuple[str, Item]]:
    """The error's code, or those of the parts of a cancelled transaction, each with the item that stood in its way."""
    response = getattr(error, "response", None) or {}
    parts = response.get("CancellationReasons") or [{"Code": aws.code(error), "Item": response.get("Item")}]
    return [(part.get("Code", ""), part.get("Item") or {}) for part in parts]
