"""The template: linted, explained, and exactly what the code needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate.cloudformation import template
from tests.aws.stack import actions, parsed
from tests.pages import ROOT, blocks
from tests.parts import need

RESOURCES = parsed()["Resources"]


def _statements(value: Any) -> Iterator[dict[str, Any]]:
    """Every statement of every policy, the ones behind a condition included."""
    if isinstance(value, dict):
        if "Sid" in value:
            yield value
        for member in value.values():
            yield from _statements(member)
    if isinstance(value, list):
        for member in value:
            yield from _statements(member)


STATEMENTS = {statement["Sid"]: statement for statement in _statements(RESOURCES)}


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).parent / "cfn-lint"
    need(linter.exists(), "cfn-lint (pip install cfn-lint)")
    path = ROOT / "gate/cloudformation/template.yaml"
    done = subprocess.run(
        [linter, "--include-checks", "I", "--regions", "eu-west-1", "--template", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_cloudformation_takes_a_template_of_that_size_inline() -> None:
    assert len(template().encode()) <= 51_200


def test_every_statement_is_explained() -> None:
    lines = template().splitlines()
    found = [number for number, line in enumerate(lines) if "- Sid:" in line]
    assert len(found) == len(STATEMENTS)
    assert [lines[number] for number in found if not lines[number - 1].strip().startswith("#")] == []


def _needed(*modules: str) -> set[str]:
    docstrings = "".join((ROOT / "gate" / module).read_text().split('"""')[1] for module in modules)
    return set(re.findall(r"`((?:dynamodb|s3|kms):[A-Z]\w+)`", docstrings)) - {"kms:SigningAlgorithm"}  # a condition


def _granted(*sids: str) -> set[str]:
    return {action for sid in sids for action in actions(STATEMENTS[sid])}


VERIFIER = ("ConsumeApprovals", "WriteRecords", "TellMissingFromForbidden", "ReadThePolicy")
AUDITOR = ("ReadTheReplayStore", "ReadTheLog", "LookAtTheTable", "LookAtTheBucket", "LookAtTheKey")
BOT = ("OnlyTheBotSigns", "TheBotKnowsItsPublicKey")


def test_the_roles_may_do_what_the_backends_say_they_need_and_nothing_else() -> None:
    denied = {"s3:DeleteObject", "s3:BypassGovernanceRetention"}
    needed = _needed("replay/dynamodb.py", "audit/s3.py", "signers/kmspolicy.py")
    assert _granted(*VERIFIER, *AUDITOR) == needed - denied
    assert _granted(*BOT) == _needed("signers/awskms.py")


def test_every_statement_is_one_that_these_tests_know() -> None:
    account = {"TheAccountAdministers"}
    trust = {"WhoWasNamed", "TasksOfThisAccount", "JobsOfTheseRepositoriesAndEnvironments"}
    bucket = {"NobodyDeletes", "NobodyOverwrites", "OnlyOverTls"}
    policy = {"OnlyMaintainersWrite", "NobodyDeletesAVersion", "PolicyOnlyOverTls", "KnowThePolicy"}
    assert set(STATEMENTS) == {*VERIFIER, *AUDITOR, *BOT} | account | trust | bucket | policy


def test_the_documentation_shows_the_same_permissions() -> None:
    documents = [json.loads(block.text) for block in blocks(ROOT / "docs/operations.md") if block.language == "json"]
    shown = {statement["Sid"]: actions(statement) for document in documents for statement in document["Statement"]}
    assert shown == {sid: actions(STATEMENTS[sid]) for sid in (*VERIFIER, *AUDITOR)}


def test_what_holds_proof_stays_when_the_stack_goes() -> None:
    buckets = ("AuditBucket", "AuditBucketPolicy", "PolicyBucket", "PolicyBucketPolicy")
    for name in ("JtiTable", *buckets, "SigningKey", "GitHubProvider"):
        assert RESOURCES[name]["DeletionPolicy"].startswith("Retain"), name
        assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain", name


def test_the_table_is_what_the_replay_store_asks_for() -> None:
    table = RESOURCES["JtiTable"]["Properties"]
    assert table == {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "jti", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "jti", "KeyType": "HASH"}],
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "DeletionProtectionEnabled": True,
    }


def test_the_log_is_locked() -> None:
    bucket = RESOURCES["AuditBucket"]["Properties"]
    assert bucket["ObjectLockEnabled"] is True
    assert bucket["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"


@pytest.mark.parametrize("name", ["AuditBucket", "PolicyBucket"])
def test_a_bucket_is_versioned_private_and_encrypted(name: str) -> None:
    bucket = RESOURCES[name]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


DENIALS = ["NobodyDeletes", "NobodyOverwrites", "OnlyOverTls"]
DENIALS += ["OnlyMaintainersWrite", "NobodyDeletesAVersion", "PolicyOnlyOverTls"]


@pytest.mark.parametrize("sid", DENIALS)
def test_a_bucket_denies_everybody(sid: str) -> None:
    statement = STATEMENTS[sid]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")


def test_whoever_is_no_maintainer_writes_no_policy() -> None:
    statement = STATEMENTS["OnlyMaintainersWrite"]
    assert actions(statement) == {"s3:PutObject", "s3:DeleteObject"}
    named = {"Fn::Split": [",", {"Ref": "PolicyMaintainers"}]}
    assert statement["Condition"] == {
        "ArnNotLike": {"aws:PrincipalArn": named}
    }  # holds where there is no principal, too


def test_gate_and_signers_may_read_the_policy_and_nothing_else_there() -> None:
    for sid in ("ReadThePolicy", "KnowThePolicy"):
        assert STATEMENTS[sid]["Resource"] == {"Fn::Sub": "${PolicyBucket.Arn}/gate.yaml"}
        assert actions(STATEMENTS[sid]) == {"s3:GetObject"}


def test_no_role_has_a_wildcard_or_a_right_to_delete() -> None:
    for sid in (*VERIFIER, *AUDITOR, *BOT):
        for action in actions(STATEMENTS[sid]):
            assert "*" not in action
            assert "Delete" not in action
    for sid in (*VERIFIER, *AUDITOR):
        assert STATEMENTS[sid]["Resource"] != "*"
