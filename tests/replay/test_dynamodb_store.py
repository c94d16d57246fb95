"""DynamoDB: lost answers, refusals, and tables that are not what they should be."""

import json
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any

import pytest

import gate.aws
from gate import dynamotable
from gate.dynamotable import Table
from gate.errors import ClockMismatch, ReplayUnavailable, UsageError
from gate.models import Finding, Head
from gate.replay import Replayed, ReplayStore, open_replay_store
from tests.parts import Aws, free_port
from tests.replay.material import STREAM, at_once, use
from tests.replay.servers import LOSE, PASS, Reply, black_hole, middleman, refusal

_ACCESSES: list[Callable[[ReplayStore], object]] = [
    lambda store: store.consume([use("jti-1", "mine")]),
    lambda store: store.consume([use("jti-1", "mine"), use("jti-2", "mine")]),
    lambda store: list(store.consumed()),
    lambda store: store.head(STREAM),
    lambda store: store.advance(STREAM, Head(1, b"one", written=False), 0),
    lambda store: store.advance(STREAM, Head(2, b"two", written=False), 1),
    lambda store: store.settle(STREAM, 1),
    lambda store: list(store.heads()),
]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between the SDK's tries, and short ones for ours."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr(dynamotable, "_PATIENCE", 0.3)


def _open(name: str, endpoint: str) -> ReplayStore:
    return open_replay_store(f"dynamodb://{name}?region=eu-west-1&endpoint={endpoint}", None)


def _refusal(store: ReplayStore, accesses: list[Callable[[ReplayStore], object]] = _ACCESSES) -> ReplayUnavailable:
    """The one error that every kind of access ends in, with nothing in it that outsiders must not see."""
    errors = []
    for access in accesses:
        with pytest.raises(ReplayUnavailable) as caught:
            access(store)
        errors.append(caught.value)
    assert len({str(error).partition(" (")[0] for error in errors}) == 1
    _is_clean(f"{errors[0]} {errors[0].hint}")
    assert errors[0].hint
    return errors[0]


def _is_clean(text: str) -> None:
    assert not re.search(r"arn:|(?<![0-9a-f-])[0-9]{12}|REQUESTID|Traceback|assumed-role", text)
    assert "\n" not in text


def _losing(times: int) -> Callable[[str, int], str]:
    return lambda operation, before: LOSE if before < times and operation not in ("GetItem", "Scan") else PASS


# A lost answer


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("jtis", [["jti-1"], ["jti-1", "jti-2"]])
def test_a_lost_answer_is_no_replay_of_oneself(aws: Aws, jtis: list[str]) -> None:
    name = aws.table()
    with middleman(_losing(1), aws.endpoint) as server:
        _open(name, server.endpoint).consume([use(jti, "mine") for jti in jtis])
        assert sum(server.seen.values()) == 2
    with pytest.raises(Replayed) as caught:
        _open(name, aws.endpoint).consume([use(jti, "theirs") for jti in jtis])
    assert caught.value.prior == use("jti-1", "mine")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("jtis", [["jti-1"], ["jti-1", "jti-2"]])
def test_when_every_answer_is_lost_the_gate_blocks_and_may_ask_again(aws: Aws, jtis: list[str]) -> None:
    name = aws.table()
    with middleman(_losing(99), aws.endpoint) as server:
        _refusal(_open(name, server.endpoint), [lambda store: store.consume([use(jti, "mine") for jti in jtis])])
        assert sum(server.seen.values()) == gate.aws.TRIES
    store = _open(name, aws.endpoint)
    assert sorted(store.consumed()) == [use(jti, "mine") for jti in jtis]
    store.consume([use(jti, "mine") for jti in jtis])
    with pytest.raises(Replayed):
        store.consume([use(jtis[-1], "theirs")])


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("expected", [0, 1])
def test_a_lost_answer_to_an_advance_is_ones_own_success(aws: Aws, expected: int) -> None:
    name = aws.table()
    for seq in range(expected):
        _open(name, aws.endpoint).advance(STREAM, Head(seq + 1, b"before", written=False), seq)
    head = Head(expected + 1, b"record", written=False)
    with middleman(_losing(1), aws.endpoint) as server:
        store = _open(name, server.endpoint)
        assert store.advance(STREAM, head, expected)
        assert server.seen == {"PutItem": 2}
        assert store.head(STREAM) == head
    with middleman(_losing(1), aws.endpoint) as server:
        _open(name, server.endpoint).settle(STREAM, expected + 1)
    assert _open(name, aws.endpoint).head(STREAM) == head._replace(written=True)


