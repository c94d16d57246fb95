"""Two bots on one DynamoDB table, as behind a load balancer; either may be killed at any moment."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.deployment import Deployment
from gate.gate import Gate
from gate.wiring import load_policy
from tests.bot.provider import SHA, Provider, serving
from tests.bot.running import API_TOKEN, Place, Running, running_bot
from tests.bot.state.material import dynamodb_uri, fresh_table
from tests.bot.test_slack import Receiver, receiving
from tests.bot.tweaks import tweaked
from tests.bot.visitor import Visitor, come_back
from tests.core.authenticator import Authenticator
from tests.parts import Aws, free_port

PEOPLE = [f"engineer{number}@example.com" for number in range(8)]
QUICK = """import gate.bot.herald as herald
herald._UNTOLD, herald._TICK, herald._LEASE = 2, 0.2, 5
"""


class Pair:
    """Two bots, A and B, one table, one URL: that of A, which is what people type; a load balancer is in between."""

    def __init__(self, place: Place, provider: Provider, slack: Receiver, stack: ExitStack) -> None:
        self.place, self.provider, self.slack, self.stack = place, provider, slack, stack
        self.ports = [place.port, free_port()]
        self.environ = {"SLACK": slack.url} | tweaked(place.folder, QUICK)
        self.bots = [self.start(port) for port in self.ports]

    def start(self, port: int) -> Running:
        return self.stack.enter_context(running_bot(self.place, port=port, environ=self.environ))

    def kill(self, which: int) -> None:
        """Kill it as if its machine were gone."""
        os.kill(self.bots[which].process.pid, signal.SIGKILL)
        self.bots[which].process.wait(20)

    def visitor(self, which: int) -> Visitor:
        return Visitor(self.place.url, self.ports[which])

    def ask(self, which: int, run: str = "7", rerun: bool = False) -> dict[str, Any]:
        body = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": run, "rerun": rerun}
        answer = self.visitor(which).call("/api/requests", API_TOKEN, body)
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def poll(self, which: int, asked: dict[str, Any]) -> dict[str, Any]:
        answer = self.visitor(which).call(f"/api/requests/{asked['id']}", asked["secret"])
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def allows(self, asked: dict[str, Any], tokens: list[str]) -> bool:
        """What the gate says of them."""
        loaded = load_policy(str(self.place.policy_path))
        gate = Gate(loaded.policy, loaded.replay_store(), loaded.audit_log())
        deployment = Deployment("acme/shop", SHA, "production", run_id="7", request_id=asked["id"])
        return gate.check(tokens, deployment).allowed

    def told(self) -> list[str]:
        return [posted["text"].partition("\n")[0] for posted in list(self.slack.posted)]


@pytest.fixture
def pair(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    with ExitStack() as stack:
        provider, slack = stack.enter_context(serving(Provider())), stack.enter_context(receiving())
        place = Place(tmp_path)
        place.sign_in_with(provider)
        place.settings["state"] = dynamodb_uri(fresh_table(aws), aws.endpoint)
        place.settings["notices"] = {"slack": "env:SLACK"}
        table, bucket = aws.table(), aws.bucket()
        place.policy["replay"] = f"dynamodb://{table}?region={aws.region}&endpoint={aws.endpoint}"
        place.policy["audit"] = f"s3://{bucket}/audit?region={aws.region}&endpoint={aws.endpoint}"
        alice = Authenticator(place.url, "localhost")
        place.policy["people"]["alice@example.com"]["passkeys"] = [yaml.safe_load(alice.credential_yaml)]
        place.policy["environments"]["production"]["approvers"] += PEOPLE
        place.write()
        yield Pair(place, provider, slack, stack)


def test_one_journey_goes_over_both_bots(pair: Pair) -> None:
    asked = pair.ask(0)
    assert pair.ask(1) == asked
    at_a, at_b = pair.visitor(0), pair.visitor(1)
    start = at_a.get("/sign-in/0")  # begun at A, ended at B
    at_b.cookies = at_a.cookies
    assert at_b.get(come_back(start)).status == 303
    path = f"/requests/{asked['id']}"
    form = at_a.get(path).form | {"reason": "hotfix"}
    alice = Authenticator(pair.place.url, "localhost")
    form["credential"] = json.dumps(alice.assert_(at_a.challenge(asked["id"], "hotfix")))
    assert at_b.post(f"{path}/approve", form).status == 303
    assert at_a.post(f"{path}/approve", form).status in (403, 409)  # sent twice
    told = pair.poll(0, asked)
    assert (told["status"], len(told["tokens"])) == ("approved", 1)
    assert pair.poll(1, asked)["tokens"] == told["tokens"]
    out = at_a.submit("/sign-out")
    assert out.status == 303
    assert Visitor(pair.place.url, pair.ports[1], {"gate": "x"}).get("/").status == 401
    assert pair.allows(asked, told["tokens"])
    assert not pair.allows(asked, told["tokens"])


def test_a_session_that_ended_at_one_bot_ended_at_the_other(pair: Pair) -> None:
    alice = pair.visitor(0)
    alice.sign_in(pair.provider, "alice@example.com")
    cookies = dict(alice.cookies)
    other = Visitor(pair.place.url, pair.ports[1], dict(cookies))
    assert other.get("/").status == 200
    assert other.submit("/sign-out").status == 303
    assert Visitor(pair.place.url, pair.ports[0], cookies).get("/").status == 401


@pytest.mark.parametrize("after", ["ask", "challenge", "approve"])
def test_the_journey_goes_on_where_the_other_bot_is_killed(pair: Pair, after: str) -> None:
    asked = pair.ask(0)
    visitor = pair.visitor(0)
    visitor.passkey = Authenticator(pair.place.url, "localhost")
    if after != "ask":
        visitor.sign_in(pair.provider, "alice@example.com")
        assert visitor.challenge(asked["id"])
    if after == "approve":
        assert visitor.approve(asked["id"]).status == 303
    pair.kill(0)
    assert pair.ask(1)["secret"] == asked["secret"]
    visitor.port = pair.ports[1]
    if after == "ask":
        visitor.sign_in(pair.provider, "alice@example.com")
    if after != "approve":
        assert visitor.approve(asked["id"]).status == 303
    told = pair.poll(1, asked)
    assert len(told["tokens"]) == 1
    assert pair.allows(asked, told["tokens"])
    _until(lambda: any("approved" in line.lower() for line in pair.told()), pair)


def test_a_bot_that_is_killed_while_many_approve_loses_no_approval_and_no_notice(pair: Pair) -> None:
    """Whatever stands approved in the end was told; whatever was answered with yes stands."""
    runs = [str(run) for run in range(8)]
    asked = {run: pair.ask(int(run) % 2, run) for run in runs}
    people = []
    for number, email in enumerate(PEOPLE):
        person = pair.visitor(0)
        person.sign_in(pair.provider, email)
        people.append((number, person))

    def approve(who: tuple[int, Visitor]) -> bool:
        """At A while it lives, then at B, as a load balancer does."""
        number, person = who
        key = asked[runs[number]]["id"]
        for port in (pair.ports[0], pair.ports[1], pair.ports[1]):
            person.port = port
            try:
                if person.approve(key).status == 303:
                    return True
            except OSError:
                continue
            if "Approved" in person.get(f"/requests/{key}").text:
                return True
        return False

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(approve, who) for who in people]
        _until(lambda: any(one.done() for one in waiting), pair)
        pair.kill(0)
        assert all(one.result() for one in waiting)
    for run in runs:
        assert len(pair.poll(1, asked[run])["tokens"]) == 1
    _until(lambda: sum("approved" in line.lower() for line in pair.told()) >= len(runs), pair, 90)


def test_eight_engineers_at_once_on_two_bots_give_exactly_what_is_needed(pair: Pair) -> None:
    pair.place.policy["environments"]["production"]["approvals"] = 5
    pair.place.write()
    time.sleep(2.1)
    asked = pair.ask(0)
    people = []
    for number, email in enumerate(PEOPLE):
        person = pair.visitor(number % 2)
        person.sign_in(pair.provider, email)
        people.append(person)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda person: person.approve(asked["id"]).status, people))
    assert statuses.count(303) == 5, statuses
    assert set(statuses) <= {303, 403, 409}
    told = pair.poll(1, asked)
    assert len(set(told["tokens"])) == 5
    assert pair.allows(asked, told["tokens"])


def test_the_end_of_a_request_is_told_by_whichever_bot_is_alive(pair: Pair) -> None:
    for bot in pair.bots:
        bot.stop()
    pair.place.settings["request_life"] = "2s"
    pair.place.write()
    pair.bots = [pair.start(port) for port in pair.ports]
    asked = pair.ask(0)
    _until(lambda: len(pair.told()) == 1, pair)
    pair.kill(0)
    _until(lambda: len(pair.told()) == 2, pair)
    assert pair.poll(1, asked)["status"] == "expired"


def _until(holds: Any, pair: Pair, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, pair.bots[1].text()[-2000:]
        time.sleep(0.02)
