"""A DynamoDB table as stores ask it: every call is bounded, checked and explained."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
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
    """The table `name`, in the region and at the endpoint that a URI's `query` names.

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
    def client(self) -> Any:
        """The SDK's client, made when it is first asked for.

        Raises:
            Exception: see `aws.client`.
        """
        with self._lock:
            if self._client is None:
                self._client = aws.client("dynamodb", self._query)
            return self._client

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

    def _unavailable(self, error: Exception) -> GateError:
        message, hint = aws.explain(error, self.what, self.docs)
        return self._error(message, hint=hint)

    def _is_genuine(self, answer: Mapping[str, Any]) -> bool:
        """Whether DynamoDB spoke: an empty 200 of whatever stands in between would otherwise read as "written"."""
        capacity = answer.get("ConsumedCapacity")
        bills = capacity if isinstance(capacity, list) else [capacity]
        return any(isinstance(bill, dict) and bill.get("TableName") == self.name for bill in bills)


def table_name(uri: Uri) -> str:
    """TABLE of a `dynamodb://TABLE?region=R[&endpoint=URL]` URI.

    Raises:
        UsageError: TABLE is not the name of a table, or the options are not those two.
    """
    table, path = uri.location("table")
    if path or not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", table):
        raise UsageError(
            "dynamodb: the URI names no table", hint="It has 3 to 255 of A-Z a-z 0-9 _ . - (not an ARN, no path)."
        )
    aws.check_options(uri)
    return table


def _reasons(error: Exception) -> list[tuple[str, Item]]:
    """The error's code, or those of the parts of a cancelled transaction, each with the item that stood in its way."""
    response = getattr(error, "response", None) or {}
    parts = response.get("CancellationReasons") or [{"Code": aws.code(error), "Item": response.get("Item")}]
    return [(part.get("Code", ""), part.get("Item") or {}) for part in parts]
