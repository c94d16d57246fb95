"""A cold `gate verify`, process by process: the embedded default against Python itself, AWS against a shell script."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.benchmarks.checks import pem
from scripts.benchmarks.measure import Row, Sizes, interleaved, process
from tests.parts import Aws
from tests.world import SHA, World

EMBEDDED = "cold gate verify, embedded default"
AWS = "cold gate verify, DynamoDB + S3"
_PYTHON = [sys.executable, "-I"]
_NEEDED = "import cryptography.hazmat.primitives.asymmetric.ed25519, cryptography.hazmat.primitives.serialization"
_SCRIPT = Path(__file__).with_name("deploy-today.sh")


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """The embedded default against what Python costs anyway."""
    world = _world(folder, "sqlite:replay.db", "file:audit")
    taken = interleaved(
        {
            "gate": _verify(world),
            "needed": _python(_NEEDED, folder),
            "bare": _python("import cryptography", folder),
            "nothing": _python("pass", folder),
        },
        sizes.starts,
    )
    ms = {name: seconds * 1e3 for name, seconds in taken.items()}
    yield Row(EMBEDDED, "gate verify", ms["gate"], "ms", "import of Ed25519 and key loading", ms["needed"], 3.0)
    yield Row(EMBEDDED, "gate verify", ms["gate"], "ms", "import cryptography (an empty shell)", ms["bare"], 3.0)
    yield Row(EMBEDDED, "gate verify", ms["gate"], "ms", "Python that does nothing", ms["nothing"])


def aws_rows(folder: Path, sizes: Sizes, aws: Aws) -> Iterator[Row]:
    """DynamoDB and S3 against the script that people write today: same stand-in, same token, same machine."""
    where = f"?region={aws.region}&endpoint={aws.endpoint}"
    table, bucket = aws.table(), aws.bucket()
    world = _world(folder, f"dynamodb://{table}{where}", f"s3://{bucket}/audit{where}")
    key = folder / "public.pem"
    key.write_bytes(pem(world.signer.public_key))
    where_to = {"TABLE": table, "BUCKET": bucket, "ENDPOINT": aws.endpoint}
    today = ["sh", str(_SCRIPT), str(key), f"deploy:acme/shop:{SHA}"]
    taken = interleaved(
        {"gate": _verify(world), "today": lambda: process([*today, world.token()], folder, where_to).seconds},
        sizes.aws_starts,
    )
    ms = {name: seconds * 1e3 for name, seconds in taken.items()}
    yield Row(AWS, "gate verify", ms["gate"], "ms", "a script of openssl and aws", ms["today"], 1 / 3)


def _world(folder: Path, replay: str, audit: str) -> World:
    folder.mkdir(parents=True)
    return World(folder, replay=replay, audit=audit, now=int(time.time()))


def _python(code: str, folder: Path) -> Callable[[], float]:
    return lambda: process([*_PYTHON, "-c", code], folder).seconds


def _verify(world: World) -> Callable[[], float]:
    command = [*_PYTHON, "-m", "gate", "verify", "--policy", str(world.path), "--repository", "acme/shop"]
    command += ["--sha", SHA, "--environment", "production"]

    def run() -> float:
        return process(command, world.folder, {"GATE_APPROVALS": world.token()}).seconds

    return run
