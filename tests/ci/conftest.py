"""A copy of what CI runs, and deployments to run it on."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.world import BOB, World, commit, git

ROOT = Path(__file__).resolve().parents[2]
# How this machine reaches packages is its own affair; a CI's environment below is otherwise only what the CI sets.
REACH_PACKAGES = {
    name: value
    for name, value in os.environ.items()
    if name.startswith("PIP_") or name in {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
}


class Tree(NamedTuple):
    """A copy of the parts of this project that a deploy job needs, a cache for what it downloads, and the variables by
    which it reaches packages."""

    folder: Path
    cache: Path
    packages: Mapping[str, str] = REACH_PACKAGES

    @property
    def script(self) -> Path:
        """scripts/pre-deploy."""
        return self.folder / "scripts" / "pre-deploy"

    def start(self, cwd: Path, environ: Mapping[str, str], *args: str) -> "subprocess.Popen[str]":
        """Start the script in `cwd` with no other variables than `environ` and those that it takes to install."""
        return subprocess.Popen(
            [sys.executable, "-I", str(self.script), *args],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "GATE_CACHE": str(self.cache), **self.packages, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, cwd: Path, environ: Mapping[str, str], *args: str) -> "subprocess.CompletedProcess[str]":
        """Run the script to its end, as `start` does."""
        with self.start(cwd, environ, *args) as process:
            stdout, stderr = process.communicate(timeout=300)
        assert "Traceback" not in stdout + stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


class Shop(NamedTuple):
    """A checkout under deployment, at `head`, and outside of it the policy that judges it."""

    checkout: Path
    head: str
    world: World


def copy_tree(folder: Path) -> None:
    """Copy what a checkout of this project gives to a deploy job."""
    shutil.copytree(ROOT / "gate", folder / "gate", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "scripts").mkdir()
    for name in ("action.yml", "scripts/pre-deploy", "scripts/requirements.txt"):
        shutil.copy(ROOT / name, folder / name)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The real thing, installed once for all tests (and all xdist workers)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    tree = Tree(tmp_path_factory.mktemp("tree", numbered=True), shared / "gate-cache")
    copy_tree(tree.folder)
    with (shared / "gate-cache.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = tree.run(tree.folder, {}, "--help")
    assert (done.returncode, "nothing was decided" in done.stderr) == (2, True), done.stderr
    return tree


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A checkout of acme/shop with one commit, by bob@example.com."""
    checkout, policy = tmp_path / "shop", tmp_path / "policy"
    policy.mkdir()
    head = commit(checkout, "one", BOB)
    git(checkout, "remote", "add", "origin", "https://github.com/acme/shop.git")
    return Shop(checkout, head, World(policy, now=time.time()))
