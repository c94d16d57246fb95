"""Who fails to sign in stands in the bot's own log, up to a bound: strangers must not fill it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bot.provider import Provider, serving
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


def test_a_flood_of_failures_is_no_flood_of_records(door: Door) -> None:
    for _ in range(17):
        assert door.stranger() in (403, 429)
        assert door.refused() in (401, 429)
    assert len(door.records()) == 30
