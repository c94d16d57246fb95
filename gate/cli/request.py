"""`gate request`: ask the deploy-bot for an approval, and print what comes of it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from gate.authorities import read_authorities
from gate.cli import complain, json_option
from gate.cli.asking import ask, received
from gate.cli.deploybot import Bot, bot_options
from gate.cli.target import Named, find_target, locate, target_options
from gate.errors import Denied, UsageError, exit_code
from gate.requester import Asked, Standing
from gate.text import printable


@click.command()
@bot_options
@target_options
@json_option
def request(deploy_bot: str, wait: str, ca_file: Path | None, *, rerun: bool, as_json: bool, **named: Any) -> None:
    """Ask the deploy-bot for an approval, wait for it, and print the tokens, one a line.

    The link for people is on stderr at once. Exit code 0: approved; 1: not approved, or not yet; 2: usage, or the bot
    refuses; 3: the bot can't be reached.
    The tokens are good for this request alone: tell `gate verify` its --request-id, which --json shows. Treat them
    like passwords.

    \b
    Example:
      gate request --deploy-bot https://gate.example.com --from-ci --environment production --json
    """
    if not deploy_bot:
        raise UsageError("Which deploy-bot?", hint="Add --deploy-bot, or set GATE_DEPLOY_BOT.")
    if ca_file:
        read_authorities(ca_file)
    bot = Bot(deploy_bot, wait, rerun, ca_file)
    options = Named(**named)
    target = find_target(options, locate(options))
    on_github = named["from_ci"] and os.environ.get("GITHUB_ACTIONS") == "true"
    asked, standing = ask(bot, target, sys.stderr if on_github else None)
    denial = None
    try:
        tokens = received(bot, asked, standing)
    except Denied as error:
        denial, tokens = error, ()
        complain(error)
    if as_json:
        click.echo(json.dumps(_as_json(asked, standing, denial)))
    else:
        click.echo("".join(f"{token}\n" for token in tokens), nl=False)
    sys.exit(exit_code(denial.reason) if denial else 0)


def _as_json(asked: Asked, standing: Standing, denial: Denied | None) -> dict[str, Any]:
    """The object that `--json` prints (docs/reference.md)."""
    return {
        "request_id": asked.id,
        "url": asked.url,
        "status": standing.status,
        "needed": standing.needed,
        "approvers": [printable(approver) for approver in standing.approvers],
        "expires_at": standing.expires_at,
        "tokens": list(standing.tokens),
        "reason": denial.reason if denial else None,
        "message": denial.message if denial else None,
    }
