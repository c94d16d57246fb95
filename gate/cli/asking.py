"""Asking the deploy-bot from a job: what proves who asks, and what people are told while it waits."""

import os
import re
from collections.abc import Mapping
from typing import TextIO

import click

from gate.ci import CiRun
from gate.cli.deploybot import Bot
from gate.cli.target import Target
from gate.errors import Denied, UsageError
from gate.requester import Asked, Requester, Standing, check_audience, check_url, github_id_token, tokens_of
from gate.text import legible, plural, printable


def ask(bot: Bot, target: Target, commands: TextIO | None) -> tuple[Asked, Standing]:
    """Ask, show people the link, and wait: the request, and how it stands then.

    Progress goes to stderr; `commands` is where GitHub listens for its own, None where this is not GitHub.

    Raises:
        BotUnavailable: the bot does not answer as it must.
        UsageError: an option makes no sense, there is nothing to prove with who asks, or the bot refuses.
    """
    patience, url = bot.seconds(), bot.url.rstrip("/")
    check_url(url)  # before there is a token for it
    requester = Requester(url, _credential(bot, os.environ, target.run), tell=_say, ca=bot.ca)
    attempt, waits = _attempt(target.run), bool(patience)
    asked = requester.ask(target.deployment, attempt=attempt, rerun=bot.rerun, waits=waits, seconds=patience)
    _say(f"approval asked for: {asked.url}")
    if commands:
        from gate.actions import announce_request  # noqa: PLC0415 (paid for when used)

        announce_request(asked.url, target.deployment, os.environ, commands)
    if patience and asked.standing.status == "open":
        _say(f"waiting for at most {bot.wait}: {asked.standing.progress}")
    standing = requester.wait(asked, patience, lambda news: _say(_told(news)))
    if commands:
        from gate.actions import hide  # noqa: PLC0415 (paid for when used)

        hide(standing.tokens, os.environ, commands)
    return asked, standing


def received(bot: Bot, asked: Asked, standing: Standing) -> tuple[str, ...]:
    """The tokens that the request came to.

    Raises:
        Denied: it came to none: declined, run out, or not approved yet.
    """
    if standing.status == "open" and not bot.seconds():
        raise Denied(
            "token.missing",
            "It is not approved yet.",
            expected=plural(standing.needed, "approval"),
            actual=standing.progress,
            hint=f"Once it is approved at {asked.url} the deploy-bot runs this job again."
            if bot.rerun
            else f"Once it is approved at {asked.url} run this again, as the same run (--run-id).",
        )
    return tokens_of(asked, standing)


def _say(text: str) -> None:
    click.echo(f"gate: {legible(text)}", err=True)


def _told(standing: Standing) -> str:
    return standing.progress if standing.status == "open" else f"{standing.status}: {standing.progress}"


def _attempt(run: CiRun) -> int:
    """Which try of its run this is, 0 where that is not known."""
    if not run.attempt:
        return 0
    if not re.fullmatch(r"[1-9][0-9]{0,8}", run.attempt):
        raise UsageError("The CI's count of attempts is none.", actual=printable(run.attempt, 40))
    return int(run.attempt)


def _credential(bot: Bot, environ: Mapping[str, str], run: CiRun) -> str:
    """What proves to the bot which job asks: the CI's OIDC token, or an API token of the bot."""
    url = bot.url.rstrip("/")
    request_url = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    request_token = environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    if request_url and request_token:
        return github_id_token(request_url, request_token, url, tell=_say, ca=bot.ca)
    id_token, token = environ.get("GATE_ID_TOKEN", "").strip(), environ.get("GATE_BOT_TOKEN", "").strip()
    if id_token:
        check_audience(id_token, url)  # whoever set the URL must not get a token that is good elsewhere
        return id_token
    if not token:
        raise UsageError("The deploy-bot has to know which job asks, and nothing here proves it.", hint=_how(url, run))
    return token


def _how(url: str, run: CiRun) -> str:
    """What to add to the job, so that it can prove itself."""
    if run.ci == "GitHub Actions":
        return "Add `id-token: write` to the job's `permissions:`, beside `contents: read`."
    if run.ci == "GitLab CI":
        return f"Add to the job: `id_tokens: {{GATE_ID_TOKEN: {{aud: {url}}}}}`."
    return f"Set GATE_BOT_TOKEN to an API token of the deploy-bot, or, on GitLab, GATE_ID_TOKEN to a token for {url}."
