"""What `gate aws deploy` prints as the next steps, taken in their order, as they stand there."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.aws.conftest import ACCOUNT, Run
from tests.aws.stack import WHOM, Deployed, know_github
from tests.pages import ROOT, Shell
from tests.parts import Aws, need
from tests.world import git

CREDENTIALS = "[default]\naws_access_key_id = AKIDFAKE\naws_secret_access_key = fake\n"


class Reader:
    """A person with a terminal, AWS credentials and a checkout, who does what the output says."""

    def __init__(self, home: Path, stack: Deployed) -> None:
        self.shell = Shell(home, {"AWS_ENDPOINT_URL": stack.aws.endpoint, "NO_PROXY": "127.0.0.1"})
        (home / ".aws").mkdir()
        (home / ".aws/credentials").write_text(CREDENTIALS)
        git(home / "shop", "config", "user.email", "alice@example.com")
        self.stack, self.home = stack, home

    def run(self, text: str) -> str:
        code, printed = self.shell.run(text)
        assert code == 0, f"{text}\n{printed}"
        return printed

    def deploy(self, *more: str) -> dict[int, str]:
        """Deploy, and return the steps by their numbers."""
        self.run(f"gate {' '.join([*self.stack.args, *WHOM, *more])} >~/next.yaml")
        self.stack.complete()
        parts = re.split(r"^# (\d)\. ", (self.home / "next.yaml").read_text(), flags=re.M)
        return {int(number): f"# {text}" for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def commented(step: str) -> str:
    """What a step shows, indented, in its comments."""
    return "\n".join(re.findall(r"^#   (.*)$", step, re.M))


@pytest.fixture
def reader(aws: Aws, tmp_path: Path) -> Reader:
    need(shutil.which("aws", path=Path(sys.executable).parent) is not None, "AWS command line (pip install awscli)")
    know_github(aws)
    return Reader(tmp_path, Deployed.fresh(aws))


def test_the_steps_lead_to_an_approved_deployment_and_its_proof(reader: Reader) -> None:
    steps = reader.deploy("--signer-principal", f"arn:aws:iam::{ACCOUNT}:role/release")
    assert sorted(steps) == [1, 2, 3, 4, 5]

    reader.run("gate init ~/policy --approver alice@example.com && cd ~/policy")
    path = reader.home / "policy/gate.yaml"
    kept = re.sub(r"^(replay|audit):.*\n|^keys:\n( .*\n)+", "", path.read_text(), flags=re.M)
    path.write_text(kept + steps[1])
    reader.run(commented(steps[2]))

    workflow = yaml.safe_load(commented(steps[3]))
    inputs = workflow[1]["with"]
    assert set(inputs) <= set(yaml.safe_load((ROOT / "action.yml").read_text())["inputs"])
    assert ":role/" in workflow[0]["with"]["role-to-assume"]

    (token,) = re.findall(r"^eyJ\S+$", reader.run(f"cd ~/shop\n{commented(steps[4])}"), re.M)
    reader.run("unset GATE_POLICY GATE_SIGNER")
    verify = f"gate verify --policy '{inputs['policy']}' --environment {inputs['environment']} --approval {token}"
    assert "allowed" in reader.run(verify)
    assert "proved" in reader.run(commented(steps[5])).lower()


def test_a_bot_on_ecs_is_told_its_policy_and_its_signer(reader: Reader) -> None:
    steps = reader.deploy()
    assert "--signer-principal" in steps[4]
    settings = yaml.safe_load(commented(steps[4]))
    assert settings["policy"] == yaml.safe_load(commented(steps[3]))[1]["with"]["policy"]
    assert settings["signer"].startswith(f"awskms:///alias/{reader.stack.name}?")


def maintainers(stack: Deployed) -> list[str]:
    statement = stack.bucket_policy("PolicyBucket")["OnlyMaintainersWrite"]
    found: list[str] = statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
    return found


def test_who_deploys_first_maintains_the_policy_until_others_are_named(
    aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_github(aws)
    stack, role = Deployed.fresh(aws), f"arn:aws:iam::{ACCOUNT}:role"
    with monkeypatch.context() as session:
        answer = aws.client("sts").assume_role(RoleArn=f"{role}/ops/admin", RoleSessionName="alice")["Credentials"]
        session.setenv("AWS_ACCESS_KEY_ID", answer["AccessKeyId"])
        session.setenv("AWS_SECRET_ACCESS_KEY", answer["SecretAccessKey"])
        session.setenv("AWS_SESSION_TOKEN", answer["SessionToken"])
        assert run(*stack.args, *WHOM).code == 0
    assert maintainers(stack) == [f"{role}/admin", f"{role}/*/admin"]
    assert run(*stack.args, "--retention-days", "9").code == 0
    assert maintainers(stack) == [f"{role}/admin", f"{role}/*/admin"]
    assert run(*stack.args, "--maintainer", f"{role}/policy").code == 0
    assert maintainers(stack) == [f"{role}/policy"]
