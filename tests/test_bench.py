"""The benchmark runs: every section gives its rows. What they measure is no test."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.parts import need
from tests.signers.places import softhsm_module

ROOT = Path(__file__).parent.parent
SECTIONS = {
    "check without I/O",
    "cold gate verify, embedded default",
    "cold gate verify, DynamoDB + S3",
    "consume, by live JTIs",
    "consume + record",
    "deploy-bot, a crowd",
    "deploy-bot, one core",
    "deploy-bot, waiting",
    "gate audit verify, in a folder",
    "signers",
    "signers, requests to KMS",
}
COUNTED = {"signers, requests to KMS", "deploy-bot, a crowd", "deploy-bot, waiting"}  # by which no machine is slow


@pytest.mark.skipif(sys.version_info < (3, 11), reason="joserfc, one of the contenders, needs Python 3.11")
@pytest.mark.timeout(180)
def test_every_section_gives_rows(tmp_path: Path) -> None:
    # Not through scripts/bench itself: it would rebuild .venv where that is not as the lock file says.
    need(shutil.which("openssl") is not None, "openssl")
    need(shutil.which("redis-server") is not None, "redis-server (apt install redis-server)")
    need(softhsm_module() is not None, "SoftHSM (apt install softhsm2)")
    for module in ("ministack", "awscli", "jwt", "joserfc", "redis", "pkcs11", "uvicorn"):
        need(find_spec(module) is not None, module)
    result = tmp_path / "bench.json"
    command = [sys.executable, "-m", "scripts.benchmarks", "--quick", "--json", str(result)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # aws lies beside Python
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    figures = json.loads(result.read_text())
    assert {row["section"] for row in figures["rows"]} == SECTIONS
    assert all(row["value"] > 0 or row["target"] == 0 for row in figures["rows"])
    assert all(row["met"] for row in figures["rows"] if row["section"] in COUNTED and row["target"] is not None)
    assert all((row["met"] is None) == (row["target"] is None) for row in figures["rows"])
    assert figures["about"]["sizes"] == "quick"
    assert all(row["section"] in done.stdout and row["name"] in done.stdout for row in figures["rows"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="joserfc, one of the contenders, needs Python 3.11")
@pytest.mark.timeout(60)
def test_a_part_that_is_missing_is_named_and_left_out(tmp_path: Path) -> None:
    for module in ("ministack", "awscli", "jwt", "joserfc"):
        need(find_spec(module) is not None, module)
    openssl = shutil.which("openssl")
    need(openssl is not None, "openssl")
    (tmp_path / "openssl").symlink_to(str(openssl))
    command = [sys.executable, "-m", "scripts.benchmarks", "--quick", "--only", "signers"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{tmp_path}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not measured: this machine has no SoftHSM" in done.stdout
    assert "Ed25519, awskms" in done.stdout
    assert "pkcs11" not in done.stdout.replace("python-pkcs11", "")


def test_the_script_is_shell() -> None:
    done = subprocess.run(["sh", "-n", "scripts/bench"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
