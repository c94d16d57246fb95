"""Slack, and what understands its incoming webhooks (Mattermost, Rocket.Chat): one message for each notice."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from gate.authorities import HINT, distrust
from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.words import Fact, code, facts, headline, inert
from gate.bot.secret import Secret
from gate.deadline import within
from gate.errors import UsageError
from gate.http import is_safe

_TIMEOUT = 10.0  # seconds between two bytes
_PATIENCE = 20.0  # seconds in all
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # the three that Slack asks to be escaped


class Slack:
    """The channel behind an incoming webhook, whose URL is the secret.

    A webhook can't be asked what it has said: a message whose answer got lost is said again, rather than never.
    `requests` is not used here, since its debug log would tell the path of the URL.
    """

    name = "slack"

    def __init__(self, url: Secret, *, patience: float = _PATIENCE) -> None:
        self._url = url
        self._patience = patience

    def check(self) -> None:
        """Check that there is a URL.

        Raises:
            UsageError: there is none, or not one of HTTPS.
        """
        _checked(self._url.read())

    def deliver(self, notice: Notice) -> None:
        """Say it in the channel.

        Raises:
            Undelivered: it was not taken.
        """
        url = _checked(self._url.read())
        body = json.dumps(message(notice)).encode()
        try:
            status, after = within(self._patience, lambda: _post(url, body))
        except TimeoutError:
            status, after = 0, 0.0
        if not 200 <= status < 300:
            raise _refused(status, after)


def message(notice: Notice) -> dict[str, Any]:
    """The message: a link that leads to the page, and no button. Text of others stands in objects of type plain_text,
    which Slack does not interpret, and as code in `text`, for whoever reads only that."""
    about = headline(notice).translate(_ENTITIES)
    link = f"<{notice.url.translate(_ENTITIES)}|Open the request>"
    lines = [about, *(f"{fact.label}: {_coded(fact)}" for fact in facts(notice)), link]
    return {
        "text": "\n".join(lines),
        "blocks": [
            _section({"type": "mrkdwn", "text": f"*{about}*", "verbatim": True}),
            *(_section(_plain(f"{fact.label}: {inert(fact.value)}")) for fact in facts(notice)),
            _section({"type": "mrkdwn", "text": link, "verbatim": True}),
        ],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _coded(fact: Fact) -> str:
    return fact.value if fact.ours else code(fact.value).translate(_ENTITIES)


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text.translate(_ENTITIES), "emoji": False}


def _section(text: dict[str, Any]) -> dict[str, Any]:
    return {"type": "section", "text": text}


def _checked(url: str) -> str:
    """The URL, if it is one that a secret path may be sent to; the error does not repeat it."""
    if not is_safe(url):
        raise UsageError("The Slack webhook is not an https:// URL.", hint="Copy it as Slack shows it.")
    return url


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # the signature is urllib's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """None follows: the answer stays the redirect."""


def _post(url: str, body: bytes) -> tuple[int, float]:
    """The status of the answer, 0 where there is none, and how long it says to wait.

    Raises:
        Undelivered: the server's certificate is not believed.
    """
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "deploy-gate"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 (https, as checked)
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return answer.status, 0.0
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _seconds(error.headers.get("Retry-After", ""))
    except (OSError, HTTPException, ValueError) as error:
        if certificate := distrust(error):
            raise Undelivered(f"The Slack webhook {certificate}.", hint=HINT, final=True) from None
        return 0, 0.0


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _refused(status: int, after: float) -> Undelivered:
    if status == 0:
        return Undelivered("The Slack webhook can't be reached, or did not answer in time.")
    return Undelivered(
        f"The Slack webhook answered {status}.",
        hint="Is its channel still there, and the webhook not revoked?",
        final=300 <= status < 500 and status not in (408, 429),
        after=after or (30.0 if status == 429 else 0.0),
    )