@pytest.mark.usefixtures("hasty")
def test_concurrent_consumers_that_lose_answers_still_have_one_winner(aws: Aws) -> None:
    name = aws.table()
    with middleman(lambda _, before: LOSE if before % 3 == 0 else PASS, aws.endpoint) as server:
        for trial in range(5):
            stores = [_open(name, server.endpoint) for _ in range(3)]
            results = at_once(
                [partial(store.consume, [use(f"jti-{trial}", f"nonce-{n}")]) for n, store in enumerate(stores)]
            )
            winners = [f"nonce-{n}" for n, result in enumerate(results) if result is None]
            holder = {row.nonce for row in _open(name, aws.endpoint).consumed() if row.jti == f"jti-{trial}"}
            assert len(holder) == 1
            assert set(winners) <= holder


# Others hold the same items


_CONFLICT = refusal(
    "TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": "TransactionConflict"}]
)
_THROTTLED_PART = refusal(
    "TransactionCanceledException", CancellationReasons=[{"Code": "ThrottlingError"}, {"Code": "None"}]
)


@pytest.mark.parametrize("busy", [_CONFLICT, _THROTTLED_PART, refusal("TransactionConflictException")])
def test_a_conflict_is_tried_again(aws: Aws, busy: Reply) -> None:
    name = aws.table()
    with middleman(lambda _, before: busy if before < 2 else PASS, aws.endpoint) as server:
        store = _open(name, server.endpoint)
        store.consume([use("jti-1", "mine"), use("jti-2", "mine")])
        store.consume([use("jti-3", "mine")])
    assert len(list(_open(name, aws.endpoint).consumed())) == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("busy", [_CONFLICT, _THROTTLED_PART, refusal("TransactionConflictException")])
def test_a_conflict_that_stays_blocks(aws: Aws, busy: Reply) -> None:
    with middleman(lambda *_: busy) as server:
        error = _refusal(_open("jti", server.endpoint), _ACCESSES[:2])
        assert sum(server.seen.values()) >= 4
    assert "stays too busy" in str(error)


def test_a_replay_beside_a_conflict_is_a_replay(aws: Aws) -> None:
    item = {"jti": {"S": "jti-1"}, "nonce": {"S": "x"}, "expires_at": {"N": "1"}, "used_at": {"N": "2"}}
    item |= {name: {"S": name} for name in ("repository", "environment", "sha", "approver", "run_id")}
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": item}]
    cancelled = refusal("TransactionCanceledException", CancellationReasons=reasons)
    with middleman(lambda *_: cancelled) as server, pytest.raises(Replayed) as caught:
        _open("jti", server.endpoint).consume([use("jti-0", "mine"), use("jti-1", "mine")])
    assert caught.value.prior.approver == "approver"


# The table is not what it should be


def test_without_its_table_it_blocks(aws: Aws) -> None:
    error = _refusal(_open("no-such-table", aws.endpoint))
    assert str(error) == "The DynamoDB table no-such-table does not exist in this region (ResourceNotFoundException)."


@pytest.mark.parametrize("shape", [{"key": "id"}, {"key_type": "N"}, {"sort_key": "sub"}])
def test_a_table_with_another_key_blocks(aws: Aws, shape: dict[str, str]) -> None:
    name = aws.table(**shape)
    unnoticed = {2, 7}  # scanning takes any key
    if "sort_key" in shape:
        unnoticed.add(1)  # the stand-in's transactions do not miss it, as those of AWS do
    accesses = [access for index, access in enumerate(_ACCESSES) if index not in unnoticed]
    error = _refusal(_open(name, aws.endpoint), accesses)
    assert "is not made as the gate needs it (Validation" in str(error)
    (finding, *_) = _open(name, aws.endpoint).diagnose()
    assert (finding.severity, finding.message) == ("error", "its key is not jti alone, a string")


