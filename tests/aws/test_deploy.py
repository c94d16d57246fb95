"""`gate aws deploy`, against a stand-in for AWS, and the gate on what it made."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from gate.cloudformation import template
from tests.aws.conftest import ACCOUNT
from tests.aws.stack import WHOM, Deployed, actions
from tests.parts import Aws
from tests.test_cli import gate
from tests.world import SHA

Done = subprocess.CompletedProcess[str]
ENVIRONMENTS = """
version: 1
environments:
  production:
    repositories: [acme/shop]
    approvers: [alice@example.com]
    max_age: 15m
    separation_of_duties: false
"""


def run(folder: Path, *args: str) -> Done:
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    return gate(folder, *args, env=mine)


def deploy(folder: Path, stack: Deployed, *more: str) -> Done:
    done = run(folder, *stack.args, *more)
    assert done.returncode == 0, done.stderr
    return done


def names(stack: Deployed) -> Sequence[str]:
    """All stacks of this name, and the change sets of the one."""
    cloudformation = stack.aws.client("cloudformation")
    stacks = [item["StackName"] for item in cloudformation.describe_stacks()["Stacks"]]
    plans = cloudformation.list_change_sets(StackName=stack.name)["Summaries"] if stack.name in stacks else []
    return [name for name in stacks if name == stack.name] + [plan["ChangeSetName"] for plan in plans]


def test_what_it_prints_is_a_policy_that_the_gate_and_the_doctor_are_content_with(
    stack: Deployed, tmp_path: Path
) -> None:
    done = deploy(tmp_path, stack, *WHOM)
    assert "+ JtiTable  AWS::DynamoDB::Table" in done.stderr
    assert done.stderr.index("CREATE_COMPLETE             JtiTable") < done.stderr.rindex(stack.name)
    stack.complete()
    (tmp_path / "gate.yaml").write_text(done.stdout + ENVIRONMENTS)
    (tmp_path / "gate.yaml").chmod(0o644)
    deployment = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    (signer,) = re.findall(r"--signer '(awskms:.*?)'", done.stdout)

    token = run(tmp_path, "approve", *deployment, "--approver", "alice@example.com", "--signer", signer)
    assert token.returncode == 0, token.stderr
    verify = ["verify", *deployment, "--json", "--approval", token.stdout.strip()]
    first, second = (json.loads(run(tmp_path, *verify).stdout) for _ in range(2))
    assert (first["decision"], second["reason"]) == ("allow", "replay.used")
    assert first["record"].startswith(f"s3://{stack.resource('AuditBucket')}/records/acme/shop/production/")
    assert run(tmp_path, "audit", "verify").returncode == 0

    findings = json.loads(run(tmp_path, "doctor", "--json").stdout)["findings"]
    about = [item for item in findings if item["subject"].startswith(("replay store", "audit log"))]
    assert len(about) >= 4
    assert [item for item in about if item["severity"] != "ok"] == []


def test_who_may_do_what_is_as_it_was_asked_for(stack: Deployed, tmp_path: Path) -> None:
    other = ["--repository", "acme/app", "--repository-id", "12", "--environment", "staging"]
    named = f"arn:aws:iam::{ACCOUNT}:role/release"
    deploy(tmp_path, stack, *WHOM, *other, "--bot-principal", named, "--alg", "ES256")
    claim = "token.actions.githubusercontent.com:"
    (job,) = stack.trust("VerifierRole").values()
    assert job["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert job["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{claim[:-1]}"}
    assert job["Condition"] == {
        "StringEquals": {
            f"{claim}aud": "sts.amazonaws.com",
            f"{claim}repository_id": ["4711", "12"],
            f"{claim}environment": ["production", "staging"],
        },
        "StringEqualsIgnoreCase": {f"{claim}repository": ["acme/shop", "acme/app"]},
        "StringLike": {f"{claim}sub": "repo:*"},
    }
    (release,) = stack.trust("BotRole").values()
    assert (release["Principal"], release["Action"]) == ({"AWS": [named]}, "sts:AssumeRole")
    bot = stack.aws.client("iam").get_role(RoleName=stack.resource("BotRole"))["Role"]["Arn"]
    key = stack.key_policy()
    assert [sid for sid in key if actions(key[sid]) & {"kms:Sign", "kms:*", "kms:CreateGrant"}] == ["OnlyTheBotSigns"]
    assert key["OnlyTheBotSigns"]["Principal"] == key["TheBotKnowsItsPublicKey"]["Principal"] == {"AWS": bot}
    assert key["OnlyTheBotSigns"]["Condition"] == {"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}
    bucket, policy = f"arn:aws:s3:::{stack.resource('AuditBucket')}", stack.bucket_policy()
    assert policy["NobodyOverwrites"]["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert policy["OnlyOverTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert policy["NobodyDeletes"]["Resource"] == policy["NobodyOverwrites"]["Resource"] == f"{bucket}/*"
    assert policy["OnlyOverTls"]["Resource"] == [bucket, f"{bucket}/*"]


def test_without_names_only_this_accounts_tasks_may_sign(stack: Deployed, tmp_path: Path) -> None:
    deploy(tmp_path, stack, *WHOM)
    (tasks,) = stack.trust("BotRole").values()
    assert tasks["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert tasks["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    condition = stack.key_policy()["OnlyTheBotSigns"]["Condition"]
    assert condition == {"StringEquals": {"kms:SigningAlgorithm": "ED25519_SHA_512"}}


def test_again_changes_nothing_and_prints_the_same(stack: Deployed, tmp_path: Path) -> None:
    first = deploy(tmp_path, stack, *WHOM)
    again, bare = deploy(tmp_path, stack, *WHOM), deploy(tmp_path, stack)
    assert first.stdout == again.stdout == bare.stdout
    assert again.stderr == bare.stderr == "Nothing to change.\n"
    assert yaml.safe_load(first.stdout)["replay"].startswith(f"dynamodb://{stack.resource('JtiTable')}?region=")


def test_what_is_not_given_stays_as_it_was(stack: Deployed, tmp_path: Path) -> None:
    first = deploy(tmp_path, stack, *WHOM, "--retention-days", "30", "--retention-mode", "GOVERNANCE")
    update = deploy(tmp_path, stack, "--retention-days", "40")
    assert update.stderr.startswith("~ AuditBucket  AWS::S3::Bucket\n")
    assert update.stderr.count("~") == 1
    assert update.stdout == first.stdout
    (now,) = stack.aws.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"]
    values = {item["ParameterKey"]: item["ParameterValue"] for item in now["Parameters"]}
    assert values["GitHubRepositoryIds"] == "4711"
    assert (values["RetentionDays"], values["RetentionMode"]) == ("40", "GOVERNANCE")


def test_a_trial_run_shows_the_changes_and_leaves_nothing(stack: Deployed, tmp_path: Path) -> None:
    done = deploy(tmp_path, stack, *WHOM, "--dry-run")
    assert done.stdout == ""
    assert done.stderr.count("\n+ ") + 1 == 9
    assert names(stack) == []
    deploy(tmp_path, stack, *WHOM)
    before = names(stack)
    assert deploy(tmp_path, stack, "--retention-days", "9", "--dry-run").stderr == "~ AuditBucket  AWS::S3::Bucket\n"
    assert names(stack) == before


def test_a_failure_says_which_resource_and_why_and_tells_no_secrets(stack: Deployed, tmp_path: Path) -> None:
    deploy(tmp_path, stack, *WHOM)
    done = run(tmp_path, *stack.args, "--alg", "ES256")
    assert (done.returncode, done.stdout) == (2, "")
    assert "could not be made, and was rolled back: SigningKey (AWS::KMS::Key) failed." in done.stderr
    assert "KeySpec cannot be changed" in done.stderr
    assert not re.search(rf"arn:|{ACCOUNT}|Traceback", done.stderr)


def test_a_first_attempt_that_fails_can_be_told_from_a_stack(
    account: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "444455556666")  # knows no provider, and the stand-in can't make one
    stack = Deployed.fresh(account)
    done = run(tmp_path, *stack.args, *WHOM)
    assert done.returncode == 2
    assert "GitHubProvider (AWS::IAM::OIDCProvider) failed." in done.stderr
    again = run(tmp_path, *stack.args, *WHOM)
    assert again.returncode == 2
    assert "is left over from an attempt that failed" in again.stderr
    assert f"aws cloudformation delete-stack --stack-name {stack.name}" in again.stderr


def test_somebody_elses_stack_is_left_alone(stack: Deployed, tmp_path: Path) -> None:
    foreign = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    stack.aws.client("cloudformation").create_stack(StackName=stack.name, TemplateBody=foreign)
    done = run(tmp_path, *stack.args, *WHOM)
    assert done.returncode == 2
    assert re.search("none of Deploy Gate's|left over|right now", done.stderr)
    assert names(stack) == [stack.name]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "Add --repository."),
        (["--repository", "acme/shop", "--environment", "production"], "needs its --repository-id"),
        (WHOM[:4], "Add --environment."),
        ([*WHOM, "--repository-id", "x"], "needs its --repository-id"),
        ([*WHOM, "--repository", "acme"], "not owner/name"),
        ([*WHOM, "--stack", "no_stack"], "name is not usable"),
        ([*WHOM, "--region", "nowhere"], "names no AWS region"),
        ([*WHOM, "--endpoint", "ftp://x"], "not the URL of a server"),
        ([*WHOM, "--retention-days", "0"], "--retention-days"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    stack: Deployed, tmp_path: Path, args: list[str], says: str
) -> None:
    done = run(tmp_path, *stack.args, *args)
    assert done.returncode == 2
    assert says in done.stderr
    assert names(stack) == []


def test_the_template_is_printed_as_it_is(tmp_path: Path) -> None:
    done = gate(tmp_path, "aws", "template")
    assert (done.returncode, done.stdout) == (0, template())
