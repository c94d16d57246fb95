"""A log that can't be written: the doctor says so, and verify, report and show have one answer to what was decided."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gate.audit import AuditLog, open_audit_log
from gate.audit.s3 import Bucket
from gate.doctor import examine_stores
from gate.errors import AuditUnavailable, ReplayUnavailable
from gate.models import Stream
from gate.replay import ReplayStore, open_replay_store
from gate.replay.dynamodb import DynamoStore
from tests.audit.proxy import Proxy, proxy
from tests.parts import Aws
from tests.replay.servers import PASS, Reply, middleman, refusal
from tests.test_cli import gate
from tests.world import SHA, World

STREAM = Stream("acme/shop", "production")
NOW = 1_800_000_000


@pytest.fixture
def between(aws: Aws) -> Iterator[Proxy]:
    with proxy(aws.endpoint) as server:
        yield server


def bucket(aws: Aws, name: str, endpoint: str) -> Bucket:
    log = open_audit_log(f"s3://{name}/log?region={aws.region}&endpoint={endpoint}", None)
    assert isinstance(log, Bucket)
    return log


def contents(aws: Aws, name: str) -> list[tuple[str, str, bool]]:
    """Every version of every object, delete markers included."""
    answer = aws.client("s3").list_object_versions(Bucket=name)
    found = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
    return sorted((item["Key"], item["VersionId"], item["IsLatest"]) for item in found)


def locked(aws: Aws) -> str:
    """The name of a fresh bucket that locks all that is written."""
    name = f"locked-{secrets.token_hex(6)}"
    s3 = aws.client("s3")
    place = {"LocationConstraint": aws.region}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return name


@pytest.mark.parametrize("records", [0, 1])
@pytest.mark.parametrize("make", [Aws.bucket, locked])
def test_to_try_it_changes_nothing(aws: Aws, between: Proxy, make: Callable[[Aws], str], records: int) -> None:
    name = make(aws)
    log = bucket(aws, name, between.endpoint)
    for seq in range(records):
        log.put(STREAM, seq + 1, b"{}")
    before = contents(aws, name)
    between.seen.clear()
    assert log.may_write()
    assert [request for request in between.seen if request.startswith("PUT")] == ["PUT pass"]
    between.tricks.append("deny")
    assert not log.may_write()
    assert contents(aws, name) == before
    assert len(before) == records


def test_a_server_that_minds_no_condition_is_found_out_and_changes_nothing(aws: Aws, between: Proxy) -> None:
    log = bucket(aws, aws.bucket(), between.endpoint)
    log.put(STREAM, 1, b"{}")
    between.tricks.append("forget")
    with pytest.raises(AuditUnavailable, match="writes over a record"):
        log.may_write()
    assert log.get(STREAM, 1) == b"{}"


def test_what_a_server_keeps_that_minds_no_digest_is_no_finding(aws: Aws, between: Proxy, tmp_path: Path) -> None:
    name = aws.bucket()
    log = bucket(aws, name, between.endpoint)
    between.tricks.append("forget")
    assert log.may_write()
    assert log.may_write()
    assert [key for key, *_ in contents(aws, name)] == ["log/.gate-doctor"]
    uri = f"s3://{name}/log?region={aws.region}&endpoint={aws.endpoint}"
    proof = audit(World(tmp_path, audit=uri), "verify")
    assert (proof["proved"], proof["records"], len(proof["notes"])) == (True, 0, 1)


@contextmanager
def table(aws: Aws, putting: Reply | str) -> Iterator[DynamoStore]:
    """A store of whose table PutItem gets this answer."""
    with middleman(lambda operation, _: putting if operation == "PutItem" else PASS, aws.endpoint) as server:
        store = open_replay_store(f"dynamodb://{aws.table()}?region={aws.region}&endpoint={server.endpoint}", None)
        assert isinstance(store, DynamoStore)
        yield store


DENIED = refusal("AccessDeniedException")


def test_to_try_a_table_changes_nothing(aws: Aws) -> None:
    with table(aws, PASS) as store:
        assert store.may_write()
        assert not list(store.consumed())
    with table(aws, DENIED) as store:
        assert not store.may_write()


@pytest.mark.parametrize(
    ("reply", "says"),
    [(Reply(200, b"{}"), "wrote against a condition"), (refusal("ResourceNotFoundException"), "does not exist")],
)
def test_a_table_of_which_that_can_not_be_told(aws: Aws, reply: Reply, says: str) -> None:
    with table(aws, reply) as store, pytest.raises(ReplayUnavailable, match=says):
        store.may_write()


def said(replay: ReplayStore, log: AuditLog, word: str) -> list[tuple[str, str]]:
    """By whom, and how gravely, something is said with this word in it."""
    findings = examine_stores(replay, log, NOW)
    return [(finding.subject, finding.severity) for finding in findings if word in finding.message]


def test_who_may_write_neither_is_an_auditor_and_who_may_write_one_is_a_broken_gate(aws: Aws, between: Proxy) -> None:
    log = bucket(aws, aws.bucket(), between.endpoint)
    with table(aws, DENIED) as store:
        between.tricks.append("deny")
        assert said(store, log, "neither store") == [("replay store", "warning"), ("audit log", "warning")]
        assert said(store, log, "denies it") == [("replay store", "error")]
    with table(aws, PASS) as store:
        between.tricks.append("deny")
        assert said(store, log, "denies it") == [("audit log", "error")]
        assert said(store, log, "with these credentials") == [("replay store", "ok"), ("audit log", "ok")]


def run(world: World, *args: str) -> "subprocess.CompletedProcess[str]":
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    return gate(world.folder, *args, "--policy", str(world.path), env=mine)


def audit(world: World, command: str, *args: str) -> dict[str, Any]:
    done = run(world, "audit", command, *args, "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def counted(world: World) -> tuple[int, int, int]:
    """How many decisions verify, report and show know of."""
    return (
        audit(world, "verify")["records"],
        audit(world, "report")["decisions"],
        len(audit(world, "show", SHA)["decisions"]),
    )


def decide(world: World) -> str:
    return world.gate().check([world.token()], world.deployment()).reason


def test_a_decision_that_could_not_be_recorded_is_none_to_any_of_them(aws: Aws, between: Proxy, tmp_path: Path) -> None:
    uri = f"s3://{aws.bucket()}/log?region={aws.region}&endpoint={between.endpoint}"
    world = World(tmp_path, audit=uri, now=time.time())
    between.tricks.extend(["deny"] * 99)
    assert run(world, "doctor").returncode == 1
    assert decide(world) == "audit.unavailable"
    doctor = run(world, "doctor")
    assert doctor.returncode == 1
    assert "audit log: can't be written: AWS denies it to these credentials" in doctor.stdout
    proof = audit(world, "verify")
    assert proof["proved"]
    assert "still to be written, and is not counted" in proof["notes"][0]
    assert counted(world) == (0, 0, 0)
    between.tricks.clear()
    assert decide(world) == "allowed"
    assert counted(world) == (2, 2, 2)


def test_a_record_that_was_cut_from_the_end_is_none_to_any_of_them(tmp_path: Path) -> None:
    world = World(tmp_path, now=time.time())
    assert [decide(world), decide(world)] == ["allowed", "allowed"]
    (tmp_path / "audit/acme/shop/production/seq=000000000002.json").unlink()
    assert audit(world, "verify")["findings"][0]["kind"] == "removed"
    assert counted(world) == (1, 1, 1)
