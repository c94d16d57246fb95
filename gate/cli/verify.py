"""`gate verify`: the gate, as a command."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click

from gate.cli import json_option, policy_option
from gate.cli.deploybot import Bot, bot_options
from gate.cli.policypin import pin_option, pinned
from gate.cli.result import ResultFile, result_options
from gate.cli.target import Named, Target, find_target, locate, target_options
from gate.deployment import Deployment
from gate.errors import Denied, GateError, UsageError, exit_code
from gate.gate import Gate
from gate.models import Check, Decision
from gate.render import decision_lines
from gate.wiring import load_policy, open_history

_MAX_STDIN = 1 << 20


class _Options(NamedTuple):
    approval: tuple[str, ...]
    policy: str
    policy_sha256: str | None
    unsafe_policy_from_checkout: bool
    github_api_url: str
    bot: Bot
    dry_run: bool
    result: ResultFile
    commands: TextIO | None  # where GitHub listens; None where this is not GitHub


@click.command()
@click.option(
    "--approval",
    multiple=True,
    metavar="TOKEN",
    help="An approval token, or - for standard input. Better: GATE_APPROVALS, which `ps` does not show.",
)
@bot_options
@target_options
@click.option("--repository-id", default="", help="The forge's immutable id of the repository.")
@click.option("--request-id", default="", help="The deploy-bot request that the approval answers.")
@policy_option
@pin_option
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
@click.option(
    "--github-api-url",
    default="",
    metavar="URL",
    help="The GitHub to ask who wrote the commits, with GITHUB_TOKEN.  [default: with --ci github, its own]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check only what needs no approval; ask nobody, use up and record nothing. Never ends with 0.",
)
@result_options
@json_option
def verify(
    approval: tuple[str, ...],
    deploy_bot: str,
    wait: str,
    ca_file: Path | None,
    policy: str,
    policy_sha256: str | None,
    github_api_url: str,
    result: Path | None,
    result_nonce: str,
    *,
    rerun: bool,
    unsafe_policy_from_checkout: bool,
    dry_run: bool,
    as_json: bool,
    **named: Any,
) -> None:
    """Decide whether one deployment may run. Exit code 0: allowed; anything else blocks.

    1: denied. 2: usage or configuration. 3: could not decide. 4: a dry run that found no fault.

    \b
    Example:
      gate verify --environment production
    """
    on_github = named["from_ci"] and os.environ.get("GITHUB_ACTIONS") == "true"
    commands = (sys.stderr if as_json else sys.stdout) if on_github else None
    bot, result_file = Bot(deploy_bot, wait, rerun, ca_file), ResultFile(result, result_nonce)
    unsafe = unsafe_policy_from_checkout
    options = _Options(approval, policy, policy_sha256, unsafe, github_api_url, bot, dry_run, result_file, commands)
    decision = _decide(options, Named(**named))
    if as_json:
        click.echo(json.dumps(decision.as_json()))
    else:
        for line in decision_lines(decision, lambda text, colour: click.style(text, fg=colour)):
            click.echo(line)
    if commands:
        from gate.actions import announce  # noqa: PLC0415 (paid for when used)

        announce(decision, os.environ, commands)
    if decision.allowed:
        result_file.write()
    sys.exit(exit_code(decision.reason))


def _decide(options: _Options, named: Named) -> Decision:
    """Whatever goes wrong on the way to the gate is an answer too, and blocks."""
    try:
        return _check(options, named)
    except GateError as error:
        return Decision.of_error(error)
    except Exception as error:  # noqa: BLE001 (a bug blocks, and says that it is one)
        return Decision.of_error(GateError(f"The gate met a bug of its own ({type(error).__name__}), so it blocks."))


def _check(options: _Options, named: Named) -> Decision:
    options.result.check()
    options.bot.seconds()  # what is given has to make sense, whether it is needed or not
    place = locate(named)
    checkout, workspace = place.checkout, place.run.workspace
    loaded = load_policy(
        options.policy,
        pin=pinned(options.policy_sha256),
        untrusted=[folder for folder in (checkout, workspace and Path(workspace)) if folder],
        unsafe_from_checkout=options.unsafe_policy_from_checkout,
        ca_file=options.bot.ca,
    )
    options = options._replace(bot=options.bot._replace(ca=loaded.ca))
    target = find_target(named._replace(environment=loaded.policy.environment_called(named.environment)), place)
    history = open_history(
        checkout,
        api_url=_forge(options, named),
        token=os.environ.get("GITHUB_TOKEN", ""),
        forge_first=loaded.policy.people.unlisted_attested,
        ca=loaded.ca,
    )
    gate = Gate(loaded.policy, loaded.replay_store(), loaded.audit_log(), history=history, checkout=checkout)
    if target.named_actors and loaded.policy.actor_replaces:
        target = target._replace(deployment=replace(target.deployment, actors=target.named_actors))
    if options.dry_run:
        return gate.preflight(target.deployment)
    tokens = _tokens(options.approval)
    if options.bot.url:
        return _check_asked(gate, tokens, options, target)
    return gate.check(tokens, target.deployment)


def _check_asked(gate: Gate, tokens: list[str], options: _Options, target: Target) -> Decision:
    """The same, with the tokens that the deploy-bot hands out, and the request that they answer. People are asked only
    for what no other check would deny."""
    from gate.cli.asking import ask, received  # noqa: PLC0415 (paid for when used)

    try:
        if target.deployment.request_id:
            raise UsageError("With --deploy-bot, the request is what the deploy-bot says.", hint="Drop --request-id.")
        early = gate.preflight(target.deployment, record=True)
        if early.reason != "dry_run":
            return early
        asked, standing = ask(options.bot, target, options.commands)
    except GateError as error:
        return _undecided(error, target.deployment)
    deployment = replace(target.deployment, request_id=asked.id)
    try:
        more = received(options.bot, asked, standing)
    except Denied as denial:
        only_asked = standing.status == "open" and not options.bot.seconds()
        return _undecided(denial, deployment) if only_asked else gate.deny(denial, tokens, deployment)
    return gate.check([*tokens, *more], deployment)


def _undecided(error: GateError, deployment: Deployment) -> Decision:
    """The answer where nobody has decided anything yet, so that there is nothing to record."""
    check = Check("request", "fail", error.expected, error.actual or error.message)
    return Decision(error.reason, error.message, error.hint, deployment.as_json(), checks=(check,))


def _forge(options: _Options, named: Named) -> str:
    """The URL of the API that says who wrote the commits. Variables of that name are GitHub's own in its Actions alone,
    which the command line has to say: elsewhere an earlier step may have set them, and GITHUB_ACTIONS too."""
    if options.github_api_url or named.ci != "github":
        return options.github_api_url
    return os.environ.get("GITHUB_API_URL", "")


def _tokens(given: Sequence[str]) -> list[str]:
    texts = [sys.stdin.read(_MAX_STDIN) if text == "-" else text for text in given]
    return " ".join([*texts, os.environ.get("GATE_APPROVALS", "")]).split()
