"""`gate approve`: an engineer says yes to one deployment."""

import time
from pathlib import Path

import click
from click.core import ParameterSource

from gate.checkout import commit_named, find, head, origin_repository, remote_repository
from gate.cli import policy_option
from gate.cli.init import KEY
from gate.cli.pin import ask_pin
from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.fields import seconds
from gate.issuer import Issuer
from gate.policy import Policy
from gate.signers import open_signer
from gate.tokens import Approval
from gate.trace import CheckName
from gate.verification import CHECKS, judge
from gate.wiring import LoadedPolicy, load_policy

_DEFAULT_LIFE = 600  # seconds
_KNOWN = CHECKS.keys() - {
    CheckName.PARSE,
    CheckName.SIGNATURE,
    CheckName.QUORUM,
    CheckName.SEPARATION,
}  # by one, unsigned


@click.command()
@click.option("--repository", default="", help="owner/name.  [default: that of the checkout's origin]")
@click.option("--sha", default="", help="The whole commit id, or a tag's name.  [default: the checkout's HEAD]")
@click.option("--environment", required=True, help="Where to, e.g. production.")
@click.option("--approver", required=True, help="Who approves: an e-mail address or a login.")
@click.option("--reason", default="", help="Why, in your words; ends up in the audit log.")
@click.option(
    "--ttl", default="", help="How long the approval lives, e.g. 90s.  [default: 10m, or the policy's max_age]"
)
@click.option("--run-id", default="", help="Bind the approval to one CI run.")
@click.option("--repository-id", default="", help="Bind the approval to the forge's immutable repository id.")
@click.option("--signer", default="", envvar="GATE_SIGNER", show_envvar=True,
              help=f"The key to sign with.  [default: file:{KEY} beside the policy]")  # fmt: skip
@click.option("--force", is_flag=True, help="Sign what the gate would refuse, and what the clone here does not know.")
@policy_option
def approve(
    repository: str,
    sha: str,
    environment: str,
    approver: str,
    reason: str,
    ttl: str,
    run_id: str,
    repository_id: str,
    signer: str,
    policy: str,
    *,
    force: bool,
) -> None:
    """Print an approval token for one commit of one repository into one environment.

    The token works once, for a few minutes, and only for that. Treat it like a password until then. What the gate would
    refuse is not signed.

    \b
    Example:
      gate approve --environment production --approver alice@example.com --reason "hotfix for login"
    """
    loaded = _policy(policy, signer)
    environment = loaded.policy.environment_called(environment) if loaded else environment
    checkout = find(Path.cwd())
    repository = repository or _repository(checkout)
    deployment = Deployment(
        repository=repository,
        sha=_sha(sha, repository, checkout, force=force),
        environment=environment,
        run_id=run_id,
        repository_id=repository_id,
    )
    if loaded and not loaded.base and not signer:
        raise UsageError(
            "Which key? The policy is not in a folder that has one.", hint="Add --signer, or set GATE_SIGNER."
        )
    base = Path.cwd() if signer or not loaded else loaded.base
    key = open_signer(signer or f"file:{KEY}", base, ask_pin, loaded.ca if loaded else None)
    now, life = int(time.time()), _life(ttl, environment, loaded)
    issuer = Issuer.under(loaded.policy, key) if loaded else Issuer(key)
    claims = issuer.draft(deployment, approver, now=now, ttl=life, reason=reason)
    if loaded:
        _check(issuer.preview(claims), deployment, loaded.policy, force=force)
    click.echo(issuer.seal(claims))
    click.echo(f"{approver} approves {deployment.scope} into {environment}, once, within {life} s.", err=True)


def _policy(location: str, signer: str) -> LoadedPolicy | None:
    """The policy, None where there is none at the place where it is looked for unasked."""
    asked = click.get_current_context().get_parameter_source("policy") is not ParameterSource.DEFAULT
    if asked or Path(location).exists():
        return load_policy(location)
    if not signer:
        raise UsageError(
            f"No policy was found: there is no {location} here.",
            hint="Say where it is: --policy, or GATE_POLICY. Where there is none yet: gate init.",
        )
    click.echo(f"note: no policy was found (no {location} here), so what a gate would say is not checked.", err=True)
    return None


def _repository(checkout: Path | None) -> str:
    if not checkout:
        raise UsageError("Which repository? There is no checkout here.", hint="Add --repository.")
    return origin_repository(checkout)


def _sha(sha: str, repository: str, checkout: Path | None, *, force: bool) -> str:
    """The commit that was named, or that the checkout stands at; a clone of that repository must not know better."""
    origin = remote_repository(checkout) if checkout else None
    if not sha:
        if not checkout or origin not in (None, repository.lower()):
            raise UsageError(
                f"Which commit? There is no checkout of {repository} here.", hint="Add --sha.", actual=origin or ""
            )
        return head(checkout)
    if force or not checkout or origin != repository.lower():
        return sha
    commit = commit_named(checkout, sha)
    if commit != sha:
        click.echo(f"note: {sha} is a tag of the commit {commit}.", err=True)
    return commit


def _life(ttl: str, environment: str, loaded: LoadedPolicy | None) -> int:
    """The life that was asked for, or ten minutes, or less where the policy asks for less."""
    if ttl:
        life = seconds(ttl)
        if life is None:
            raise UsageError("--ttl is not a duration.", expected="e.g. 90s, 10m or 1h", actual=ttl)
        return life
    known = loaded.policy.environments.get(environment) if loaded else None
    return min(_DEFAULT_LIFE, known.max_age) if known else _DEFAULT_LIFE


def _check(approval: Approval, deployment: Deployment, policy: Policy, *, force: bool) -> None:
    """Say now what the gate would say later. Which run it will be, and who else approves, is not known yet.

    Raises:
        Denied: the gate would refuse the approval, and it is not to be made by force.
    """
    try:
        judge([approval], deployment, policy, approval.issued_at, only=_KNOWN)
    except Denied as denial:
        if not force:
            denial.hint = f"{denial.hint} To sign it all the same: --force."
            raise
        click.echo(f"warning: the gate would deny this approval ({denial.reason}): {denial.message}", err=True)
        return
    environment = policy.environments[deployment.environment]
    if environment.approvals > 1:
        click.echo(f"note: {environment.name} takes {environment.approvals} approvers; this is one.", err=True)
