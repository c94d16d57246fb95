"""Success is evidence, not the absence of a failure: whatever keeps the gate from running, nothing is deployed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.conftest import ROOT, Shop, Tree, copy_tree
from tests.ci.test_action import run_act
from tests.world import BOB, commit, git

# What an earlier step can leave behind so that the loader ends each program with 0 before it begins (ld.so(8)).
LOADER = {
    "traced": "LD_TRACE_LOADED_OBJECTS=1",
    "traced-empty": "LD_TRACE_LOADED_OBJECTS=",
    "debug-help": "LD_DEBUG=help",
}
# And what says to Python which program it is, although it is isolated (CPython, getpath.py).
PYTHON = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
CHAIN = re.compile(r"^ *read -r nonce .*?\./deploy\.sh \|\| exit 1$", re.DOTALL | re.MULTILINE)
SNIPPETS = [found for page in ("docs/ci.md", "README.md") for found in CHAIN.findall((ROOT / page).read_text())]


def _deploys(file: Path) -> dict[str, Any]:
    return {"runs-on": "ubuntu-latest", "steps": [{"run": f"echo deployed >{file}"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a job for each of those, and one that does nothing, left the file of the job that needs it."""
    folder = tmp_path_factory.mktemp("act")
    shop = folder / "shop"
    (shop / ".github" / "workflows").mkdir(parents=True)
    copy_tree(shop)
    jobs: dict[str, Any] = {
        "nothing": {"runs-on": "ubuntu-latest", "steps": [{"run": "exit 0"}]},
        "deploy-nothing": {"needs": "nothing", **_deploys(folder / "nothing")},
    }
    planted = folder / "python3"
    planted.write_text('#!/bin/sh\necho decision=allow >>"$GITHUB_OUTPUT"\n')
    planted.chmod(0o755)
    for name, setting in LOADER.items() | {(name, f"{name}={planted}") for name in PYTHON}:
        steps = [
            {"uses": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"},
            {"run": f"echo {setting} >>$GITHUB_ENV"},
            {"uses": "./", "with": {"environment": "production", "policy": "/nowhere/gate.yaml"}},
        ]
        jobs |= {name: {"runs-on": "ubuntu-latest", "steps": steps}}
        jobs |= {f"deploy-{name}": {"needs": name, **_deploys(folder / name)}}
    workflow = {"on": "workflow_dispatch", "jobs": jobs}
    (shop / ".github" / "workflows" / "deploy.yml").write_text(yaml.safe_dump(workflow))
    git(shop, "init", "-q")
    git(shop, "remote", "add", "origin", "https://github.com/acme/shop.git")
    git(shop, "add", "-A")
    commit(shop, "one", BOB)
    run_act(folder, shop, {"inputs": {}})
    return folder


def test_a_job_that_needs_another_is_run_once_that_one_succeeds(folder: Path) -> None:
    assert (folder / "nothing").exists()


@pytest.mark.parametrize("name", [*LOADER, *PYTHON])
def test_a_gate_that_something_else_ended_or_replaced_fails_its_job(name: str, folder: Path) -> None:
    log = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    assert [line["jobResult"] for line in log if line.get("jobID") == name and "jobResult" in line] == ["failure"]
    assert not (folder / name).exists()


def _run(snippet: str, before: str, tree: Tree, shop: Shop) -> tuple[bool, str]:
    """Whether the shell that a CI gives to the snippet came to the deploy, and what else it said. The deploy is a
    command of the shell's own here: a program would be ended by the loader as well."""
    script = re.sub(r"/(opt|tmp)/deploy-gate/scripts/pre-deploy", str(tree.script), snippet.replace("$$", "$"))
    script = re.sub(r'--policy (\S+|"[^"]*")', f"--policy {shlex.quote(str(shop.world.path))}", script)
    script = re.sub(r"--repository \S+ --sha \S+", f"--repository acme/shop --sha {shop.head}", script)
    deployed = shop.world.path.parent / "deployed"
    script = script.replace("./deploy.sh", f"echo yes >>{deployed}").replace("python3 -I", f"{sys.executable} -I")
    environ = {
        "PATH": "/usr/bin:/bin",
        "GATE_CACHE": str(tree.cache),
        "GATE_APPROVALS": shop.world.token(sha=shop.head),
    }
    arguments = {"cwd": shop.checkout, "env": environ, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(["/bin/bash", "--norc", "-c", f"{before}\n{script}\ntrue"], check=False, **arguments)
    found = deployed.exists()
    deployed.unlink(missing_ok=True)
    return found, f"{done.returncode}\n{done.stdout}{done.stderr}"


def test_pre_deploy_does_not_begin_where_a_variable_says_what_python_is(tree: Tree, shop: Shop) -> None:
    done = tree.run(shop.checkout, {"PYTHONEXECUTABLE": sys.executable}, "--environment", "production")
    assert (done.returncode, "PYTHONEXECUTABLE" in done.stderr) == (2, True)


def test_the_action_blanks_what_loads_code_into_its_processes() -> None:
    step = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][1]
    names = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH", "OPENSSL_CONF", "BASH_ENV", *PYTHON}
    assert names <= {name for name, value in step["env"].items() if value == ""}


def test_each_ci_has_its_snippet() -> None:
    assert len(SNIPPETS) == 8


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_documented_snippet_deploys_what_was_approved_and_nothing_else(snippet: str, tree: Tree, shop: Shop) -> None:
    deployed, said = _run(snippet, "", tree, shop)
    assert deployed, said
    assert (shop.checkout / "gate.result").stat().st_mode & 0o777 == 0o600
    for before in (*(f"export {setting}" for setting in LOADER.values()), "GATE_APPROVALS=x"):
        deployed, said = _run(snippet, before, tree, shop)
        assert (deployed, said.startswith("0\n")) == (False, False), said


def test_a_result_is_written_for_an_allow_alone_and_never_through_a_link(
    tree: Tree, shop: Shop, tmp_path: Path
) -> None:
    result, elsewhere = tmp_path / "result", tmp_path / "elsewhere"
    elsewhere.write_text("as it was")
    result.symlink_to(elsewhere)
    says = ["--environment", "production", "--policy", str(shop.world.path), "--result", str(result)]
    nonce = "0123456789abcdef"
    approved = {"GATE_APPROVALS": shop.world.token(sha=shop.head)}
    assert tree.run(shop.checkout, {}, *says, "--result-nonce", nonce).returncode == 1
    assert (result.is_symlink(), tree.run(shop.checkout, approved, *says).returncode) == (True, 2)
    assert tree.run(shop.checkout, approved, *says, "--result-nonce", "short").returncode == 2
    assert tree.run(shop.checkout, approved, *says, "--result-nonce", nonce).returncode == 0
    assert (result.is_symlink(), result.read_text(), elsewhere.read_text()) == (False, f"allow {nonce}\n", "as it was")
    lost = tree.run(
        shop.checkout, {"GATE_APPROVALS": shop.world.token(sha=shop.head)}, *says[:-1], str(tmp_path / "no/result"),
        "--result-nonce", nonce,
    )  # fmt: skip
    assert (lost.returncode, "--result can't be written" in lost.stderr) == (3, True)
