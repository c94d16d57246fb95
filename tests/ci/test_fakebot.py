"""The bot of these tests answers as the real one does: the same statuses, and the same members in the same places."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot.provider import Provider, serving
from tests.bot.running import API_TOKEN, Place
from tests.bot.running import running_bot as running_real_bot
from tests.bot.visitor import Answer, Visitor
from tests.ci import fakebot
from tests.ci.runs import SHA
from tests.world import ALICE

BODY = {"repository": "acme/shop", "sha": SHA, "environment": "production", "attempt": 1, "actors": [], "rerun": False}
Decide = Callable[[str], object]
"""Somebody approves, or declines, the request of this id."""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a deploy-bot answers."""
    with serving(Provider()) as provider:
        place = Place(tmp_path)
        place.sign_in_with(provider)
        with running_real_bot(place):
            alice = Visitor(place.url, place.port)
            alice.sign_in(provider, ALICE)
            yield answers(
                Visitor(place.url, place.port), API_TOKEN, alice.approve, lambda key: alice.decline(key, "no")
            )


@pytest.fixture
def fake() -> Iterator[dict[str, Any]]:
    """What the fake answers."""
    with fakebot.running_bot() as bot:

        def decide(key: str, how: str, *about: str) -> None:
            getattr(bot.find(key), how)(*about)

        yield answers(
            Visitor(bot.url, int(bot.url.rpartition(":")[2])),
            fakebot.API_TOKEN,
            lambda key: decide(key, "approve", ALICE, "eyJh.eyJi.c2ln"),
            lambda key: decide(key, "decline", ALICE, "no"),
        )


def answers(job: Visitor, token: str, approve: Decide, decline: Decide) -> dict[str, Any]:
    """What a bot answers to whatever a job may ask, as far as any two bots answer the same."""

    def ask(run_id: str, credential: str = token, **more: Any) -> Answer:
        return job.call("/api/requests", credential, BODY | {"run_id": run_id} | more)

    def poll(asked: Answer, secret: str = "") -> Answer:
        return job.call(f"/api/requests/{asked.json['id']}", secret or asked.json["secret"])

    first, second = ask("1"), ask("2")
    path = f"/api/requests/{first.json['id']}"
    given = {
        "asked": first,
        "asked again": ask("1"),
        "asked with a bad token": ask("3", "dgt_" + "z" * 40),
        "asked with a bad token and an unknown member": ask("3", "dgt_" + "z" * 40, colour="blue"),
        "asked with an unknown member": ask("3", colour="blue"),
        "open": poll(first),
        "open, to another job": poll(first, second.json["secret"]),
        "open, to nobody": job.get(path),
        "not there": job.call("/api/requests/" + "A" * 32, first.json["secret"]),
        "not there, to nobody": job.get("/api/requests/" + "A" * 32),
        "elsewhere": job.call("/api/elsewhere", token, BODY),
    }
    assert first.json["url"] == f"{job.url}/requests/{first.json['id']}"
    assert {name: given["asked again"].json[name] for name in ("id", "secret")} == {
        name: first.json[name] for name in ("id", "secret")
    }
    approve(first.json["id"])
    decline(second.json["id"])
    given |= {
        "approved": poll(first), "approved, asked again": ask("1"), "approved, to another job": poll(first, "x" * 32),
        "declined": poll(second), "declined, asked again": ask("2"),
    }  # fmt: skip
    return {name: (answer.status, answer.json.get("status"), shape(answer.json)) for name, answer in given.items()}


def shape(value: Any) -> Any:
    """The names of all members, and the types of what they hold."""
    if isinstance(value, dict):
        return {name: shape(held) for name, held in value.items()}
    return [shape(held) for held in value] if isinstance(value, list) else type(value).__name__


def test_the_fake_answers_as_the_real_one(real: dict[str, Any], fake: dict[str, Any]) -> None:
    assert {status for status, _, _ in real.values()} == {200, 400, 401, 404}
    assert fake == real
