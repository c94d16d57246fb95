"""What the gate tells people to type works from where they are."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gate.installation import gate_command, install_command

ROOT = Path(__file__).resolve().parents[1]
METADATA = """\
Metadata-Version: 2.4
Name: deploy-gate
Version: 1
Requires-Dist: click >=8.1.7
Requires-Dist: redis >=5.2 ; extra == "redis"
Requires-Dist: google-cloud-kms >=3 ; extra == "gcpkms"
Requires-Dist: google-crc32c >=1.5 ; extra == "gcpkms"
Provides-Extra: redis
"""


def test_in_a_checkout_it_is_the_checkout_that_is_installed() -> None:
    assert shlex.split(install_command("redis")) == [sys.executable, "-m", "pip", "install", f"{ROOT}[redis]"]


def test_an_installed_gate_names_the_libraries_as_its_own_package_does(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    for name in ("__init__.py", "installation.py"):
        shutil.copy(ROOT / "gate" / name, tmp_path / "gate" / name)
    (tmp_path / "deploy_gate-1.dist-info").mkdir()
    (tmp_path / "deploy_gate-1.dist-info" / "METADATA").write_text(METADATA)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from gate.installation import install_command; "
    script += "print(install_command('gcpkms'))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert shlex.split(done.stdout)[1:] == ["-m", "pip", "install", "google-cloud-kms >=3", "google-crc32c >=1.5"]


def test_the_gate_is_called_by_name_only_where_that_is_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "a b" / "python"
    python.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gate_command() == f"'{python}' -m gate"
    for folder in (tmp_path, python.parent):
        (folder / "gate").write_text("#!/bin/sh\n")
        (folder / "gate").chmod(0o755)
    assert gate_command() == f"'{python}' -m gate"
    monkeypatch.setenv("PATH", str(python.parent))
    assert gate_command() == "gate"