@pytest.mark.parametrize("item", [{}, {"nonce": {"N": "1"}}, {"seq": {"S": "x"}, "record": {"B": b""}}])
def test_an_item_that_no_gate_wrote_blocks(aws: Aws, item: dict[str, Any]) -> None:
    name = aws.table()
    for key in ("jti-1", f"head:{STREAM.path}"):
        aws.client("dynamodb").put_item(TableName=name, Item={"jti": {"S": key}, **item})
    error = _refusal(_open(name, aws.endpoint), [_ACCESSES[n] for n in (0, 1, 2, 3, 4)])
    assert "holds an item that no gate wrote" in str(error)


def test_a_table_of_another_program_is_noticed_while_scanning(aws: Aws) -> None:
    name = aws.table(key="id")
    aws.client("dynamodb").put_item(TableName=name, Item={"id": {"S": "x"}})
    _refusal(_open(name, aws.endpoint), [_ACCESSES[2], _ACCESSES[7]])


def test_scans_go_on_to_the_last_page(aws: Aws) -> None:
    name = aws.table()
    _open(name, aws.endpoint).consume([use(f"jti-{n}", "mine") for n in range(10)])
    with middleman(lambda *_: PASS, aws.endpoint) as server:
        items = Table(name, {"region": aws.region, "endpoint": server.endpoint}, ReplayUnavailable).scan(Limit=3)
        assert sorted(item["jti"]["S"] for item in items) == [f"jti-{n}" for n in range(10)]
        assert server.seen["Scan"] >= 4


# AWS does not answer, or not with an answer


@pytest.mark.usefixtures("aws", "hasty")
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refusal("AccessDeniedException"), "can't be used: AWS denies access (AccessDeniedException)."),
        (refusal("ThrottlingException"), "is throttled by AWS, or too busy (ThrottlingException)."),
        (refusal("ProvisionedThroughputExceededException"), "too busy (ProvisionedThroughputExceededException)."),
        (refusal("InternalServerError", 500), "answered with an error (InternalServerError)."),
        (refusal("InvalidSignatureException"), "accept the request's signature (InvalidSignatureException)."),
        (refusal("RequestTimeTooSkewed", 403), "accept the request's signature (RequestTimeTooSkewed)."),
        (refusal("ExpiredTokenException"), "does not accept these credentials (ExpiredTokenException)."),
        (refusal("UnrecognizedClientException"), "does not accept these credentials (UnrecognizedClientException)."),
        (refusal("Account 123456789012"), "gave no answer that makes sense."),
        (Reply(200, b""), "gave no answer that makes sense."),
        (Reply(200, b"{}"), "gave no answer that makes sense."),
        (Reply(200, b"null"), "gave no answer that makes sense."),
        (Reply(200, b'["x"]'), "gave no answer that makes sense."),
        (Reply(200, b'{"Item": {"jti": {"S": '), "gave no answer that makes sense."),
        (Reply(200, b'{"ConsumedCapacity": {"TableName": "other"}}'), "gave no answer that makes sense."),
        (Reply(200, b"<html>Log in to Airport-WiFi</html>"), "gave no answer that makes sense."),
        (Reply(200, b"\xff\x00" * 5000), "gave no answer that makes sense."),
        (Reply(502, b"<html>Bad Gateway</html>"), "answered with an error (502)."),
        (Reply(403, b""), "can't be used: AWS denies access (403)."),
        (Reply(301, b"", {"Location": "http://127.0.0.1:9/"}), "lies in another region (301)."),
    ],
)
def test_whatever_is_no_proof_of_success_blocks(reply: Reply, message: str) -> None:
    with middleman(lambda *_: reply) as server:
        error = _refusal(_open("jti", server.endpoint))
        findings = list(_open("jti", server.endpoint).diagnose())
    assert str(error).startswith("The DynamoDB table jti ")
    assert str(error).endswith(message)
    assert findings[0].severity == "error"
    _is_clean(f"{findings}")


@pytest.mark.usefixtures("aws", "hasty")
def test_a_server_that_is_down_blocks() -> None:
    error = _refusal(_open("jti", f"http://127.0.0.1:{free_port()}"))
    assert str(error) == "The DynamoDB table jti did not answer in time, or can't be reached."


@pytest.mark.usefixtures("aws", "hasty")
def test_a_server_that_never_answers_blocks_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (gate.aws.CONNECT_SECONDS + gate.aws.ANSWER_SECONDS) * gate.aws.TRIES + 3 < 30
    monkeypatch.setattr(gate.aws, "ANSWER_SECONDS", 0.1)
    with black_hole() as endpoint:
        started = time.monotonic()
        error = _refusal(_open("jti", endpoint))
    assert "did not answer in time" in str(error)
    assert time.monotonic() - started < 15  # eight calls, three tries each, 0.1 s per try


