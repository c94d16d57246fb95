"""The outside parts that tests run against, and what happens where one is missing."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest


def need(part_available: bool, what: str) -> None:
    """Skip the test, loudly, where `what` is not at hand; on a CI machine (env CI) that is a failure."""
    if part_available:
        return
    message = f"NOT TESTED: this machine has no {what}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def clock_off_by(days: int) -> list[str]:
    """What to run a command under, so that its clock is off by that many days."""
    need(shutil.which("faketime") is not None, "faketime (apt install faketime)")
    return ["faketime", "-f", f"{days:+}d"]


class Aws(NamedTuple):
    """A running stand-in for AWS that keeps its state in memory."""

    endpoint: str
    region: str = "eu-west-1"

    def client(self, service: str) -> Any:
        """A plain SDK client for preparing and inspecting state behind the gate's back."""
        import botocore.session

        return botocore.session.get_session().create_client(
            service, region_name=self.region, endpoint_url=self.endpoint
        )

    def table(self, key: str = "jti", key_type: str = "S", sort_key: str = "", name: str = "") -> str:
        """The name of a fresh table for JTIs; other arguments make one of the wrong shape, or of that name."""
        name = name or f"jti-{secrets.token_hex(6)}"
        keys = [(key, "HASH", key_type)] + ([(sort_key, "RANGE", "S")] if sort_key else [])
        dynamodb = self.client("dynamodb")
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": attribute, "KeyType": kind} for attribute, kind, _ in keys],
            AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": type_} for attribute, _, type_ in keys],
        )
        dynamodb.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
        )
        return name

    def bucket(self) -> str:
        """The name of a fresh, versioned bucket."""
        name = f"audit-{secrets.token_hex(6)}"
        s3 = self.client("s3")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region})
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def running_aws(folder: Path, seconds: float = 60) -> Iterator[Aws]:
    """Run `ministack` on a loopback port with `folder` as all that it may write to, until the block ends."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "cloudformation,dynamodb,iam,kms,s3,sts",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
    } | dict.fromkeys(["HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"], str(folder))
    log = folder / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("standin.py"))],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + seconds
            while not _answers(f"http://127.0.0.1:{port}/_ministack/health"):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"ministack did not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield Aws(f"http://127.0.0.1:{port}")
        finally:
            server.kill()
            server.wait(timeout=30)
