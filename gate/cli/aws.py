"""`gate aws`: the AWS side of a gate, made by one command."""

from collections.abc import Iterable, Sequence

import click

from gate.aws import check_options
from gate.cli.group import Group
from gate.cli.keys import entry
from gate.cloudformation import Plan, Stack, Step, template
from gate.errors import UsageError
from gate.scope import parse_environment, parse_repository
from gate.text import plural, printable
from gate.uris import Uri

_SPECS = {"Ed25519": "ECC_NIST_EDWARDS25519", "ES256": "ECC_NIST_P256"}
_NEXT = """\
# 1. Into gate.yaml (gate init writes one to start from), in place of its replay, audit and keys:
replay: {Replay}
audit: {Audit}
keys:
{key}

# 2. Have it reviewed, check it, and put it where the jobs read it, as somebody who may (--maintainer):
#   gate doctor --policy gate.yaml
#   aws s3api put-object {at} --bucket {PolicyBucket} --key gate.yaml --body gate.yaml
#   gate policy archive --policy gate.yaml

# 3. Into the job that deploys, which has `environment:` and `permissions: {{contents: read, id-token: write}}`:
#   - uses: aws-actions/configure-aws-credentials@e6de054238d6b7531b4efff3b6587d9aade6a06c # v6.2.3
#     with:
#       role-to-assume: {VerifierRole}
#       aws-region: {region}
#   - uses: OWNER/deploy-gate@0000000000000000000000000000000000000000 # the whole id of the commit that you reviewed
#     with:
#       environment: {environment}
#       policy: {Policy}
#       approvals: ${{{{ secrets.GATE_APPROVALS }}}}

{approve}
# 5. To audit, with the policy {AuditorPolicy}:
#   gate audit verify --policy '{Policy}'
"""
_PEOPLE_APPROVE = """\
# 4. To approve, in a checkout of the commit, as one of {Signers}:
#   aws configure set role_arn {BotRole} --profile deploy-gate
#   aws configure set source_profile default --profile deploy-gate
#   aws configure set region {region} --profile deploy-gate
#   export GATE_POLICY='{Policy}' GATE_SIGNER='{Signer}'
#   AWS_PROFILE=deploy-gate gate approve --environment {environment} --approver "$(git config user.email)"
# The job takes what that prints from its secret GATE_APPROVALS.
"""
_BOT_APPROVES = """\
# 4. Into the bot.yaml of a deploy-bot that runs as a task on ECS with the role {BotRole}:
#   policy: {Policy}
#   signer: {Signer}
# For people to sign with gate approve, deploy again with --signer-principal.
"""
_MARKS = {"Add": "+", "Modify": "~", "Remove": "-"}


@click.group(cls=Group)
def aws() -> None:
    """Set up the AWS side: table, bucket, signing key, and the roles around them."""


@aws.command(name="template")
def show_template() -> None:
    """Print the CloudFormation template, each statement explained.

    \b
    Example:
      gate aws template > deploy-gate.yaml
    """
    click.echo(template(), nl=False)


@aws.command()
@click.option(
    "--stack", default="deploy-gate", show_default=True, help="What the stack, and the key's alias, is called."
)
@click.option("--region", required=True, help="Where, e.g. eu-west-1.")
@click.option("--repository", multiple=True, help="Who may verify: owner/name. Repeat it for more.")
@click.option("--repository-id", multiple=True, metavar="ID",
              help="The id of each, in this order: gh api repos/OWNER/NAME --jq .id")  # fmt: skip
@click.option("--environment", multiple=True, help="From jobs of which environment. Repeat it for more.")
@click.option("--subject", default="", help="What the OIDC token's sub looks like, where you changed its form.")
@click.option(
    "--signer-principal", multiple=True, metavar="ARN",
    help="Who may sign: people's role, a bot's. Repeat it for more.  [default: this account's ECS tasks]",
)  # fmt: skip
@click.option(
    "--maintainer", multiple=True, metavar="ARN",
    help="Who alone may write the policy. Repeat it for more.  [default: who deploys first]",
)  # fmt: skip
@click.option("--alg", type=click.Choice(list(_SPECS)), help="The signing key's algorithm.  [default: Ed25519]")
@click.option("--retention-days", type=click.IntRange(1, 36500), help="How long records are locked.  [default: 2557]")
@click.option("--retention-mode", type=click.Choice(["COMPLIANCE", "GOVERNANCE"]),
              help="COMPLIANCE: nobody can delete one before.  [default: COMPLIANCE]")  # fmt: skip