def test_without_credentials_it_blocks(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    error = _refusal(_open("jti", aws.endpoint))
    assert "there are no usable AWS credentials here" in str(error)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = _refusal(_open("jti", aws.endpoint))
    assert "there are no usable AWS credentials here" in str(error)


def test_endpoints_in_the_environment_change_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    name = aws.table()
    with black_hole() as elsewhere:
        for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
            monkeypatch.setenv(variable, elsewhere)
        _open(name, aws.endpoint).consume([use("jti-1", "mine")])
        with pytest.raises(Replayed):
            _open(name, aws.endpoint).consume([use("jti-1", "theirs")])


# The doctor


def _findings(aws: Aws, name: str) -> list[tuple[str, str]]:
    return [(finding.severity, finding.message) for finding in _open(name, aws.endpoint).diagnose()]


def test_the_doctor_likes_a_table_as_it_should_be(aws: Aws) -> None:
    name = aws.table()
    assert len(_findings(aws, name)) == 2
    aws.client("dynamodb").update_table(TableName=name, DeletionProtectionEnabled=True)
    aws.client("dynamodb").update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    assert [severity for severity, _ in _findings(aws, name)] == ["ok"]
    aws.client("dynamodb").update_table(TableName=name, DeletionProtectionEnabled=False)
    assert _findings(aws, name) == [("warning", "one call can delete it, and used approvals would work again")]


def _described(**changes: Any) -> Callable[[str, int], Reply]:
    table = {
        "TableName": "jti",
        "KeySchema": [{"AttributeName": "jti", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "jti", "AttributeType": "S"}],
        "TableStatus": "ACTIVE",
        "DeletionProtectionEnabled": True,
    }
    ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"} | changes.pop("ttl", {})
    recovery = {"PointInTimeRecoveryStatus": "ENABLED"} | changes.pop("recovery", {})
    backups = {"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": recovery}
    answers = {
        "DescribeTable": {"Table": table | changes},
        "DescribeTimeToLive": {"TimeToLiveDescription": ttl},
        "DescribeContinuousBackups": {"ContinuousBackupsDescription": backups},
    }
    return lambda operation, _: Reply(200, json.dumps(answers[operation]).encode())


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({}, "ok", "answers"),
        ({"Replicas": [{"RegionName": "eu-west-2"}]}, "error", "an approval works once in every region"),
        (
            {"Replicas": [{"RegionName": "eu-west-2"}], "MultiRegionConsistency": "EVENTUAL"},
            "error",
            "an approval works once in every region",
        ),
        ({"Replicas": [{}], "MultiRegionConsistency": "STRONG"}, "warning", "no transactions"),
        ({"TableStatus": "DELETING"}, "error", "not ready"),
        ({"ttl": {"TimeToLiveStatus": "DISABLED"}}, "warning", "it grows"),
        ({"ttl": {"AttributeName": "used_at"}}, "error", "may forget an approval that still works"),
        ({"DeletionProtectionEnabled": False}, "warning", "one call can delete it"),
        ({"recovery": {"PointInTimeRecoveryStatus": "DISABLED"}}, "warning", "point-in-time recovery is off"),
    ],
)
def test_the_doctor_names_each_flaw(changes: dict[str, Any], severity: str, words: str) -> None:
    with middleman(_described(**changes)) as server:
        (finding,) = _open("jti", server.endpoint).diagnose()
    assert finding.severity == severity
    assert words in finding.message
    assert (finding.fix == "") == (severity == "ok")


@pytest.mark.usefixtures("aws", "hasty")
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            refusal("AccessDeniedException"),
            "can't tell whether point-in-time recovery is on: that takes dynamodb:Describe",
        ),
        (refusal("InternalServerError", 500), "can't tell whether point-in-time recovery is on: The DynamoDB table"),
        (Reply(200, b"{}"), "can't tell whether point-in-time recovery is on: The DynamoDB table"),
    ],
)
def test_the_doctor_says_when_it_can_not_look_at_the_backups(reply: Reply, words: str) -> None:
    described = _described()
    plan = lambda operation, before: reply if "Backups" in operation else described(operation, before)  # noqa: E731
    with middleman(plan) as server:
        (finding,) = _open("jti", server.endpoint).diagnose()
    assert finding.severity == "warning"
    assert words in finding.message
    assert finding.fix
    _is_clean(f"{finding}")


