"""`gate approve`: an engineer says yes to one deployment."""

import time
from pathlib import Path

import click

from gate.checkout import find, head, remote_repository
from gate.cli import policy_option
from gate.cli.init import KEY
from gate.cli.pin import ask_pin
from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.fields import seconds
from gate.issuer import Issuer
from gate.policy import Policy
from gate.signers import open_signer
from gate.verification import check_age, check_passkeys, verify
from gate.wiring import LoadedPolicy, load_policy

_DEFAULT_LIFE = 600  # seconds


@click.command()
@click.option("--repository", default="", help="owner/name.  [default: that of the checkout's origin]")
@click.option("--sha", default="", help="The whole commit id.  [default: the checkout's HEAD]")
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
) -> None:
    """Print an approval token for one commit of one repository into one environment.

    The token works once, for a few minutes, and only for that. Treat it like a password until then.

    \b
    Example:
      gate approve --environment production --approver alice@example.com --reason "hotfix for login"
    """
    loaded = load_policy(policy) if "://" in policy or Path(policy).exists() else None
    checkout = find(Path.cwd())
    deployment = Deployment(
        repository=repository or _repository(checkout),
        sha=sha or _sha(checkout),
        environment=environment,
        run_id=run_id,
        repository_id=repository_id,
    )
    if loaded and not loaded.base and not signer:
        raise UsageError(
            "Which key? The policy is not in a folder that has one.", hint="Add --signer, or set GATE_SIGNER."
        )
    key = open_signer(signer or f"file:{KEY}", Path.cwd() if signer or not loaded else loaded.base, ask_pin)
    now, life = int(time.time()), _life(ttl, environment, loaded)
    issuer = Issuer.under(loaded.policy, key) if loaded else Issuer(key)
    token = issuer.issue(deployment, approver, now=now, ttl=life, reason=reason)
    click.echo(token)
    click.echo(f"{approver} approves {deployment.scope} into {environment}, once, within {life} s.", err=True)
    if loaded:
        _warn(token, deployment, loaded.policy, now)


def _repository(checkout: Path | None) -> str:
    found = remote_repository(checkout) if checkout else None
    if not found:
        raise UsageError("Which repository? There is no checkout here with an origin.", hint="Add --repository.")
    return found


def _sha(checkout: Path | None) -> str:
    if not checkout:
        raise UsageError("Which commit? There is no checkout here.", hint="Add --sha.")
    return head(checkout)


def _life(ttl: str, environment: str, loaded: LoadedPolicy | None) -> int:
    """The life that was asked for, or ten minutes, or less where the policy asks for less."""
    if ttl:
        life = seconds(ttl)
        if life is None:
            raise UsageError("--ttl is not a duration.", expected="e.g. 90s, 10m or 1h", actual=ttl)
        return life
    known = loaded.policy.environments.get(environment) if loaded else None
    return min(_DEFAULT_LIFE, known.max_age) if known else _DEFAULT_LIFE


def _warn(token: str, deployment: Deployment, policy: Policy, now: int) -> None:
    """Say now what the gate would say later. Which run it will be, and who else approves, is not known yet."""
    try:
        approvals = verify([token], deployment, policy, now)
        environment = policy.environments[deployment.environment]
        check_age(approvals, environment)
        check_passkeys(approvals, environment, policy)
    except Denied as denial:
        if denial.reason == "approvals.insufficient":
            click.echo(f"note: {denial.message}", err=True)
        else:
            click.echo(f"warning: the gate would deny this approval ({denial.reason}): {denial.message}", err=True)
