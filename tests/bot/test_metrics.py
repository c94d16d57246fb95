"""What `/metrics` counts, before and after somebody did something at a bot that runs."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.bot.provider import SHA, Provider, serving
from tests.bot.running import API_TOKEN, Place, running_bot
from tests.bot.visitor import Answer, Visitor

DAVE = "dave@example.com"  # the policy knows him, and lets him approve nothing


class Counted:
    """A bot, and what its counters have gained since they were last asked for."""

    def __init__(self, place: Place, provider: Provider) -> None:
        self.place, self.provider = place, provider
        self.before = self._read()

    def visitor(self, email: str = "") -> Visitor:
        visitor = Visitor(self.place.url, self.place.port)
        if email:
            assert visitor.sign_in(self.provider, email).status == 303
        return visitor

    def ask(self, run_id: str) -> str:
        body = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": run_id}
        answer = self.visitor().call("/api/requests", API_TOKEN, body)
        assert answer.status == 200, answer.text
        return str(answer.json["id"])

    def gained(self, *names: str) -> dict[str, float]:
        """Of the metrics that are called so, what has grown since the last look, and by how much."""
        now = self._read()
        grown = {name: value - self.before.get(name, 0) for name, value in now.items()}
        self.before = now
        return {name: value for name, value in grown.items() if value and name.partition("{")[0] in names}

    def _read(self) -> dict[str, float]:
        lines = [line for line in self.visitor().get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    with serving(Provider()) as provider:
        place = Place(tmp_path_factory.mktemp("metrics"))
        place.sign_in_with(provider)
        with running_bot(place):
            yield Counted(place, provider)


def test_what_jobs_ask_for(counted: Counted) -> None:
    counted.gained()
    counted.ask("1")
    counted.ask("1")
    assert counted.visitor().call("/api/requests", "no token of anybody", {}).status == 401
    assert counted.gained("gate_bot_asked_total") == {"gate_bot_asked_total": 2}


def test_who_signs_in_and_who_fails_to(counted: Counted) -> None:
    counted.gained()
    counted.visitor("alice@example.com")
    assert counted.gained("gate_bot_sign_ins_total") == {'gate_bot_sign_ins_total{outcome="signed in"}': 1}
    assert counted.visitor().get("/sign-in/0/callback?code=x").status == 401
    assert counted.visitor().sign_in(counted.provider, "mallory@evil.example").status == 403
    assert counted.gained("gate_bot_sign_ins_total") == {'gate_bot_sign_ins_total{outcome="failed"}': 2}


def _refused(counted: Counted, key: str, how: str) -> Answer:
    """Dave sends the form of Alice's page."""
    dave, alice = counted.visitor(DAVE), counted.visitor("alice@example.com")
    question = alice.get(f"/requests/{key}").form["question"]
    return dave.submit(f"/requests/{key}/{how}", question=question)


def _decisions(**reasons: int) -> dict[str, Any]:
    return {f'gate_bot_decisions_total{{reason="{name.replace("_", ".", 1)}"}}': n for name, n in reasons.items()}


def test_what_people_decide(counted: Counted) -> None:
    yes, no = counted.ask("4"), counted.ask("5")
    alice = counted.visitor("alice@example.com")
    counted.gained()
    assert alice.approve(yes).status == 303
    assert counted.gained("gate_bot_decisions_total") == _decisions(approved=1)
    assert alice.decline(no, "Not on a Friday").status == 303
    assert counted.gained("gate_bot_decisions_total") == _decisions(declined=1)


@pytest.mark.parametrize("how", ["approve", "challenge"])
def test_what_is_refused_to_people(counted: Counted, how: str) -> None:
    key = counted.ask(f"6 {how}")
    counted.gained()
    assert _refused(counted, key, how).status == 403
    assert counted.gained("gate_bot_decisions_total") == _decisions(approver_not_allowed=1)


def test_how_long_answers_take_by_method_route_and_status(counted: Counted) -> None:
    counted.gained()
    for path in ("/requests/a", "/requests/b"):
        assert counted.visitor().get(path).status == 401
    assert counted.visitor().send("FOO", "/nowhere").status == 405
    gained = counted.gained("gate_bot_request_seconds_count", "gate_bot_request_seconds_sum")
    about = '{method="GET",route="/requests/{id}",status="401"}'
    assert gained[f"gate_bot_request_seconds_count{about}"] == 2
    assert 0 < gained[f"gate_bot_request_seconds_sum{about}"] < 20
    assert [name for name in gained if 'method="other"' in name and 'status="405"' in name]