@pytest.mark.usefixtures("aws", "hasty")
@pytest.mark.parametrize(
    ("denied", "whether"),
    [
        ("DescribeTable", "it has the keys and the protection that it needs"),
        ("DescribeTimeToLive", "it forgets an approval only once it has expired"),
        ("DescribeContinuousBackups", "point-in-time recovery is on"),
    ],
)
def test_the_doctor_can_not_tell_what_it_may_not_see(denied: str, whether: str) -> None:
    described, bill = _described(), json.dumps({"ConsumedCapacity": {"TableName": "jti"}}).encode()

    def plan(operation: str, before: int) -> Reply:
        if operation == denied:
            return refusal("AccessDeniedException")
        return Reply(200, bill) if operation == "GetItem" else described(operation, before)

    with middleman(plan) as server:
        (finding,) = _open("jti", server.endpoint).diagnose()
    assert (finding.severity, finding.message) == (
        "warning",
        f"can't tell whether {whether}: that takes dynamodb:{denied}",
    )
    assert finding.fix == "Grant it (docs/operations.md)."


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("seconds", "side"), [(290, ""), (-290, ""), (310, "behind"), (-310, "ahead of"), (None, "")])
def test_a_use_counts_only_by_a_clock_that_agrees_with_that_of_aws(count: int, seconds: int | None, side: str) -> None:
    date = "soon" if seconds is None else formatdate(time.time() + seconds, usegmt=True)
    bill = {"TableName": "jti", "CapacityUnits": 1}
    body = json.dumps({"ConsumedCapacity": bill if count == 1 else [bill]}).encode()
    uses = [use(f"jti-{number}", "mine") for number in range(count)]
    with middleman(lambda *_: Reply(200, body, {"Date": date})) as server:
        store = _open("jti", server.endpoint)
        if not side:
            store.consume(uses)
            return
        with pytest.raises(ClockMismatch, match=rf"3\d\d s {side} that of the DynamoDB table jti") as caught:
            store.consume(uses)
    assert (caught.value.reason, "NTP" in caught.value.hint) == ("clock.mismatch", True)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("seconds", "side"), [(0, ""), (25, ""), (-25, ""), (40, "behind"), (-40, "ahead of"), (None, "")]
)
def test_the_doctor_compares_the_clock_with_that_of_aws(seconds: int | None, side: str) -> None:
    date = "soon" if seconds is None else formatdate(time.time() + seconds, usegmt=True)
    described = _described()
    with middleman(lambda operation, n: described(operation, n)._replace(headers={"Date": date})) as server:
        (finding,) = _open("jti", server.endpoint).diagnose()
    assert finding.severity == ("error" if side else "ok")
    assert not side or re.fullmatch(rf"this machine's clock is (39|40|41|42) s {side} that of AWS", finding.message)


def test_the_doctor_minds_plain_http_to_another_machine() -> None:
    store = open_replay_store("dynamodb://jti?region=eu-west-1&endpoint=http://dynamodb.invalid", None)
    finding: Finding = next(store.diagnose())
    assert (finding.severity, finding.message) == ("warning", "is asked over plain HTTP")


# Its URI


@pytest.mark.parametrize(
    "uri",
    [
        "dynamodb:jti?region=eu-west-1",
        "dynamodb://?region=eu-west-1",
        "dynamodb://ab?region=eu-west-1",
        f"dynamodb://{'a' * 256}?region=eu-west-1",
        "dynamodb://jti/path?region=eu-west-1",
        "dynamodb://arn:aws:dynamodb:eu-west-1:123456789012:table?region=eu-west-1",
        "dynamodb://jti",
        "dynamodb://jti?region=",
        "dynamodb://jti?region=eu-west-1.evil.example/",
        "dynamodb://jti?region=eu-west-1&endpoint=",
        "dynamodb://jti?region=eu-west-1&endpoint=ftp://x",
        "dynamodb://jti?region=eu-west-1&endpoint=http://user@x",
        "dynamodb://jti?region=eu-west-1&endpoint=http://x:y",
        "dynamodb://jti?region=eu-west-1&profile=x",
    ],
)
def test_a_uri_that_names_no_table_is_refused(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_replay_store(uri, None)
    assert caught.value.hint
