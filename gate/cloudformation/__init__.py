"""The AWS side of a gate as one CloudFormation stack, made from `template.yaml` (docs/aws.md).

What it asks of whoever deploys, besides the rights to make what the template lists: `cloudformation:CreateChangeSet`,
`cloudformation:DescribeChangeSet`, `cloudformation:ExecuteChangeSet`, `cloudformation:DeleteChangeSet`,
`cloudformation:DescribeStacks`, `cloudformation:DescribeStackEvents`, `cloudformation:DeleteStack` (what a trial run
leaves), `iam:ListOpenIDConnectProviders`, `kms:GetPublicKey`, `sts:GetCallerIdentity`.
"""

import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from importlib import resources
from itertools import chain, repeat
from typing import Any, NamedTuple

from gate import aws
from gate.cloudformation.trouble import failure, fit, refused, stuck
from gate.errors import UsageError
from gate.keys import PublicKey
from gate.text import printable

PATIENCE = 900.0  # seconds within which AWS must come to an end
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between two questions; the last one goes on
_PROVIDER = "oidc-provider/token.actions.githubusercontent.com"
_REQUIRED = {
    "GitHubRepositories": "--repository",
    "GitHubRepositoryIds": "--repository-id",
    "GitHubEnvironments": "--environment",
}
_SESSION = re.compile(r"(arn:[a-z-]+):sts::([0-9]{12}):assumed-role/([^/]+)/.+")
_NOTHING_NEW = ("didn't contain changes", "No updates are to be performed")


class Step(NamedTuple):
    """What happens to one resource.

    `what` is `Add`, `Modify` or `Remove` in a plan, and CloudFormation's own word when it is carried out, e.g.
    `CREATE_COMPLETE`. `why` is the reason for a failure, safe to show, otherwise "".
    """

    what: str
    resource: str
    type: str
    why: str = ""


class Plan(NamedTuple):
    """A change set that waits to be carried out. No `steps`: the stack is already as it should be."""

    name: str
    creates: bool
    steps: tuple[Step, ...]


def template() -> str:
    """The template: YAML, with a comment on every statement."""
    return resources.files("gate.cloudformation").joinpath("template.yaml").read_text("utf-8")


