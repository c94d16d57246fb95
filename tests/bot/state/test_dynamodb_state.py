"""The state in DynamoDB: lost answers, refusals, and tables that are not what they should be."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import gate.aws
import gate.bot.state.dynamodb
from gate import dynamotable
from gate.bot.errors import Unavailable
from gate.bot.state import State, open_state
from gate.bot.state.dynamodb import DynamoState
from gate.bot.web import status_of
from gate.dynamotable import Table
from gate.errors import UsageError
from tests.bot.state.material import NOW, document, dynamodb_uri, fresh_table, put
from tests.parts import Aws, free_port
from tests.replay.material import ROOT, at_once
from tests.replay.servers import LOSE, PASS, Reply, black_hole, middleman, refusal

_ACCESSES: list[Callable[[State], object]] = [
    lambda state: state.get("request", "a", NOW),
    lambda state: put(state, "a", "one"),
    lambda state: put(state, "a", "two", expected=1),
    lambda state: state.take("request", "a", NOW),
    lambda state: list(state.list("request", NOW)),
]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between the SDK's tries, and short ones for ours."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr(dynamotable, "_PATIENCE", 0.3)


def _open(name: str, endpoint: str) -> State:
    return open_state(dynamodb_uri(name, endpoint), None)


def _refusal(state: State, accesses: list[Callable[[State], object]] = _ACCESSES) -> Unavailable:
    """The one error that every kind of access ends in, with nothing in it that outsiders must not see."""
    errors = []
    for access in accesses:
        with pytest.raises(Unavailable) as caught:
            access(state)
        errors.append(caught.value)
    assert len({str(error).partition(" (")[0] for error in errors}) == 1
    assert (errors[0].reason, status_of(errors[0])) == ("bot.unavailable", 503)
    assert errors[0].hint
    _is_clean(f"{errors[0]} {errors[0].hint}")
    return errors[0]


def _is_clean(text: str) -> None:
    assert not re.search(r"arn:|(?<![0-9a-f-])[0-9]{12}|REQUESTID|Traceback|assumed-role|docs/operations", text)
    assert "\n" not in text


def _losing(times: int) -> Callable[[str, int], str]:
    return lambda operation, before: LOSE if before < times and operation in ("PutItem", "DeleteItem") else PASS


# A lost answer


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("expected", [0, 1])
def test_a_lost_answer_to_a_write_is_ones_own_success(aws: Aws, expected: int) -> None:
    name = fresh_table(aws)
    for version in range(expected):
        put(_open(name, aws.endpoint), "a", "before", version)
    with middleman(_losing(1), aws.endpoint) as server:
        assert put(_open(name, server.endpoint), "a", "zoë", expected) == document("a", "zoë", expected + 1)
        assert server.seen == {"PutItem": 2}
    assert _open(name, aws.endpoint).get("request", "a", NOW) == document("a", "zoë", expected + 1)


@pytest.mark.usefixtures("hasty")
def test_when_every_answer_to_a_write_is_lost_the_bot_may_ask_again(aws: Aws) -> None:
    name = fresh_table(aws)
    with middleman(_losing(99), aws.endpoint) as server:
        _refusal(_open(name, server.endpoint), [lambda state: put(state, "a", "one")])
        assert server.seen == {"PutItem": gate.aws.TRIES}
    state = _open(name, aws.endpoint)
    assert put(state, "a", "another") is None
    assert put(state, "a", "one") == document("a", "one")


@pytest.mark.usefixtures("hasty")
def test_none_does_not_prove_that_a_write_whose_answer_was_lost_never_stood_there(aws: Aws) -> None:
    name = fresh_table(aws)

    def build_on_it(operation: str, before: int) -> str:
        if operation == "PutItem" and before == 1:
            assert put(_open(name, aws.endpoint), "a", "two", expected=1)
        return LOSE if before == 0 else PASS

    with middleman(build_on_it, aws.endpoint) as server:
        assert put(_open(name, server.endpoint), "a", "one") is None
    assert _open(name, aws.endpoint).get("request", "a", NOW) == document("a", "two", 2)


@pytest.mark.usefixtures("hasty")
def test_a_taken_document_is_rather_lost_than_taken_twice(aws: Aws) -> None:
    name = fresh_table(aws)
    state = _open(name, aws.endpoint)
    put(state, "a", "one")
    with middleman(_losing(1), aws.endpoint) as server:
        assert _open(name, server.endpoint).take("request", "a", NOW) is None
        assert server.seen == {"DeleteItem": 2}
    assert state.take("request", "a", NOW) is None
    put(state, "a", "one")
    with middleman(_losing(99), aws.endpoint) as server:
        _refusal(_open(name, server.endpoint), [lambda state: state.take("request", "a", NOW)])
        assert server.seen == {"DeleteItem": gate.aws.TRIES}
    assert state.take("request", "a", NOW) is None


@pytest.mark.usefixtures("hasty")
def test_bots_that_lose_answers_still_have_one_winner_and_one_taker_at_most(aws: Aws) -> None:
    name = fresh_table(aws)
    with middleman(lambda _, before: LOSE if before % 3 == 0 else PASS, aws.endpoint) as server:
        for trial in range(5):
            key = f"a-{trial}"
            bots = [_open(name, server.endpoint) for _ in range(3)]
            won = list(filter(None, at_once([partial(put, bot, key, n) for n, bot in enumerate(bots)])))
            assert [_open(name, aws.endpoint).get("request", key, NOW)] == won
            taken = at_once([partial(bot.take, "request", key, NOW) for bot in bots])
            assert list(filter(None, taken)) in ([], won)
            assert _open(name, aws.endpoint).get("request", key, NOW) is None


# What is asked, and how


def test_lists_and_reads_are_strongly_consistent_and_go_on_to_the_last_page(aws: Aws) -> None:
    name = fresh_table(aws)
    for n in range(12):
        put(_open(name, aws.endpoint), f"a-{n}", n, expires_at=NOW + n % 2)
    asked: list[Any] = []

    def shorten(params: dict[str, Any], **_: object) -> dict[str, Any]:
        asked.append(params)
        return params | (
            {"Limit": 3} if "KeyConditionExpression" in params else {}
        )  # the stand-in has no limit of 1 MB

    state = DynamoState(Table(name, {"region": aws.region, "endpoint": aws.endpoint}, Unavailable))
    state.table.client.meta.events.register("provide-client-params.dynamodb", shorten)
    assert sorted(found.value["is"] for found in state.list("request", NOW)) == [1, 3, 5, 7, 9, 11]
    assert len(asked) >= 4
    assert state.get("request", "a-1", NOW)
    assert all(params["ConsistentRead"] is True for params in asked)


def test_an_expired_item_that_still_stands_is_not_there(aws: Aws) -> None:
    name = fresh_table(aws)
    state = _open(name, aws.endpoint)
    put(state, "a", "one", expires_at=NOW)
    held = aws.client("dynamodb").scan(TableName=name)["Items"]
    assert [item["expires_at"] for item in held] == [{"N": str(NOW)}]
    assert state.get("request", "a", NOW) is None
    assert list(state.list("request", NOW)) == []
    assert put(state, "a", "anew") == document("a", "anew")


def test_the_module_names_every_action_that_it_takes(aws: Aws) -> None:
    text = gate.bot.state.dynamodb.__doc__ or ""
    with middleman(lambda *_: PASS, aws.endpoint) as server:
        state = _open(fresh_table(aws), server.endpoint)
        for access in _ACCESSES:
            access(state)
        list(state.diagnose())
        assert set(re.findall(r"`dynamodb:(\w+)`", text)) == set(server.seen)


def test_the_sdk_is_not_loaded_before_it_is_needed() -> None:
    script = (
        "import sys; from gate.bot.state import open_state;"
        "open_state('dynamodb://bot?region=eu-west-1', None); assert 'botocore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


# The table is not what it should be


def test_without_its_table_it_is_unavailable(aws: Aws) -> None:
    error = _refusal(_open("no-such-table", aws.endpoint))
    assert str(error) == "The DynamoDB table no-such-table does not exist in this region (ResourceNotFoundException)."
    assert "docs/bot.md" in error.hint


@pytest.mark.parametrize(
    ("shape", "noticed"),
    [
        ({"key": "jti"}, [0, 1, 2, 3, 4]),
        ({"key": "kind"}, [0, 3]),  # the other key is an attribute like any other
        ({"key": "kind", "sort_key": "sub"}, [0, 1, 2, 3]),  # a query needs the first key alone
        ({"key": "id", "sort_key": "kind"}, [4]),
    ],
)
def test_a_table_with_other_keys_is_unavailable(aws: Aws, shape: dict[str, str], noticed: list[int]) -> None:
    name = aws.table(**shape)
    error = _refusal(_open(name, aws.endpoint), [_ACCESSES[n] for n in noticed])
    assert "is not made as the gate needs it (Validation" in str(error)
    (finding, *_) = _open(name, aws.endpoint).diagnose()
    assert (finding.severity, finding.message) == ("error", "its keys are not kind and id, both strings")
    assert finding.fix == "Make it anew: docs/bot.md has the command."


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"value": {"S": "[]"}, "version": {"N": "1"}, "expires_at": {"N": "1900000000"}},
        {"value": {"S": "{"}, "version": {"N": "1"}, "expires_at": {"N": "1900000000"}},
        {"value": {"B": b"{}"}, "version": {"N": "1"}, "expires_at": {"N": "1900000000"}},
        {"value": {"S": "{}"}, "version": {"N": "1.5"}, "expires_at": {"N": "1900000000"}},
    ],
)
def test_an_item_that_no_bot_wrote_is_unavailable(aws: Aws, item: dict[str, Any]) -> None:
    name = fresh_table(aws)
    aws.client("dynamodb").put_item(TableName=name, Item={"kind": {"S": "request"}, "id": {"S": "a"}, **item})
    state = _open(name, aws.endpoint)
    assert put(state, "a", "one") is None
    error = _refusal(state, [_ACCESSES[0], _ACCESSES[4]])
    assert "holds an item that no gate wrote" in str(error)


# AWS does not answer, or not with an answer


@pytest.mark.usefixtures("aws", "hasty")
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refusal("AccessDeniedException"), "can't be used: AWS denies access (AccessDeniedException)."),
        (refusal("ThrottlingException"), "is throttled by AWS, or too busy (ThrottlingException)."),
        (refusal("InternalServerError", 500), "answered with an error (InternalServerError)."),
        (
            refusal("ExpiredTokenException"),
            "can't be asked: AWS does not accept these credentials (ExpiredTokenException).",
        ),
        (refusal("TransactionConflictException"), "stays too busy."),
        (Reply(200, b"{}"), "gave no answer that makes sense."),
        (Reply(200, b'{"ConsumedCapacity": {"TableName": "other"}}'), "gave no answer that makes sense."),
        (Reply(200, b"<html>Log in to Airport-WiFi</html>"), "gave no answer that makes sense."),
        (Reply(502, b"<html>Bad Gateway</html>"), "answered with an error (502)."),
    ],
)
def test_whatever_is_no_proof_of_success_is_unavailable(reply: Reply, message: str) -> None:
    with middleman(lambda *_: reply) as server:
        error = _refusal(_open("bot", server.endpoint))
        findings = list(_open("bot", server.endpoint).diagnose())
    assert str(error) == f"The DynamoDB table bot {message}"
    assert findings[0].severity == "error"
    _is_clean(f"{findings}")


@pytest.mark.usefixtures("aws", "hasty")
def test_a_server_that_is_down_is_unavailable() -> None:
    error = _refusal(_open("bot", f"http://127.0.0.1:{free_port()}"))
    assert str(error) == "The DynamoDB table bot did not answer in time, or can't be reached."


@pytest.mark.usefixtures("aws", "hasty")
def test_a_server_that_never_answers_is_unavailable_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.aws, "ANSWER_SECONDS", 0.1)
    with black_hole() as endpoint:
        started = time.monotonic()
        error = _refusal(_open("bot", endpoint))
    assert "did not answer in time" in str(error)
    assert time.monotonic() - started < 15  # five calls, three tries each, 0.1 s per try


# The doctor


def _described(**changes: Any) -> Callable[[str, int], Reply]:
    description = {
        "TableName": "bot",
        "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("id", "kind")],
        "TableStatus": "ACTIVE",
    }
    ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"} | changes.pop("ttl", {})
    answers = {"DescribeTable": {"Table": description | changes}, "DescribeTimeToLive": {"TimeToLiveDescription": ttl}}
    return lambda operation, _: Reply(200, json.dumps(answers[operation]).encode())


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({}, "ok", "answers"),
        ({"AttributeDefinitions": [{"AttributeName": "kind", "AttributeType": "S"}]}, "error", "its keys are not"),
        ({"Replicas": [{"RegionName": "eu-west-2"}]}, "error", "bots in two regions may both change"),
        ({"Replicas": [{}], "MultiRegionConsistency": "STRONG"}, "ok", "answers"),
        ({"TableStatus": "INACCESSIBLE_ENCRYPTION_CREDENTIALS"}, "error", "not ready"),
        ({"ttl": {"TimeToLiveStatus": "DISABLED"}}, "warning", "an expired approval request, so it grows"),
        ({"ttl": {"AttributeName": "until"}}, "error", "may forget an approval request that still works"),
    ],
)
def test_the_doctor_names_each_flaw(changes: dict[str, Any], severity: str, words: str) -> None:
    with middleman(_described(**changes)) as server:
        (finding,) = _open("bot", server.endpoint).diagnose()
    assert (finding.severity, finding.subject) == (severity, "deploy-bot's state dynamodb://bot")
    assert words in finding.message
    assert (finding.fix == "") == (severity == "ok")


def test_the_doctor_minds_plain_http_to_another_machine(tmp_path: Path) -> None:
    finding = next(open_state("dynamodb://bot?region=eu-west-1&endpoint=http://dynamodb.invalid", tmp_path).diagnose())
    assert (finding.severity, finding.message) == ("warning", "is asked over plain HTTP")


@pytest.mark.parametrize(
    "uri", ["dynamodb://bot", "dynamodb://bot/path?region=eu-west-1", "dynamodb:?region=eu-west-1"]
)
def test_a_uri_that_names_no_table_is_refused(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_state(uri, None)
    assert caught.value.hint
