"""Stacks in the stand-in for AWS: deployed by the command, and read back."""

import json
import secrets
from typing import Any, NamedTuple

import yaml

from gate.cloudformation import template
from tests.parts import Aws

WHOM = ["--repository", "Acme/Shop", "--repository-id", "4711", "--environment", "production"]


class _Tagged(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as their long ones: `!Ref x` as `{"Ref": "x"}`."""

    def function(self, suffix: str, node: yaml.Node) -> Any:
        name = suffix if suffix == "Ref" else f"Fn::{suffix}"
        if isinstance(node, yaml.ScalarNode):
            return {name: self.construct_scalar(node)}
        assert isinstance(node, yaml.SequenceNode)
        return {name: self.construct_sequence(node, deep=True)}


_Tagged.add_multi_constructor("!", _Tagged.function)


def parsed() -> dict[str, Any]:
    """The template as data."""
    data: dict[str, Any] = yaml.load(template(), _Tagged)
    return data


class Deployed(NamedTuple):
    """A stack in the stand-in, looked at from behind the gate's back."""

    aws: Aws
    name: str

    @classmethod
    def fresh(cls, aws: Aws) -> "Deployed":
        """One that does not exist yet."""
        return cls(aws, f"gate-{secrets.token_hex(4)}")

    @property
    def args(self) -> list[str]:
        """The command that deploys it, without saying for whom."""
        place = ["--stack", self.name, "--region", self.aws.region, "--endpoint", self.aws.endpoint]
        return ["aws", "deploy", *place]

    def resource(self, logical: str) -> str:
        """What a resource is called in truth."""
        answer = self.aws.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical
        )
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def key_policy(self) -> dict[str, Any]:
        """By Sid, the statements of the signing key's policy."""
        key = self.resource("SigningKey")
        text = self.aws.client("kms").get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        return statements(json.loads(text))

    def bucket_policy(self, bucket: str = "AuditBucket") -> dict[str, Any]:
        """By Sid, the statements of a bucket's policy."""
        text = self.aws.client("s3").get_bucket_policy(Bucket=self.resource(bucket))["Policy"]
        return statements(json.loads(text))

    def trust(self, role: str) -> dict[str, Any]:
        """By Sid, the statements that say who may take a role."""
        answer = self.aws.client("iam").get_role(RoleName=self.resource(role))["Role"]
        return statements(answer["AssumeRolePolicyDocument"])

    def complete(self, days: int = 1) -> None:
        """Make up for what the stand-in leaves out of the template: TTL, point-in-time recovery and Object Lock.

        The services themselves take the template's own values here, whatever CloudFormation of the stand-in ignores.
        """
        resources = parsed()["Resources"]
        table, bucket = self.resource("JtiTable"), self.resource("AuditBucket")
        wanted = resources["JtiTable"]["Properties"]
        dynamodb = self.aws.client("dynamodb")
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted["TimeToLiveSpecification"])
        dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification=wanted["PointInTimeRecoverySpecification"]
        )
        lock = resources["AuditBucket"]["Properties"]["ObjectLockConfiguration"]
        assert lock["Rule"]["DefaultRetention"] == {"Mode": {"Ref": "RetentionMode"}, "Days": {"Ref": "RetentionDays"}}
        lock["Rule"]["DefaultRetention"] = {"Mode": "COMPLIANCE", "Days": days}
        self.aws.client("s3").put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)


def know_github(aws: Aws) -> None:
    """Give the account the identity provider for GitHub, since the stand-in's CloudFormation can't make one."""
    iam = aws.client("iam")
    if not iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        iam.create_open_id_connect_provider(
            Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"]
        )


def statements(document: dict[str, Any]) -> dict[str, Any]:
    """The statements of a policy, by Sid."""
    return {statement["Sid"]: statement for statement in document["Statement"]}


def actions(statement: dict[str, Any]) -> set[str]:
    """The actions of a statement."""
    named = statement["Action"]
    return {named} if isinstance(named, str) else set(named)