class Stack:
    """The stack `name` in the `region`, and at the `endpoint`, that `query` names as the query of a URI would."""

    def __init__(self, name: str, query: Mapping[str, str]) -> None:
        """Contacts nobody yet.

        Raises:
            UsageError: no stack can have this name.
        """
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", name):
            raise UsageError(
                "The stack's name is not usable.",
                expected="1 to 128 of A-Z a-z 0-9 -, first a letter",
                actual=printable(name, 140),
            )
        self.name = name
        self._query = query

    def plan(self, given: Mapping[str, str]) -> Plan:
        """What it takes to bring the stack to the template with the parameters `given`, and all others as they were.

        Raises:
            UsageError: a parameter is missing or wrong, the stack can't be changed now, or AWS refuses.
        """
        now = self._describe()
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
        parameters += self._others(given, now) if now else self._first(given)
        name = f"deploy-gate-{secrets.token_hex(8)}"
        self._call(
            "create_change_set",
            ChangeSetName=name,
            ClientToken=name,  # sent again after a lost answer, it is still one
            ChangeSetType="UPDATE" if now else "CREATE",
            TemplateBody=template(),
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM"],
        )
        return self._planned(Plan(name, not now, ()))

    def discard(self, plan: Plan) -> None:
        """Forget a plan, and the empty stack that it hangs on where there was none before.

        Where AWS refuses, it stays: it does nothing until somebody carries it out, and the next plan takes its place.
        """
        with suppress(UsageError):
            if plan.creates:
                self._call("delete_stack")
            else:
                self._call("delete_change_set", ChangeSetName=plan.name)

    def carry_out(self, plan: Plan) -> Iterator[Step]:
        """Do what was planned, and tell each step, until the stack stands.

        Raises:
            UsageError: it failed and was rolled back, or does not come to an end.
        """
        told = {event["EventId"] for event in self._events()}
        failed: list[Step] = []
        self._call("execute_change_set", ChangeSetName=plan.name, ClientRequestToken=plan.name)
        status, turns = "_IN_PROGRESS", _turns(self._what)
        while status.endswith("_IN_PROGRESS"):
            next(turns)
            for event in self._events():
                if event["EventId"] not in told:
                    told.add(event["EventId"])
                    step = _step(event)
                    status = step.what if step.type == "AWS::CloudFormation::Stack" else status
                    failed += [step] if step.what.endswith("_FAILED") else []
                    yield step
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise failure(self._what, failed, status)

    def outputs(self) -> dict[str, str]:
        """The template's outputs by name, fit to show.

        Raises:
            UsageError: there is no such stack, or AWS refuses.
        """
        now = self._describe()
        if not now:
            raise UsageError(f"{self._what} does not exist in this region.", hint="Make it: gate aws deploy.")
        return {item["OutputKey"]: printable(item["OutputValue"]) for item in now.get("Outputs", ())}

    def public_key(self) -> PublicKey:
        """The public part of the stack's signing key.

        Raises:
            UsageError: KMS does not give it.
        """
        alias = f"alias/{self.name}"
        try:
            return PublicKey(aws.client("kms", self._query).get_public_key(KeyId=alias)["PublicKey"])
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            raise refused(error, f"The KMS key {alias}") from None

    @property
    def _what(self) -> str:
        return f"The stack {self.name}"

    @cached_property
    def _client(self) -> Any:
        return aws.client("cloudformation", self._query)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(StackName=self.name, **parameters)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            raise refused(error, self._what) from None
        return answer

    def _describe(self) -> dict[str, Any] | None:
        """The stack as it is; None where there is none, or only the shell around a first plan."""
        try:
            (found,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            if aws.code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise refused(error, self._what) from None
        return None if found["StackStatus"] == "REVIEW_IN_PROGRESS" else dict(found)

    def _events(self) -> list[dict[str, Any]]:
        """The newest hundred or so, the oldest of them first."""
        return sorted(self._call("describe_stack_events")["StackEvents"], key=lambda event: event["Timestamp"])

    def _others(self, given: Mapping[str, str], now: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The parameters that stay as they were."""
        if not re.fullmatch(r"(CREATE|UPDATE|UPDATE_ROLLBACK|IMPORT)_COMPLETE", now["StackStatus"]):
            raise stuck(self._what, self.name, now["StackStatus"])
        names = {item["ParameterKey"] for item in now.get("Parameters", ())}
        if not names >= _REQUIRED.keys():
            raise UsageError(f"{self._what} is none of Deploy Gate's.", hint="Name another one: --stack.")
        as_before = [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(names - given.keys())]
        return as_before + self._maintainers(names | given.keys())

    def _first(self, given: Mapping[str, str]) -> list[dict[str, Any]]:
        """What a new stack must be told besides: which identity provider for GitHub there is, if any, and by whom."""
        for name, option in _REQUIRED.items():
            if not given.get(name):
                raise UsageError(f"{self._what} is new: for whom?", hint=f"Add {option}.")
        try:
            answer = aws.client("iam", self._query).list_open_id_connect_providers()
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            raise refused(error, "The list of identity providers") from None
        found = [item["Arn"] for item in answer["OpenIDConnectProviderList"] if item["Arn"].endswith(_PROVIDER)]
        provider = [{"ParameterKey": "GitHubProviderArn", "ParameterValue": arn} for arn in found]
        return provider + self._maintainers(given.keys())

    def _maintainers(self, known: Collection[str]) -> list[dict[str, Any]]:
        """Who maintains the policy, where that is not known yet: who deploys, by their role rather than its session.

        A session's ARN leaves out the path of its role; no two roles of an account have one name.
        """
        if "PolicyMaintainers" in known:
            return []
        try:
            arn = aws.client("sts", self._query).get_caller_identity()["Arn"]
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is told)
            raise refused(error, "The AWS service that tells who asks (STS)") from None
        lasting = _SESSION.sub(r"\1:iam::\2:role/\3,\1:iam::\2:role/*/\3", arn)
        return [{"ParameterKey": "PolicyMaintainers", "ParameterValue": lasting}]

    def _planned(self, plan: Plan) -> Plan:
        answer: dict[str, Any] = {}
        for _ in _turns(self._what):
            answer = self._call("describe_change_set", ChangeSetName=plan.name)
            if answer["Status"] in ("CREATE_COMPLETE", "FAILED"):
                break
        if answer["Status"] == "CREATE_COMPLETE":
            changes = [item["ResourceChange"] for item in answer["Changes"]]
            return plan._replace(
                steps=tuple(Step(item["Action"], item["LogicalResourceId"], item["ResourceType"]) for item in changes)
            )
        self.discard(plan)
        reason = str(answer.get("StatusReason", ""))
        if any(text in reason for text in _NOTHING_NEW):
            return plan
        raise UsageError(f"{self._what} can't be planned: {fit(reason)}", hint="Correct that, and try again.")


def _turns(what: str) -> Iterator[None]:
    """One turn after the other, with a pause before each but the first, for as long as AWS may take.

    Raises:
        UsageError: it took longer.
    """
    end = time.monotonic() + PATIENCE
    for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
        yield
        if time.monotonic() > end:
            raise UsageError(f"{what} still changes after {PATIENCE:.0f} s.", hint="Look again later: gate aws deploy.")
        time.sleep(pause)


def _step(event: Mapping[str, Any]) -> Step:
    why = event.get("ResourceStatusReason", "") if event["ResourceStatus"].endswith("_FAILED") else ""
    return Step(event["ResourceStatus"], event["LogicalResourceId"], event["ResourceType"], fit(why))
