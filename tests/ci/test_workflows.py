"""The Action's definition, this project's workflows and the one that users copy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.conftest import ROOT
from tests.ci.test_actions import ALLOW, told
from tests.parts import need

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yml"))
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), *EXAMPLES]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())


def test_zizmor_finds_nothing() -> None:
    zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    need(zizmor is not None, "zizmor (pip install zizmor)")
    audited = ["action.yml", ".github", *map(str, EXAMPLES)]
    done = subprocess.run(
        [str(zizmor), "--offline", "--pedantic", *audited], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_and_says_to_what(workflow: Path) -> None:
    for line in workflow.read_text().splitlines():
        if "uses:" in line and "uses: ./" not in line:
            assert re.fullmatch(r"\s+(- )?uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # \S.*", line), line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_given_job_by_job(workflow: Path) -> None:
    parsed = yaml.safe_load(workflow.read_text())
    assert parsed["permissions"] == {}
    for job in parsed["jobs"].values():
        assert "permissions" in job
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")


def test_each_input_and_output_is_explained_in_one_sentence() -> None:
    for name, value in (ACTION["inputs"] | ACTION["outputs"]).items():
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name)
        assert re.fullmatch(r"[A-Z][^\n]*[^.]\.", value["description"]), name
    assert [name for name, value in ACTION["inputs"].items() if value.get("required")] == ["environment", "policy"]


def test_the_outputs_are_those_that_the_gate_writes(tmp_path: Path) -> None:
    written, _, _ = told(ALLOW, tmp_path)
    assert {name: value["value"] for name, value in ACTION["outputs"].items()} == {
        name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in [*written, "request-url"]
    }


def test_inputs_reach_the_script_by_env_alone() -> None:
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    assert all("${{" not in each["run"] for each in ACTION["runs"]["steps"])
    expressions = [value for value in step["env"].values() if "${{" in value]
    assert sorted(expressions) == sorted(f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_example_gates_before_it_becomes_the_deployer(example: Path) -> None:
    job = yaml.safe_load(example.read_text())["jobs"]["deploy"]
    names = [step.get("name") for step in job["steps"]]
    assert names.index("Become the gate") < names.index("Deploy Gate") < names.index("Become the deployer")
    later = job["steps"][names.index("Deploy Gate") + 1 :]
    assert [step.get("if") for step in later] == ["steps.gate.outputs.decision == 'allow'"] * len(later)
    given = job["steps"][names.index("Deploy Gate")]["with"]
    assert given.keys() <= ACTION["inputs"].keys()
    assert {name for name, value in ACTION["inputs"].items() if value.get("required")} <= given.keys()
    assert {"approvals", "deploy-bot"} & given.keys()
    assert job["permissions"]["id-token"] == "write"


def test_the_example_hides_the_approvals_of_the_event(tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "docs" / "examples" / "deploy.yml").read_text())["jobs"]["deploy"]
    for payload, shown in (
        ('{"inputs": {"approvals": "  one two\\n"}}', "::add-mask::one\n::add-mask::two\n"),
        ('{"inputs": null}', ""),
        ("{}", ""),
    ):
        (tmp_path / "event.json").write_text(payload)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", job["steps"][0]["run"]],
            env={"PATH": os.environ["PATH"], "GITHUB_EVENT_PATH": str(tmp_path / "event.json")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == shown


def test_the_release_finds_its_builder_in_the_lock() -> None:
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["build"]["steps"]
    (build,) = [step["run"] for step in steps if "flit" in step.get("run", "")]
    pick = build.splitlines()[0].partition(">")[0]
    done = subprocess.run(["bash", "-c", pick], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"flit-core==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", done.stdout)