@click.option("--endpoint", default="", help="Another endpoint than AWS itself, for all services.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def deploy(
    stack: str,
    region: str,
    repository: tuple[str, ...],
    repository_id: tuple[str, ...],
    environment: tuple[str, ...],
    subject: str,
    signer_principal: tuple[str, ...],
    maintainer: tuple[str, ...],
    alg: str | None,
    retention_days: int | None,
    retention_mode: str | None,
    endpoint: str,
    *,
    dry_run: bool,
) -> None:
    """Create or update the stack, and print what belongs into gate.yaml, and what to do next.

    What is not given stays as it was. Needs AWS credentials that may make all that the template lists.

    \b
    Example:
      gate aws deploy --region eu-west-1 --repository acme/shop --repository-id 123456789 --environment production
    """
    given = {
        "GitHubRepositories": ",".join(parse_repository(name) for name in repository),
        "GitHubRepositoryIds": ",".join(_ids(repository, repository_id)),
        "GitHubEnvironments": ",".join(parse_environment(name) for name in environment),
        "GitHubSubject": subject,
        "BotPrincipals": ",".join(signer_principal),
        "PolicyMaintainers": ",".join(maintainer),
        "SigningKeySpec": _SPECS[alg] if alg else "",
        "RetentionDays": str(retention_days or ""),
        "RetentionMode": retention_mode or "",
    }
    query = {"region": region} | ({"endpoint": endpoint} if endpoint else {})
    check_options(Uri(f"--region {printable(region)}", "--endpoint", "", query))
    place = Stack(stack, query)
    plan = place.plan({name: value for name, value in given.items() if value})
    _show(plan)
    if dry_run:
        place.discard(plan)
        return
    _follow(place.carry_out(plan) if plan.steps else ())
    click.echo(_results(place.outputs(), entry(place.public_key(), ""), query), nl=False)


def _ids(names: Sequence[str], ids: Sequence[str]) -> Sequence[str]:
    """The ids, one for each name."""
    if len(names) != len(ids) or not all(value.isascii() and value.isdigit() for value in ids):
        raise UsageError(
            "Each --repository needs its --repository-id: a name can be given up, and taken by somebody else.",
            expected=plural(len(names), "number"),
            actual=printable(" ".join(ids)) or "none",
            hint="gh api repos/OWNER/NAME --jq .id",
        )
    return ids


def _show(plan: Plan) -> None:
    if not plan.steps:
        click.echo("Nothing to change.", err=True)
    for step in plan.steps:
        click.echo(f"{_MARKS.get(step.what, '?')} {printable(step.resource)}  {printable(step.type)}", err=True)


def _follow(steps: Iterable[Step]) -> None:
    for step in steps:
        click.echo(f"  {printable(step.what):<28}{printable(step.resource)}", err=True)


def _results(outputs: dict[str, str], key: str, query: dict[str, str]) -> str:
    """YAML; what does not belong into the policy stands in comments."""
    more = f"&endpoint={query['endpoint']}" if "endpoint" in query else ""
    uris = {name: f"{outputs[name]}{more}" for name in ("Replay", "Audit", "Policy", "Signer")}
    at = f"--region {query['region']}" + (f" --endpoint-url {query['endpoint']}" if more else "")
    environment = outputs["Environments"].partition(",")[0]
    known = {**outputs, **uris, "region": query["region"], "environment": environment}
    approve = _BOT_APPROVES if outputs["Signers"] == "ecs-tasks.amazonaws.com" else _PEOPLE_APPROVE
    return _NEXT.format(**known, key=key, at=at, approve=approve.format(**known))
