"""A deploy-bot on one core, and everybody who talks to it."""

import base64
import hashlib
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gate.bot.keyring import Keyring
from gate.bot.sessions import Sessions
from gate.bot.state import State, open_state
from gate.deployment import Deployment
from gate.identity import identity
from gate.requester import Asked, Requester
from scripts.benchmarks.wire import Answer, Wire
from tests.bot.running import SECRETS, Place, running_bot
from tests.bot.visitor import hidden
from tests.core.authenticator import Authenticator

APPROVALS = {"staging": 1, "production": 4}  # that an environment wants
_TOKENS = 50  # each for as many jobs as one may ask for
_COUNTED = re.compile(r'gate_bot_request_seconds_count\{method="\w+",route="([^"]+)",status="(\d+)"\} (\d+)')


class Refused(Exception):
    """The bot did not answer as it must."""


@dataclass
class Engineer:
    """Somebody with a session and a passkey, at a machine of their own."""

    name: str
    passkey: Authenticator
    wire: Wire
    cookie: str = ""

    def look(self, request_id: str) -> Mapping[str, str]:
        """Open a request's page; what its form sends."""
        answer = self.wire.get(f"/requests/{request_id}", Cookie=f"gate={self.cookie}")
        expect(200, answer)
        return hidden(answer.body.decode())

    def approve(self, request_id: str, form: Mapping[str, str]) -> None:
        """Ask for the challenge, let the passkey sign it, and send the form."""
        path, cookie = f"/requests/{request_id}", {"Cookie": f"gate={self.cookie}"}
        challenge = self.wire.post(f"{path}/challenge", form, Accept="application/json", **cookie)
        expect(200, challenge)
        assertion = self.passkey.assert_(_decoded(json.loads(challenge.body)["challenge"]))
        approved = self.wire.post(f"{path}/approve", {**form, "credential": json.dumps(assertion)}, **cookie)
        expect(303, approved)


@dataclass
class Bot:
    """A bot that runs, its state, and the `engineers` who may approve there."""

    place: Place
    engineers: list[Engineer]
    state: State = field(init=False)
    keyring: Keyring = field(init=False)
    _asked: int = 0
    _requesters: int = 0
    _called: int = 0

    def __post_init__(self) -> None:
        self.state = open_state(self.place.settings["state"], self.place.folder)
        self.keyring = Keyring(SECRETS["GATE_BOT_SESSION_KEY"].encode())

    def wire(self, number: int) -> Wire:
        """A connection from a job's machine."""
        return Wire(self.place.port, _address(3, number))

    def next_engineers(self, count: int) -> list[Engineer]:
        """Those whose turn it is: nobody may decide too often."""
        first, self._called = self._called, self._called + count
        return [self.engineers[number % len(self.engineers)] for number in range(first, first + count)]

    def requester(self, **parts: Any) -> Requester:
        """What a job asks with: the gate's own client, and one of the tokens. How often each may ask is bounded."""
        self._requesters += 1
        return Requester(self.place.url, _token(self._requesters % _TOKENS), **parts)

    def ask(self, environment: str, requester: Requester | None = None) -> Asked:
        """A new request: another run of another commit, in one of fifty repositories."""
        self._asked += 1
        return (requester or self.requester()).ask(
            Deployment(
                repository=f"acme/shop-{self._asked % 50}",
                sha=hashlib.sha1(str(self._asked).encode(), usedforsecurity=False).hexdigest(),
                environment=environment,
                run_id=str(self._asked),
                actors=("somebody",),
            ),
            waits=False,
        )

    def answered(self) -> dict[tuple[str, str], int]:
        """How many answers the bot has counted, by route and status."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.place.url}/metrics") as metrics:
            found = _COUNTED.findall(metrics.read().decode())
        return {(route, status): int(count) for route, status, count in found}


@contextmanager
def running(folder: Path, engineers: int) -> Iterator[Bot]:
    """A bot, alone on one core where the system can do that, with everybody signed in. We keep the other cores."""
    place = Place(folder)
    people = [_engineer(place, number) for number in range(engineers)]
    _write(place, people)
    bot = Bot(place, people)
    _sign_in(bot.state, people)
    with _elsewhere() as come_back, running_bot(place):
        come_back()
        yield bot


@contextmanager
def _elsewhere() -> Iterator[Any]:
    """Processes that begin in this block get a core of their own; call what it gives to go back to the other ones."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cores) < 2:
        print("  the bot shares its core with those who talk to it", flush=True)
        yield lambda: None
        return
    theirs = max(cores)
    os.sched_setaffinity(0, {theirs})
    try:
        yield lambda: os.sched_setaffinity(0, cores - {theirs})
    finally:
        os.sched_setaffinity(0, cores)


def _engineer(place: Place, number: int) -> Engineer:
    name = f"engineer-{number}@example.com"
    return Engineer(name, Authenticator(place.url, "localhost", name=name), Wire(place.port, _address(2, number)))


def _token(number: int) -> str:
    return f"an-API-token-of-the-bench-{number}"


def _address(group: int, number: int) -> str:
    return f"127.0.{group}.{number % 250 + 1}"


def _write(place: Place, people: list[Engineer]) -> None:
    place.settings["jobs"]["tokens"] = [
        {
            "name": f"bench-{number}",
            "sha256": hashlib.sha256(_token(number).encode()).hexdigest(),
            "repositories": ["acme/*"],
        }
        for number in range(_TOKENS)
    ]
    names = [person.name for person in people]
    place.policy["people"] = {
        person.name: {"passkeys": [yaml.safe_load(person.passkey.credential_yaml)]} for person in people
    }
    place.policy["environments"] = {
        name: {"repositories": ["acme/*"], "approvers": [*names], "approvals": approvals, "passkey": "required",
               "separation_of_duties": False}
        for name, approvals in APPROVALS.items()
    }  # fmt: skip
    place.write()


def _sign_in(state: State, people: list[Engineer]) -> None:
    """Sessions as the bot makes them: to sign in is not what is measured."""
    sessions = Sessions(state, Keyring(SECRETS["GATE_BOT_SESSION_KEY"].encode()), time.time)
    for person in people:
        person.cookie = sessions.begin(person.name, person.name, "bench", [identity(person.name)])


def expect(status: int, answer: Answer) -> None:
    """Check what the bot answered.

    Raises:
        Refused: another status.
    """
    if answer.status != status:
        raise Refused(f"{answer.status} instead of {status}: {answer.body[-300:]!r}")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
