"""The command on DynamoDB and S3, as a deploy job runs it: one process after another, or many at once."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.parts import Aws, free_port
from tests.world import SHA, World


def options(aws: Aws) -> str:
    return f"region={aws.region}&endpoint={aws.endpoint}"


@pytest.fixture
def world(aws: Aws, tmp_path: Path) -> World:
    return World(
        tmp_path,
        replay=f"dynamodb://{aws.table()}?{options(aws)}",
        audit=f"s3://{aws.bucket()}/deploys?{options(aws)}",
        now=time.time(),
    )


def verify(world: World, token: str, *more: str) -> tuple[int, dict[str, str]]:
    about = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    done = subprocess.run(
        [sys.executable, "-m", "gate", "verify", "--json", "--policy", str(world.path), *about, "--approval=-", *more],
        cwd=world.folder,
        input=token,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_allow_then_replay(world: World) -> None:
    token = world.token()
    code, allowed = verify(world, token, "--run-id", "7")
    assert (code, allowed["reason"]) == (0, "allowed"), allowed
    assert allowed["record"].endswith("/deploys/acme/shop/production/seq=000000000001.json")
    code, denied = verify(world, token, "--run-id", "8")
    assert (code, denied["reason"]) == (1, "replay.used")
    assert "run 7" in denied["message"]


def test_credentials_that_another_step_left_make_no_used_approval_fresh(
    world: World, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, place = aws.table(), f"{options(aws)}&owner={'0' * 12}"
    world.replay, world.audit = f"dynamodb://{table}?{place}", f"file://{world.folder}/log"
    world.path.write_text(world.text)
    token = world.token()
    assert verify(world, token)[0] == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "444455556666")
    aws.table(name=table)
    code, answer = verify(world, token)
    assert (code, answer["reason"], answer["record"]) == (3, "replay.unavailable", None)
    assert "of another account than its URI says" in answer["message"]
    assert "000000" not in json.dumps(answer)


def test_of_many_jobs_exactly_one_deploys(world: World) -> None:
    token = world.token()
    with ThreadPoolExecutor(4) as pool:
        codes = [code for code, _ in pool.map(lambda _: verify(world, token), range(4))]
    assert sorted(codes) == [0, 1, 1, 1]


def test_a_policy_in_s3(world: World, aws: Aws) -> None:
    bucket = aws.bucket()
    aws.client("s3").put_object(Bucket=bucket, Key="policy/gate.yaml", Body=world.text.encode())
    code, answer = verify(world, world.token(), "--policy", f"s3://{bucket}/policy/gate.yaml?{options(aws)}")
    assert (code, answer["reason"]) == (0, "allowed"), answer
    code, answer = verify(world, world.token(), "--policy", f"s3://{bucket}/nothing?{options(aws)}")
    assert (code, answer["reason"]) == (2, "policy.invalid")


@pytest.mark.parametrize("part", ["replay", "audit"])
def test_a_store_that_is_down_blocks(world: World, part: str) -> None:
    gone = f"region=eu-west-1&endpoint=http://127.0.0.1:{free_port()}"
    setattr(world, part, {"replay": f"dynamodb://jti?{gone}", "audit": f"s3://bucket/x?{gone}"}[part])
    world.path.write_text(world.text)
    code, answer = verify(world, world.token())
    assert (code, answer["reason"], answer["record"]) == (3, f"{part}.unavailable", None)
    assert answer["hint"]


def test_an_endpoint_in_the_environment_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    code, answer = verify(world, world.token())
    assert (code, answer["reason"]) == (0, "allowed"), answer


def test_doctor_and_audit(world: World) -> None:
    token = world.token()
    assert verify(world, token)[0] == 0
    assert verify(world, token)[0] == 1
    for command in (["doctor"], ["audit", "verify"], ["audit", "show", SHA]):
        done = subprocess.run(
            [sys.executable, "-m", "gate", *command, "--policy", str(world.path)],
            cwd=world.folder,
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
