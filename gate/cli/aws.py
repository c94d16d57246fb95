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
_ACTION = "aws-actions/configure-aws-credentials@e6de054238d6b7531b4efff3b6587d9aade6a06c # v6.2.3"
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
    "--bot-principal", multiple=True, metavar="ARN", help="Who may sign.  [default: this account's ECS tasks]"
)
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
    bot_principal: tuple[str, ...],
    alg: str | None,
    retention_days: int | None,
    retention_mode: str | None,
    endpoint: str,
    *,
    dry_run: bool,
) -> None:
    """Create or update the stack, and print what belongs into gate.yaml and into the workflow.

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
        "BotPrincipals": ",".join(bot_principal),
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
    for line in _results(place.outputs(), entry(place.public_key(), ""), query):
        click.echo(line)


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


def _results(outputs: dict[str, str], key: str, query: dict[str, str]) -> list[str]:
    """Lines of YAML; what does not belong into the policy stands in comments."""
    more = f"&endpoint={query['endpoint']}" if "endpoint" in query else ""
    return [
        "# Into gate.yaml:",
        f"replay: {outputs['Replay']}{more}",
        f"audit: {outputs['Audit']}{more}",
        "keys:",
        key,
        "",
        "# Into the job that deploys, which has `environment:` and `permissions: {id-token: write}`:",
        f"#   - uses: {_ACTION}",
        "#     with:",
        f"#       role-to-assume: {outputs['VerifierRole']}",
        f"#       aws-region: {query['region']}",
        "",
        f"# Who signs does so as {outputs['BotRole']}:",
        f"#   gate approve --signer '{outputs['Signer']}{more}' …",
        f"# Who audits needs the policy {outputs['AuditorPolicy']}.",
    ]
