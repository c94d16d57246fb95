"""Who fails to sign in stands in the bot's own log, up to a bound: strangers must not fill it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bot.provider import Provider, Reply, serving
from tests.bot.running import Place, running_bot
from tests.bot.visitor import Visitor, come_back


class Door:
    """A bot at whose door people fail."""

    def __init__(self, place: Place, provider: Provider) -> None:
        self.place, self.provider = place, provider

    def stranger(self) -> int:
        """Somebody signs in whom the policy does not know; the status that they get."""
        self.provider.refusal = ""
        return Visitor(self.place.url, self.place.port).sign_in(self.provider, "mallory@evil.example").status

    def refused(self) -> int:
        """Somebody chooses at the provider not to sign in; the status that they get."""
        self.provider.refusal = "access_denied"
        visitor = Visitor(self.place.url, self.place.port)
        return visitor.get(come_back(visitor.get("/sign-in/0"))).status

    def records(self) -> list[tuple[str, str, str]]:
        """What the log says of each: the event, who, and why."""
        paths = sorted((self.place.folder / "events/deploy-gate/bot/events").glob("*.json"))
        read = [json.loads(path.read_text()) for path in paths]
        return [(record["event"], record["who"], record["message"]) for record in read]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with serving(Provider()) as provider:
        place = Place(tmp_path)
        place.sign_in_with(provider)
        with running_bot(place):
            yield Door(place, provider)


def test_who_is_turned_away_is_recorded_and_why(door: Door) -> None:
    assert (door.stranger(), door.refused()) == (403, 401)
    assert Visitor(door.place.url, door.place.port).get("/sign-in/0/callback?code=x").status == 401
    assert door.records() == [
        (
            "sign_in_failure",
            "mallory@evil.example",
            "The policy knows nobody by this sign-in with Example SSO.",
        ),
        ("sign_in_failure", "", "Signing in failed: You chose not to sign in."),
    ]


def test_codes_that_the_provider_refuses_end_the_tries_from_there(door: Door) -> None:
    """Each is a question in the bot's name: with its own state, whoever tries one needs nothing but a code."""
    visitor = Visitor(door.place.url, door.place.port)
    back = come_back(visitor.get("/sign-in/0"))
    flow, junk = dict(visitor.cookies), back.replace("code=", "code=junk")

    def attempt(path: str) -> int:
        visitor.cookies = dict(flow)
        return visitor.get(path).status

    asked: list[int] = []
    door.provider.faults["/token"] = lambda _: asked.append(1) or Reply(400, {"error": "invalid_grant"})  # type: ignore[func-returns-value]
    assert [attempt(junk) for _ in range(25)] == [401] * 20 + [429] * 5
    assert len(asked) == 20
    del door.provider.faults["/token"]
    assert attempt(back) == 429
    assert attempt(back.replace("state=", "state=x")) == 429  # a failure like others
    assert visitor.get("/sign-in").status == 200


def test_what_the_provider_is_not_asked_about_locks_nobody_out(door: Door) -> None:
    """Answers that are somebody else's cost no question: neighbours at one address can still sign in."""
    visitor = Visitor(door.place.url, door.place.port)
    back = come_back(visitor.get("/sign-in/0"))
    flow, mixed_up = dict(visitor.cookies), re.sub(r"iss=[^&]*", "iss=https://evil.example", back)
    assert "evil.example" in visitor.get(mixed_up).text
    for _ in range(25):
        visitor.cookies = dict(flow)
        assert visitor.get(mixed_up).status in (401, 429)
    assert Visitor(door.place.url, door.place.port).sign_in(door.provider, "alice@example.com").status == 303


def test_a_flood_of_failures_is_no_flood_of_records(door: Door) -> None:
    for _ in range(17):
        assert door.stranger() in (403, 429)
        assert door.refused() in (401, 429)
    assert len(door.records()) == 30
