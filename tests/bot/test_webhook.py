"""GitHub's deliveries: its own examples (npm @octokit/webhooks-examples), signed with a secret of the test's."""

import hashlib
import hmac
import json
from copy import deepcopy
from functools import lru_cache
from typing import Any

import pytest

from gate.bot.errors import BotError, NotProved
from gate.bot.web import status_of
from gate.bot.webhook import ProtectionRequest, receive
from tests.bot.description import NODE, check
from tests.bot.news import HOSTILE
from tests.parts import need

SECRET = "It's a Secret to Everybody"
EVENT = "deployment_protection_rule"
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
RUN = 30433642


@lru_cache
def examples() -> dict[str, list[dict[str, Any]]]:
    """GitHub's examples, by event."""
    file = NODE / "@octokit/webhooks-examples/api.github.com/index.json"
    need(file.is_file(), "GitHub's webhook examples (scripts/test installs them in tests/node)")
    return {entry["name"]: entry["examples"] for entry in json.loads(file.read_bytes())}


def asked(**changed: Any) -> dict[str, Any]:
    """A delivery of the event, of which there is no example: of the parts of others, as the description has it."""
    made = deepcopy(next(one for one in examples()["deployment"] if "installation" in one))
    review = deepcopy(examples()["deployment_review"][0])
    payload = {
        "action": "requested",
        "environment": "production",
        "event": "push",
        "sha": made["deployment"]["sha"],
        "ref": "refs/heads/main",
        "deployment_callback_url": f"{made['repository']['url']}/actions/runs/{RUN}/{EVENT}",
        "deployment": made["deployment"],
        "pull_requests": [],
        "repository": made["repository"],
        "organization": review["organization"],
        "installation": made["installation"],
        "sender": made["sender"],
    }
    check(payload, "#/components/schemas/webhook-deployment-protection-rule-requested")
    return payload | changed


def headers(body: bytes, event: str = EVENT, secret: str = SECRET) -> dict[str, str]:
    return {
        "x-github-event": event,
        "x-github-delivery": DELIVERY,
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def deliver(payload: Any, event: str = EVENT) -> ProtectionRequest | None:
    body = json.dumps(payload).encode()
    return receive(body, headers(body, event), SECRET)


def test_githubs_own_example_of_a_signature() -> None:
    """GitHub, "Validating webhook deliveries", "Testing the webhook payload validation"."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert receive(b"Hello, World!", {"x-hub-signature-256": signature, "x-github-event": "ping"}, SECRET) is None


def test_a_job_that_github_holds() -> None:
    payload = asked()
    assert deliver(payload) == ProtectionRequest(
        repository=payload["repository"]["full_name"].lower(),
        repository_id=str(payload["repository"]["id"]),
        sha=payload["sha"],
        environment="production",
        run_id=str(RUN),
        actor=payload["sender"]["login"],
        actor_id=str(payload["sender"]["id"]),
        event="push",
        ref="refs/heads/main",
        delivery=hashlib.sha256(json.dumps(payload).encode()).hexdigest(),
    )


@pytest.mark.parametrize(
    ("ref", "shown"),
    [("refs/heads/größe", "refs/heads/größe"), ("r" * 999, "r" * 300), ("a\nb", ""), (None, ""), (7, "")],
)
def test_a_ref_is_only_shown(ref: object, shown: str) -> None:
    found = deliver(asked(ref=ref))
    assert found
    assert found.ref == shown


def test_without_a_deployment() -> None:
    found = deliver(asked(deployment=None))
    assert found
    assert found.run_id == str(RUN)


def test_at_an_enterprise_server() -> None:
    payload = asked()
    name = payload["repository"]["full_name"]
    payload["deployment_callback_url"] = f"https://ghe.example.com/api/v3/repos/{name}/actions/runs/1/{EVENT}"
    found = deliver(payload)
    assert found
    assert found.run_id == "1"


def test_every_other_event_is_passed_over() -> None:
    count = 0
    for event, payloads in examples().items():
        for payload in payloads:
            count += 1
            assert deliver(payload, event) is None
    assert count > 200


def test_other_actions_are_passed_over() -> None:
    assert deliver(asked(action="completed")) is None
    assert deliver([]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256="},
        {"x-hub-signature-256": "sha256=é"},
        {"x-hub-signature-256": "sha1=" + "0" * 40},
        {"x-hub-signature-256": "sha256=" + "0" * 64},
    ],
)
def test_a_wrong_signature(change: dict[str, str]) -> None:
    body = json.dumps(asked()).encode()
    with pytest.raises(NotProved) as caught:
        receive(body, headers(body) | change, SECRET)
    assert status_of(caught.value) == 401
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"


def test_a_signature_of_something_else() -> None:
    body = json.dumps(asked()).encode()
    for other in (body + b" ", b"", json.dumps(asked(environment="staging")).encode()):
        with pytest.raises(NotProved):
            receive(other, headers(body), SECRET)
    with pytest.raises(NotProved):
        receive(body, headers(body, secret="another"), SECRET)


def test_no_signature_of_an_empty_secret() -> None:
    body = json.dumps(asked()).encode()
    with pytest.raises(NotProved):
        receive(body, headers(body, secret=""), "")


@pytest.mark.parametrize("event", ["ping", "unheard_of", ""])
def test_an_unsigned_event_is_refused_whatever_it_is(event: str) -> None:
    with pytest.raises(NotProved):
        receive(b"{}", {"x-github-event": event}, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"sha": "main"},
        {"sha": "a" * 40},
        {"sha": None},
        {"environment": "a\nb"},
        {"environment": "x" * 256},
        {"environment": None},
        {"event": HOSTILE},
        {"event": None},
        {"sender": None},
        {"sender": {"login": HOSTILE}},
        {"repository": None},
        {"repository": {"full_name": "acme/shop", "id": "x"}},
        {"repository": {"full_name": "shop", "id": 1}},
        {"deployment_callback_url": "https://evil.example.com/repos/acme/other/actions/runs/1/" + EVENT},
        {"deployment_callback_url": "https://[/repos"},
        {"deployment_callback_url": None},
    ],
)
def test_a_signed_payload_that_is_not_as_documented(change: dict[str, Any]) -> None:
    with pytest.raises(BotError) as caught:
        deliver(asked() | change)
    assert status_of(caught.value) == 400


@pytest.mark.parametrize("body", [b"", b"payload=%7B%7D", b"[" * 100_000, b"\xff"])
def test_a_signed_body_that_is_no_json(body: bytes) -> None:
    with pytest.raises(BotError, match="not a deployment_protection_rule"):
        receive(body, headers(body), SECRET)


def test_a_delivery_is_known_by_what_is_signed() -> None:
    """Its id in the headers is not: whoever captured a delivery could make it another."""
    body, other = json.dumps(asked()).encode(), json.dumps(asked(ref="refs/heads/other")).encode()
    first = receive(body, headers(body), SECRET)
    assert first
    assert receive(body, headers(body) | {"x-github-delivery": "another"}, SECRET) == first
    second = receive(other, headers(other), SECRET)
    assert second
    assert second.delivery != first.delivery
