"""A server that speaks as DynamoDB does, and lacks some of it."""

import json

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Finding
from gate.replay import open_replay_store
from tests.replay.material import use
from tests.replay.servers import Reply, middleman, refusal

LACKS = refusal("UnknownOperationException")
TABLE = {
    "TableName": "jti",
    "KeySchema": [{"AttributeName": "jti", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "jti", "AttributeType": "S"}],
    "TableStatus": "ACTIVE",
}


def findings(endpoint: str) -> list[Finding]:
    return [*open_replay_store(f"dynamodb://jti?region=eu-west-1&endpoint={endpoint}", None).diagnose()]


@pytest.mark.usefixtures("aws")
def test_what_it_lacks_is_a_note_and_no_warning() -> None:
    described = Reply(200, json.dumps({"Table": TABLE}).encode())
    with middleman(lambda operation, _: described if operation == "DescribeTable" else LACKS) as server:
        *notes, last = findings(server.endpoint)
    assert [(note.severity, note.message, note.fix) for note in notes] == [
        ("note", "its server offers no deletion protection", ""),
        ("note", f"can't tell whether point-in-time recovery is on: {lacking('DescribeContinuousBackups')}", ""),
        (
            "note",
            f"can't tell whether it forgets an approval only once it has expired: {lacking('DescribeTimeToLive')}",
            "",
        ),
    ]
    assert (last.severity, last.message) == ("ok", "answers, and is as it should be as far as its server shows")


def lacking(operation: str) -> str:
    return f"its server does not offer dynamodb:{operation}"


@pytest.mark.usefixtures("aws")
def test_one_that_lacks_what_a_decision_takes_blocks() -> None:
    with middleman(lambda *_: LACKS) as server:
        store = open_replay_store(f"dynamodb://jti?region=eu-west-1&endpoint={server.endpoint}", None)
        with pytest.raises(ReplayUnavailable) as caught:
            store.consume([use("jti-1", "mine")])
        (found,) = findings(server.endpoint)
    assert str(caught.value).endswith("is on a server that does not offer this (UnknownOperationException).")
    assert "dashboard" not in caught.value.hint
    assert (found.severity, found.message) == ("error", str(caught.value))
