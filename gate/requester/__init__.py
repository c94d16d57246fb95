"""The job's side of a deploy-bot: ask for an approval, wait for it, receive the tokens (docs/bot.md)."""

import json
import random
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.http import is_safe, is_token
from gate.requester.answers import Asked, Standing, read_asked, read_error, read_standing
from gate.requester.link import Link, NotUnderstood
from gate.text import plural, printable

__all__ = ["Asked", "Requester", "Standing", "check_audience", "check_url", "github_id_token", "tokens_of"]

_PATIENCE = 60.0  # seconds for all tries of one question, where there is no other bound
_MOST_ASKING = 240.0  # the same for asking: GitHub's OIDC token, which proves who asks, is good for five minutes
_LEAST_PAUSE = 2.0  # seconds between two questions; the bot may ask for more
_JITTER = 0.25  # of a pause, at most, so that jobs which began together do not stay together


class Requester:
    """Asks the deploy-bot at `url` (https, or http on this machine), proving with `credential` which job asks.

    `credential` is the CI's OIDC token for the audience `url`, or an API token. `clock` gives seconds that only grow.
    `tell` hears of it when the bot has to be asked again. It is believed by the CAs in the file `ca`, if there is one.

    Raises:
        UsageError: `url` is not one that a token may be sent to, or `credential` can't be one.
    """

    def __init__(
        self,
        url: str,
        credential: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        tell: Callable[[str], object] = lambda _: None,
        ca: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        check_url(self.url)
        if not is_token(credential):
            raise UsageError(
                "The token for the deploy-bot has characters that no token has.", hint="Look for a stray line end."
            )
        self._credential = credential
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._link = Link(
            "The deploy-bot", own_error=read_error, clock=clock, sleep=sleep, jitter=jitter, tell=tell, ca=ca
        )

    def ask(
        self,
        deployment: Deployment,
        *,
        attempt: int = 0,
        rerun: bool = False,
        waits: bool = True,
        seconds: float = _PATIENCE,
    ) -> Asked:
        """Ask for an approval of `deployment`, in that attempt of its run (0: not known). Asked again, it is the same
        request.

        With `rerun` the bot is to run the job again once it is approved; a job that neither `waits` nor is run again
        comes back by itself. It is tried for `seconds`, but for a minute at least and four at most.

        Raises:
            BotUnavailable: the bot can't be reached, or does not answer as it must, for all that time.
            UsageError: the bot does not let this job ask for that.
        """
        body = {
            "repository": deployment.repository,
            "sha": deployment.sha,
            "environment": deployment.environment,
            "run_id": deployment.run_id,
            "attempt": attempt,
            "actors": list(deployment.actors),
            "rerun": rerun,
        }
        if not (waits or rerun):
            body["waits"] = False  # unknown to older bots, so told only where it is needed
        until = self._clock() + min(max(seconds, _PATIENCE), _MOST_ASKING)
        url = f"{self.url}/api/requests"
        return self._link.call(
            "POST", url, self._credential, lambda answer: read_asked(answer, self.url), until=until, body=body
        )

    def wait(self, asked: Asked, seconds: float, on_change: Callable[[Standing], Any] = lambda _: None) -> Standing:
        """How the request stands once it is no longer open, or `seconds` from now. `on_change` hears of each news.

        Raises:
            BotUnavailable: the bot could not be reached, or did not answer as it must, for the rest of the time.
            UsageError: the bot no longer knows the request.
        """
        until = self._clock() + seconds
        standing = asked.standing
        if standing.status != "open":  # the tokens are still to be fetched
            standing = self._poll(asked, max(until, self._clock() + _PATIENCE))
        while standing.status == "open" and until - self._clock() >= _LEAST_PAUSE:
            self._sleep(min(self._pause(standing), until - self._clock()))
            before, standing = standing, self._poll(asked, until)
            if before.news != standing.news:
                on_change(standing)
        return standing

    def _poll(self, asked: Asked, until: float) -> Standing:
        url = f"{self.url}/api/requests/{asked.id}"
        return self._link.call("GET", url, asked.secret, read_standing, until=until)

    def _pause(self, standing: Standing) -> float:
        return max(standing.poll_after, _LEAST_PAUSE) * (1 + _JITTER * self._jitter())


def check_url(url: str) -> None:
    """Check that a token may be sent to `url`.

    Raises:
        UsageError: it may not.
    """
    if not is_safe(url):
        raise UsageError(
            "The deploy-bot's URL is not one that a token may be sent to.",
            expected="https://HOST, as the bot itself calls it",
            actual=printable(url.rpartition("@")[2], 100),
            hint="Begin it with https://, or on this machine http://localhost.",
        )
    if url.count("/") != 2 or url != url.lower():
        raise UsageError(
            "The deploy-bot's URL is not as the bot itself writes it.",
            expected="https://HOST, in lower case and without a path",
            actual=printable(url, 100),
        )


def check_audience(token: str, url: str) -> None:
    """Check that an OIDC token was made for the bot at `url`, and so is worth nothing elsewhere (RFC 7519 §4.1.3).

    Raises:
        UsageError: it was made for another, or is no JWT.
    """
    try:
        payload = token.split(".")[1]
        audience = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["aud"]
    except (ValueError, IndexError, KeyError, TypeError):
        audience = "none that can be read"
    if audience not in (url, [url]):
        raise UsageError(
            "The job's OIDC token was made for another than this deploy-bot, and is not sent there.",
            expected=f"the audience {url}",
            actual=printable(str(audience), 100),
            hint="Ask the CI for a token of this audience (GitLab: id_tokens: GATE_ID_TOKEN: aud), or correct the URL.",
        )


def tokens_of(asked: Asked, standing: Standing) -> tuple[str, ...]:
    """The approval tokens that the request came to.

    Raises:
        Denied: somebody declined (`approval.declined`), or not enough people approved (`token.missing`).
    """
    if standing.status == "approved":
        return standing.tokens
    if standing.status == "declined":
        raise Denied(
            "approval.declined",
            f"{standing.declined_by} declined: {standing.decline_reason or 'no reason was given.'}",
            expected=plural(standing.needed, "approval"),
            actual=f"declined by {standing.declined_by}",
            hint=f"Talk to them, then start a new run: it asks again. The request was {asked.url}",
        )
    in_time = "before the request ran out" if standing.status == "expired" else "in time"
    raise Denied(
        "token.missing",
        f"{'Not enough people' if standing.approvers else 'Nobody'} approved {in_time}.",
        expected=plural(standing.needed, "approval"),
        actual=standing.progress,
        hint=f"Run the job again, and have somebody approve meanwhile. The request was {asked.url}",
    )


def github_id_token(
    request_url: str,
    request_token: str,
    audience: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str], object] = lambda _: None,
    ca: Path | None = None,
) -> str:
    """The OIDC token of this job of GitHub Actions, for `audience`, from the service that GitHub named for it
    (docs.github.com, "OpenID Connect reference"). It is asked for a minute at most.

    Raises:
        BotUnavailable: the service can't be reached, or gives this job no token.
        UsageError: what GitHub named can't be asked.
    """
    if not is_safe(request_url, query=True) or not is_token(request_token):
        raise UsageError(
            "ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are not what GitHub sets.",
            hint="Look for an earlier step that sets them.",
        )
    link = Link("GitHub's token service", clock=clock, sleep=sleep, tell=tell, ca=ca)
    url = f"{request_url}{'&' if '?' in request_url else '?'}audience={quote(audience, safe='')}"
    return link.call("GET", url, request_token, _id_token, until=clock() + _PATIENCE)


def _id_token(answer: dict[str, Any]) -> str:
    token = answer.get("value")
    if not isinstance(token, str) or not is_token(token):
        raise NotUnderstood("GitHub's token service did not answer with a token.", hint="Run the job again.")
    return token
