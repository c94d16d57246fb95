"""A monorepo, as docs/policy.md has it: an environment for each service, which has a stream and authors of its own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.forge.git import LocalGit
from gate.gate import Gate
from gate.models import Decision
from gate.policyfile import compile_policy
from tests.pages import ROOT, blocks
from tests.world import ALICE, BOB, CAROL, World, commit


class Mono:
    """A clone of acme/mono, whose services billing and web are deployed by themselves."""

    def __init__(self, folder: Path) -> None:
        (folder / "world").mkdir()
        self.clone = folder / "clone"
        self.world = World(folder / "world", separation=True)
        head, name, body = self.world.text.partition("  production:\n")
        services = "".join(name.replace("production", f"{one}-production") + body for one in ("billing", "web"))
        self.policy = compile_policy((head + services).encode())

    def deploy(self, service: str, sha: str, approver: str, approved_for: str = "") -> Decision:
        """What the gate answers to a run by somebody else."""
        loaded, what = self.world.loaded(), {"repository": "acme/mono", "sha": sha}
        gate = Gate(
            self.policy,
            loaded.replay_store(),
            loaded.audit_log(),
            history=LocalGit(self.clone),
            clock=lambda: self.world.now,
        )
        token = self.world.token(approver, environment=f"{approved_for or service}-production", **what)
        made: dict[str, Any] = what | {"environment": f"{service}-production", "actors": ("deployer",)}
        return gate.check([token], self.world.deployment(**made))


@pytest.fixture
def mono(tmp_path: Path) -> Mono:
    return Mono(tmp_path)


def test_what_is_new_is_told_for_each_service(mono: Mono) -> None:
    first = commit(mono.clone, "first", CAROL)
    assert mono.deploy("billing", first, BOB).allowed
    assert mono.deploy("web", first, BOB).allowed
    hers = commit(mono.clone, "hers", ALICE)
    assert mono.deploy("billing", hers, BOB).allowed
    latest = commit(mono.clone, "next", CAROL)
    assert mono.deploy("billing", latest, ALICE).allowed, "what she wrote was allowed there"
    assert mono.deploy("web", latest, ALICE).reason == "approver.is_author", "and is new here"
    assert mono.deploy("web", latest, BOB).allowed


def test_an_approval_for_one_service_is_none_for_another(mono: Mono) -> None:
    sha = commit(mono.clone, "first", CAROL)
    assert mono.deploy("web", sha, BOB, approved_for="billing").reason == "environment.mismatch"


def test_the_documented_workflow_deploys_what_the_documented_policy_lists() -> None:
    page, workflow = ROOT / "docs/policy.md", ROOT / "docs/examples/deploy-monorepo.yml"
    policies = [block.text for block in blocks(page) if block.text.startswith("version: 1\n")]
    [environments] = [compile_policy(text.encode()).environments for text in policies if "acme/mono" in text]
    parsed = yaml.safe_load(workflow.read_text().replace("\non:\n", "\nevents:\n"))  # which YAML 1.1 takes for true
    services = parsed["events"]["workflow_dispatch"]["inputs"]["service"]["options"]
    assert {f"{service}-production" for service in services} == environments.keys()
    assert all(environment.covers("acme/mono") for environment in environments.values())
    job = parsed["jobs"]["deploy"]
    [given] = [step["with"] for step in job["steps"] if step.get("id") == "gate"]
    assert job["environment"] == given["environment"] == "${{ inputs.service }}-production"
