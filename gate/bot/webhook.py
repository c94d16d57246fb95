"""GitHub's custom deployment protection rule: GitHub holds the job, and asks here. gate.bot.hold answers.

See GitHub, "Creating custom deployment protection rules" and "Validating webhook deliveries".
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gate.bot.errors import BotError, NotProved
from gate.errors import UsageError
from gate.scope import parse_repository, parse_sha

MAX_BODY = 1 << 20  # bytes; more than the payload of this event ever needs
_EVENT = "deployment_protection_rule"
_CALLBACK = re.compile(rf"(?:/api/v3)?/repos/([^/]+/[^/]+)/actions/runs/([1-9][0-9]{{0,18}})/{_EVENT}")
_ENVIRONMENT = re.compile(r"[^\x00-\x1f\x7f]{1,255}")  # the policy says which it is
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(?:\[bot\])?")


class ProtectionRequest(NamedTuple):
    """A job that GitHub holds: which commit it would deploy where, and what started its run.

    `environment` is what GitHub calls it, `event` the event of the run, e.g. `push`, `ref` what it runs on; `actor` is
    the login, and `actor_id` the account's id, of whoever GitHub says it is for; `delivery` is the same when it is
    delivered again.
    """

    repository: str
    repository_id: str
    sha: str
    environment: str
    run_id: str
    actor: str
    actor_id: str
    event: str
    ref: str
    delivery: str


def receive(body: bytes, headers: Mapping[str, str], secret: str) -> ProtectionRequest | None:
    """What a delivery asks for, None where it is another event: it is for GitHub's information, and gets its 204.

    `headers` is asked for names in lower case. Nothing of `body` is looked at before its signature is verified.

    Raises:
        NotProved: the signature is missing, or was not made with `secret`.
        BotError: the event is signed, but not as GitHub documents it.
    """
    _authenticate(body, headers.get("x-hub-signature-256", ""), secret)
    if headers.get("x-github-event", "") != _EVENT:
        return None
    try:
        payload = json.loads(body)
        if not isinstance(payload, dict) or payload.get("action") != "requested":
            return None
        return _request(payload, hashlib.sha256(body).hexdigest())  # its id in the headers is not signed
    except UsageError as error:
        raise BotError(error.message, hint=error.hint, expected=error.expected, actual=error.actual) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BotError(
            "The webhook's payload is not a deployment_protection_rule as GitHub documents it.",
            hint="Set the webhook's content type to application/json.",
        ) from None


def _authenticate(body: bytes, signature: str, secret: str) -> None:
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not secret or not hmac.compare_digest(signature.encode(), expected.encode()):
        raise NotProved(
            "The webhook's signature is not one by the configured secret.",
            hint="Set the same secret at GitHub and in `github.webhook_secret`.",
        )


def _request(payload: dict[str, Any], delivery: str) -> ProtectionRequest:
    repository = parse_repository(payload["repository"]["full_name"])
    sha = parse_sha(payload["sha"])
    deployment = payload.get("deployment")
    if deployment is not None and deployment["sha"] != sha:
        raise UsageError("The deployment is of another commit.")
    return ProtectionRequest(
        repository=repository,
        repository_id=str(int(payload["repository"]["id"])),
        sha=sha,
        environment=_matched(_ENVIRONMENT, payload["environment"]),
        run_id=_run_id(payload["deployment_callback_url"], repository),
        actor=_matched(_LOGIN, payload["sender"]["login"]),
        actor_id=str(int(payload["sender"]["id"])),
        event=_matched(re.compile(r"[a-z_]{1,60}"), payload["event"]),
        ref=_shown(payload.get("ref")),
        delivery=delivery,
    )


def _run_id(url: str, repository: str) -> str:
    match = _CALLBACK.fullmatch(urlsplit(url).path)
    if not match or match[1].lower() != repository:
        raise UsageError("The callback is not one for the repository.")
    return match[2]


def _shown(ref: object) -> str:
    """What people are only to see: however it is spelled, the delivery does not depend on it."""
    return ref[:300] if isinstance(ref, str) and ref.isprintable() else ""


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise UsageError("A field holds what it can't.")
    return text
