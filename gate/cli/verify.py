"""`gate verify`: the gate, as a command."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from gate.checkout import find, head, remote_repository
from gate.ci import CiRun, detect
from gate.cli import json_option, policy_option
from gate.deployment import Deployment
from gate.errors import GateError, UsageError, exit_code
from gate.gate import Gate
from gate.models import Decision
from gate.render import decision_lines
from gate.wiring import load_policy, open_history

_MAX_STDIN = 1 << 20


class _Options(NamedTuple):
    approval: tuple[str, ...]
    repository: str
    sha: str
    environment: str
    actor: tuple[str, ...]
    run_id: str
    repository_id: str
    request_id: str
    policy: str
    policy_sha256: str | None
    unsafe_policy_from_checkout: bool
    checkout: Path | None
    from_ci: bool


@click.command()
@click.option(
    "--approval",
    multiple=True,
    metavar="TOKEN",
    help="An approval token, or - for standard input. Better: GATE_APPROVALS, which `ps` does not show.",
)
@click.option("--repository", default="", envvar="GATE_REPOSITORY", help="What is to be deployed: owner/name.")
@click.option("--sha", default="", envvar="GATE_SHA", help="At which commit: the whole id.")
@click.option("--environment", default="", envvar="GATE_ENVIRONMENT", help="Where to, e.g. production.")
@click.option(
    "--actor", multiple=True, help="Who triggered the run: a login or an e-mail address. Repeat for a re-run."
)
@click.option("--run-id", default="", help="Which CI run asks.")
@click.option("--repository-id", default="", help="The forge's immutable id of the repository.")
@click.option("--request-id", default="", help="The deploy-bot request that the approval answers.")
@policy_option
@click.option("--policy-sha256", envvar="GATE_POLICY_SHA256", help="The SHA-256 that the policy must have, or none.")
@click.option(
    "--unsafe-policy-from-checkout",
    is_flag=True,
    help="Accept a policy that the commit under deployment could have changed.",
)
@click.option(
    "--checkout",
    type=click.Path(path_type=Path),
    help="The checkout to be deployed.  [default: the one around the current folder]",
)
@click.option("--from-ci", is_flag=True, help="Take what is not given from the CI's own variables.")
@json_option
def verify(*, as_json: bool, **options: object) -> None:
    """Decide whether one deployment may run. Exit code 0: allowed; anything else blocks.

    1: denied. 2: usage or configuration. 3: could not decide.

    \b
    Example:
      gate verify --repository acme/shop --sha "$(git rev-parse HEAD)" --environment production
    """
    decision = _decide(_Options(**options))  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(decision.as_json()))
    else:
        for line in decision_lines(decision, lambda text, colour: click.style(text, fg=colour)):
            click.echo(line)
    if options["from_ci"] and os.environ.get("GITHUB_ACTIONS") == "true":
        from gate.actions import announce  # noqa: PLC0415 (paid for when used)

        announce(decision, os.environ, sys.stderr if as_json else sys.stdout)
    sys.exit(exit_code(decision.reason))


def _decide(options: _Options) -> Decision:
    """Whatever goes wrong on the way to the gate is an answer too, and blocks."""
    try:
        return _check(options)
    except GateError as error:
        return Decision.of_error(error)
    except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
        return Decision.of_error(GateError(f"The gate met a bug of its own ({type(error).__name__}), so it blocks."))


def _check(options: _Options) -> Decision:
    if not options.environment:
        raise UsageError("Which environment?", hint="Add --environment, or set GATE_ENVIRONMENT.")
    run = (detect(os.environ) if options.from_ci else None) or CiRun(ci="")
    checkout = _checkout(options, run)
    deployment = Deployment(
        repository=options.repository or run.repository or _found(remote_repository, checkout, options, "repository"),
        sha=options.sha or _sha(run, checkout, options),
        environment=options.environment,
        actors=tuple(dict.fromkeys((*options.actor, *run.actors))),
        run_id=options.run_id or run.run_id,
        repository_id=options.repository_id or run.repository_id,
        request_id=options.request_id,
    )
    loaded = load_policy(
        options.policy,
        pin=_pin(options),
        untrusted=[folder for folder in (checkout, run.workspace and Path(run.workspace)) if folder],
        unsafe_from_checkout=options.unsafe_policy_from_checkout,
    )
    history = open_history(
        checkout, api_url=os.environ.get("GITHUB_API_URL", ""), token=os.environ.get("GITHUB_TOKEN", "")
    )
    gate = Gate(loaded.policy, loaded.replay_store(), loaded.audit_log(), history=history, checkout=checkout)
    return gate.check(_tokens(options.approval), deployment)


def _pin(options: _Options) -> str:
    """The digest that the policy must have. Empty is what an unset variable looks like, and pins nothing silently."""
    pin = os.environ.get("GATE_POLICY_SHA256") if options.policy_sha256 is None else options.policy_sha256
    if pin == "":
        raise UsageError(
            "The policy's SHA-256 is empty.", hint="Is the variable that it comes from set? For no pin write none."
        )
    return "" if pin in (None, "none") else pin


def _checkout(options: _Options, run: CiRun) -> Path | None:
    """The checkout that was named, or the one around the CI's workspace or the current folder, if any."""
    if options.checkout:
        found = find(options.checkout) if options.checkout.is_dir() else None
        if not found:
            raise UsageError(f"{options.checkout}: is no checkout.", hint="Name the folder that git cloned into.")
        return found
    workspace = Path(run.workspace or Path.cwd())
    found = find(workspace)
    if not found and run.workspace and [*workspace.glob("*/.git"), *workspace.glob("*/*/.git")]:
        raise UsageError(
            "The CI's workspace holds a checkout, but is none.", hint="Say which folder it is: --checkout."
        )
    return found


def _sha(run: CiRun, checkout: Path | None, options: _Options) -> str:
    if run.why_no_sha:
        raise UsageError(run.why_no_sha, hint="Say which commit is to be deployed: --sha, GATE_SHA or the input sha.")
    return run.sha or _found(head, checkout, options, "sha")


def _found(look: Callable[[Path], str | None], checkout: Path | None, options: _Options, what: str) -> str:
    """What `look` finds in the checkout; a CI may leave it to that, a caller of plain `gate verify` must say it."""
    value = look(checkout) if options.from_ci and checkout else None
    if not value:
        raise UsageError(f"Which {what} is to be deployed?", hint=f"Add --{what}, or set GATE_{what.upper()}.")
    return value


def _tokens(given: Sequence[str]) -> list[str]:
    texts = [sys.stdin.read(_MAX_STDIN) if text == "-" else text for text in given]
    return " ".join([*texts, os.environ.get("GATE_APPROVALS", "")]).split()
