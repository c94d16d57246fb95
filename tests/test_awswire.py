"""S3 and DynamoDB over a wire that cuts each answer at each byte, or never ends one: the truth, or `unavailable`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gate import aws as gate_aws
from gate import gate as gate_gate
from gate.audit import MAX_RECORD, AuditLog, open_audit_log
from gate.audit import s3 as gate_s3
from gate.errors import AuditUnavailable, ReplayUnavailable
from gate.models import Head, Stream
from gate.replay import ReplayStore, open_replay_store
from tests.parts import Aws
from tests.replay.material import use
from tests.sabotage import HTTP_WITHOUT_END, Cut, Spoil, ends, relay, sweep
from tests.test_aws import verify
from tests.world import World

STREAM = Stream("acme/shop", "production")
RECORD = b'{"a": "record"}'
HEAD = Head(1, RECORD, written=True)

Ask = Callable[[Any], object]
fresh = count(100)


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_aws, "TRIES", 1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, bucket: str, table: str) -> None:
    for module in (gate_aws, gate_s3):
        monkeypatch.setattr(module, "CALL_SECONDS", 0.5)


@contextmanager
def spoiled(aws: Aws, spoil: Spoil) -> Iterator[str]:
    """The options of a URI whose endpoint is behind a relay."""
    with relay(urlsplit(aws.endpoint).port or 80, spoil) as port:
        yield f"region={aws.region}&endpoint=http://127.0.0.1:{port}"


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = aws.bucket()
    log = open_audit_log(f"s3://{name}/x?region={aws.region}&endpoint={aws.endpoint}", None)
    log.put(STREAM, 1, RECORD)
    return name


@pytest.fixture
def table(aws: Aws) -> str:
    name = aws.table()
    store = open_replay_store(f"dynamodb://{name}?region={aws.region}&endpoint={aws.endpoint}", None)
    store.consume([use("jti-1", "nonce-1")])
    store.advance(STREAM, HEAD, 0)
    return name


LOG: dict[str, tuple[Callable[[AuditLog], object], object]] = {
    "put": (lambda log: log.put(STREAM, next(fresh), RECORD).startswith("s3://"), True),
    "get": (lambda log: log.get(STREAM, 1), RECORD),
    "get nothing": (lambda log: log.get(STREAM, 2), None),
    "list": (lambda log: "acme/shop/production/seq=000000000001.json" in log.listing(), True),
}
STORE: dict[str, tuple[Callable[[ReplayStore], object], object]] = {
    "consume": (lambda store: store.consume([use(f"jti-{next(fresh)}", "nonce")]), None),
    "consume again": (lambda store: store.consume([use("jti-1", "nonce-1")]), None),
    "consume two": (lambda store: store.consume([use("jti-1", "nonce-1"), use(f"j-{next(fresh)}", "nonce-1")]), None),
    "head": (lambda store: store.head(STREAM), HEAD),
    "consumed": (lambda store: "jti-1" in [use.jti for use in store.consumed()], True),
    "heads": (lambda store: [*store.heads()], [STREAM]),
    "overtaken": (lambda store: store.advance(STREAM, Head(2, b"other", written=False), 7), False),
}


@pytest.mark.parametrize("name", LOG)
def test_a_cut_answer_of_s3_is_the_truth_or_none(aws: Aws, bucket: str, name: str) -> None:
    ask, truth = LOG[name]
    with spoiled(aws, cut := Cut()) as options:
        log = open_audit_log(f"s3://{bucket}/x?{options}", None)
        sweep(cut, lambda: ask(log), truth, AuditUnavailable)


@pytest.mark.parametrize("name", STORE)
def test_a_cut_answer_of_dynamodb_is_the_truth_or_none(aws: Aws, table: str, name: str) -> None:
    ask, truth = STORE[name]
    with spoiled(aws, cut := Cut()) as options:
        store = open_replay_store(f"dynamodb://{table}?{options}", None)
        sweep(cut, lambda: ask(store), truth, ReplayUnavailable)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", HTTP_WITHOUT_END)
def test_an_answer_without_end_ends_in_time(aws: Aws, bucket: str, table: str, what: str) -> None:
    with spoiled(aws, HTTP_WITHOUT_END[what]) as options:
        log = open_audit_log(f"s3://{bucket}/x?{options}", None)
        store = open_replay_store(f"dynamodb://{table}?{options}", None)
        for name, (look, _) in LOG.items():
            found = ends(lambda look=look: look(log))
            # S3 may have an object of any length; of one that is too long for a record the beginning is read.
            assert found is AuditUnavailable or (name.startswith("get") and len(bytes(found)) == MAX_RECORD + 1)
        for ask, _ in STORE.values():
            assert ends(lambda ask=ask: ask(store)) is ReplayUnavailable


def test_a_100_that_was_cut_blocks_a_deployment_in_time(aws: Aws, tmp_path: Path) -> None:
    here = f"region={aws.region}&endpoint={aws.endpoint}"
    with spoiled(aws, lambda answers: iter([next(answers)[:0] + b"HTTP/1.1 100"])) as options:
        world = World(tmp_path, f"dynamodb://{aws.table()}?{here}", f"s3://{aws.bucket()}/x?{options}", now=time.time())
        code, answer = verify(world, world.token())
    assert (code, answer["reason"], answer["record"]) == (3, "audit.unavailable", None)
    assert "did not answer in time" in answer["message"]
    assert "The approval is used up" in answer["hint"]


@pytest.mark.parametrize(("step", "then"), [("DECIDE", "allowed"), ("RECORD", "replay.used")])
def test_a_decision_ends_in_time_whatever_its_calls_add_up_to(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, then: str
) -> None:
    here = f"region={aws.region}&endpoint={aws.endpoint}"
    world = World(tmp_path, f"dynamodb://{aws.table()}?{here}", f"s3://{aws.bucket()}/x?{here}")
    token = world.token()
    with monkeypatch.context() as late:
        late.setattr(gate_gate, f"{step}_SECONDS", 0)
        decision = world.gate().check([token], world.deployment())
    assert (decision.reason, decision.record) == ("replay.unavailable", None)
    assert world.gate().check([token], world.deployment()).reason == then
