"""`gate aws deploy`, against a stand-in for AWS, and the gate on what it made."""

import json
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import yaml

from gate.cloudformation import template
from tests.audit.command import Done
from tests.aws.conftest import ACCOUNT, Run
from tests.aws.stack import WHOM, Deployed, actions
from tests.parts import Aws
from tests.test_cli import gate
from tests.world import SHA

ENVIRONMENTS = """
version: 1
environments:
  production:
    repositories: [acme/shop]
    approvers: [alice@example.com]
    max_age: 15m
    separation_of_duties: false
"""


def deploy(run: Run, stack: Deployed, *more: str) -> Done:
    done = run(*stack.args, *more)
    assert done.code == 0, done.err
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
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    run = partial(gate, tmp_path, env=mine)
    done = run(*stack.args, *WHOM)
    assert done.returncode == 0, done.stderr
    assert "+ JtiTable  AWS::DynamoDB::Table" in done.stderr
    assert done.stderr.index("CREATE_COMPLETE             JtiTable") < done.stderr.rindex(stack.name)
    stack.complete()
    (tmp_path / "gate.yaml").write_text(done.stdout + ENVIRONMENTS)
    (tmp_path / "gate.yaml").chmod(0o644)
    deployment = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    (signer,) = re.findall(r"signer: (awskms:\S+)", done.stdout)

    token = run("approve", *deployment, "--approver", "alice@example.com", "--signer", signer)
    assert token.returncode == 0, token.stderr
    verify = ["verify", *deployment, "--json", "--approval", token.stdout.strip()]
    first, second = (json.loads(run(*verify).stdout) for _ in range(2))
    assert (first["decision"], second["reason"]) == ("allow", "replay.used")
    assert first["record"].startswith(f"s3://{stack.resource('AuditBucket')}/records/acme/shop/production/")
    assert run("audit", "verify").returncode == 0

    findings = json.loads(run("doctor", "--json", "--signer", signer).stdout)["findings"]
    about = [item for item in findings if item["subject"].startswith(("replay store", "audit log", "signer"))]
    assert "its key's policy lets nobody else sign" in [item["message"] for item in about]
    assert len(about) >= 7
    assert [item for item in about if item["severity"] != "ok"] == []


def test_who_may_do_what_is_as_it_was_asked_for(stack: Deployed, run: Run) -> None:
    other = ["--repository", "acme/app", "--repository-id", "12", "--environment", "staging"]
    named = f"arn:aws:iam::{ACCOUNT}:role/release"
    deploy(run, stack, *WHOM, *other, "--signer-principal", named, "--alg", "ES256")
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


def test_without_names_only_this_accounts_tasks_may_sign(stack: Deployed, run: Run) -> None:
    deploy(run, stack, *WHOM)
    (tasks,) = stack.trust("BotRole").values()
    assert tasks["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert tasks["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    condition = stack.key_policy()["OnlyTheBotSigns"]["Condition"]
    assert condition == {"StringEquals": {"kms:SigningAlgorithm": "ED25519_SHA_512"}}


def test_again_changes_nothing_and_prints_the_same(stack: Deployed, run: Run) -> None:
    first = deploy(run, stack, *WHOM)
    again, bare = deploy(run, stack, *WHOM), deploy(run, stack)
    assert first.out == again.out == bare.out
    assert again.err == bare.err == "Nothing to change.\n"
    assert yaml.safe_load(first.out)["replay"].startswith(f"dynamodb://{stack.resource('JtiTable')}?region=")


def test_what_is_not_given_stays_as_it_was(stack: Deployed, run: Run) -> None:
    first = deploy(run, stack, *WHOM, "--retention-days", "30", "--retention-mode", "GOVERNANCE")
    update = deploy(run, stack, "--retention-days", "40")
    assert update.err.startswith("~ AuditBucket  AWS::S3::Bucket\n")
    assert update.err.count("~") == 1
    assert update.out == first.out
    (now,) = stack.aws.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"]
    values = {item["ParameterKey"]: item["ParameterValue"] for item in now["Parameters"]}
    assert values["GitHubRepositoryIds"] == "4711"
    assert (values["RetentionDays"], values["RetentionMode"]) == ("40", "GOVERNANCE")


def test_a_trial_run_shows_the_changes_and_leaves_nothing(stack: Deployed, run: Run) -> None:
    done = deploy(run, stack, *WHOM, "--dry-run")
    assert done.out == ""
    assert done.err.count("\n+ ") + 1 == 11
    assert names(stack) == []
    deploy(run, stack, *WHOM)
    before = names(stack)
    assert deploy(run, stack, "--retention-days", "9", "--dry-run").err == "~ AuditBucket  AWS::S3::Bucket\n"
    assert names(stack) == before


def test_a_failure_says_which_resource_and_why_and_tells_no_secrets(stack: Deployed, run: Run) -> None:
    deploy(run, stack, *WHOM)
    done = run(*stack.args, "--alg", "ES256")
    assert (done.code, done.out) == (2, "")
    assert "could not be made, and was rolled back: SigningKey (AWS::KMS::Key) failed." in done.err
    assert "KeySpec cannot be changed" in done.err
    assert not re.search(rf"arn:|{ACCOUNT}|Traceback", done.err)


def test_a_first_attempt_that_fails_can_be_told_from_a_stack(
    account: Aws, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "444455556666")  # knows no provider, and the stand-in can't make one
    stack = Deployed.fresh(account)
    done = run(*stack.args, *WHOM)
    assert done.code == 2
    assert "GitHubProvider (AWS::IAM::OIDCProvider) failed." in done.err
    again = run(*stack.args, *WHOM)
    assert again.code == 2
    assert "is left over from an attempt that failed" in again.err
    assert f"aws cloudformation delete-stack --stack-name {stack.name}" in again.err


def test_somebody_elses_stack_is_left_alone(stack: Deployed, run: Run) -> None:
    cloudformation = stack.aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=stack.name, TemplateBody=json.dumps({"Resources": {"Key": {"Type": "AWS::KMS::Key"}}})
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=stack.name, WaiterConfig={"Delay": 1})
    done = run(*stack.args, *WHOM)
    assert (done.code, done.out) == (2, "")
    assert f"The stack {stack.name} is none of Deploy Gate's." in done.err
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
    stack: Deployed, run: Run, args: list[str], says: str
) -> None:
    done = run(*stack.args, *args)
    assert done.code == 2
    assert says in done.err
    assert names(stack) == []


def test_the_template_is_printed_as_it_is(run: Run) -> None:
    assert run("aws", "template") == Done(0, template(), "")
