"""A page is there at once, on a train too: the fullest that each can be, whatever others write."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import pytest

from gate.bot.claims import _MOST_REF
from gate.bot.facts import _LISTED, Lookup
from gate.bot.history import SHOWN, Stores
from gate.bot.logbook import Logbook
from gate.bot.pages import _MOST_REASON, LISTED
from gate.bot.policysource import PolicySource
from gate.bot.request import ApprovalRequest, Declined
from gate.chain import append
from gate.deployment import _MAX_ACTORS, _MAX_TEXT, Deployment
from gate.models import Commit, Identity
from gate.record.decision import Entry
from gate.rollback import rollback
from gate.scope import parse_environment
from tests.bot.provider import SHA
from tests.bot.stage import LONG, Asked, Stage
from tests.bot.test_looks import weight

MOST = 60_000  # bytes
REPOSITORY = f"acme/{'r' * (_MAX_TEXT - 5)}"
ENVIRONMENT = parse_environment("e" * 100)
LETTERS = {"plain": "W", "escaped in HTML": "&", "shown by its number": "\U000e0001"}
_numbers = count(1)


class Full(NamedTuple):
    """A stage on which every text is as long as it can be, and made of one letter."""

    stage: Stage
    letter: str

    def text(self, length: int) -> str:
        """A text that a deployment may hold, which has to be printable."""
        return (self.letter if self.letter.isprintable() else "&") * length

    def deployment(self) -> Deployment:
        """What the next request is for."""
        number = next(_numbers)
        actors = tuple(self.text(_MAX_TEXT - 2) + f"{one:02}" for one in range(_MAX_ACTORS))
        run_id = self.text(_MAX_TEXT)
        return Deployment(REPOSITORY, SHA, ENVIRONMENT, actors, run_id, self.text(_MAX_TEXT), f"{number:043}")

    def request(self) -> ApprovalRequest:
        """The request of an API token for it, with all that a CI's token may add, and what the forge says."""
        now, deployment = int(time.time()), self.deployment()
        loaded = PolicySource(str(self.stage.place.policy_path)).current()
        facts = Lookup(lambda _: Forge(self.letter)).facts(deployment, "github", loaded)
        assert len(facts.commits) == _LISTED, facts.trouble
        past = [f"{number}" * 40 for number in range(1, 6)]
        facts = facts._replace(
            base="e" * 40, newest=past[0], rollback=rollback(Forge(self.letter), REPOSITORY, [*past, SHA], SHA),
            rollback_url=f"https://github.com/{REPOSITORY}/compare/{SHA}...{past[0]}",
        )  # fmt: skip
        return ApprovalRequest(
            deployment, generation=1, attempt=99_999, asked_at=now, expires_at=now + 3600, facts=facts,
            asker=f"token:{self.text(_MAX_TEXT)}", run_url=f"https://github.com/{REPOSITORY}/actions/runs/{'9' * 20}",
            run_sha="a" * 40, ref=self.text(_MOST_REF), workflow=self.text(_MOST_REF), event=self.text(_MOST_REF),
            said=("repository", "sha", "environment", "run_id", "actors"),
            declined_before=Declined(LONG, self.letter * _MOST_REASON, now),
        )  # fmt: skip

    def put(self, request: ApprovalRequest) -> Asked:
        """Keep it."""
        self.stage.put(request.as_json())
        return Asked(request.id, f"{self.stage.url}/requests/{request.id}", "", SHA, "")

    def weight(self, path: str, *shown: str) -> int:
        """The bytes that erin waits for, and what she must see there."""
        answer = self.stage.visitor("erin").get(path)
        assert answer.status == 200, answer.text
        assert all(text in answer.text for text in shown)
        return weight(self.stage, answer.body)


class Forge:
    """A history of more commits than are listed, each by people of its own."""

    def __init__(self, letter: str) -> None:
        self._letter = letter

    def commits(self, *_: Any) -> list[Commit]:
        """See `gate.forge.History`."""
        line = self._letter * 1000
        told = f"{line}\n\n" + f"{line}\n" * 10
        listed = [Commit(SHA, self._people(0), told)]
        listed += [Commit(f"{number:040x}", self._people(number), told) for number in range(1, _LISTED)]
        return [*listed, Commit("f" * 40, (), told)]

    def _people(self, number: int) -> tuple[tuple[Identity, ...], ...]:
        return tuple((Identity("login", f"{number:03}{role}{self._letter * 76}"),) for role in range(3))


@pytest.fixture(scope="module", params=LETTERS.values(), ids=LETTERS)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    stage = Stage(tmp_path_factory.mktemp("full"))
    approvers = [LONG, *(f"{name}@example.com" for name in ("carol", "erin"))]
    stage.place.policy["environments"][ENVIRONMENT] = {
        "repositories": ["acme/*"], "approvers": approvers, "approvals": 3, "separation_of_duties": False,
    }  # fmt: skip
    with stage.running() as running:
        yield Full(running, request.param)


def test_the_fullest_list(full: Full) -> None:
    request = full.request()
    for _ in range(LISTED + 1):
        full.put(replace(request, deployment=full.deployment()))
    assert full.weight("/", "Older ones", "only the job says so") <= MOST


def test_the_fullest_request(full: Full) -> None:
    asked = full.put(full.request())
    for name in (LONG, "carol"):
        assert full.stage.visitor(name).approve(asked.id, reason=full.letter * _MOST_REASON).status == 303
    path = f"/requests/{asked.id}"
    waiting = full.weight(
        path, "2 of 3 approvals", "1 older one", "asks for another commit", "Declined before", "Your decision",
        "goes back by", "2 more that were allowed",
    )  # fmt: skip
    assert full.stage.visitor("carol").decline(asked.id, full.letter * _MOST_REASON).status == 303
    assert max(waiting, full.weight(path, "Declined by", LONG)) <= MOST


def test_the_fullest_history_of_decisions(full: Full) -> None:
    """Each a deployment that three people approved with all that they could say."""
    assert full.weight(_history(full, "d", _decided), "Allowed", "Older ones") <= MOST


def test_the_fullest_history_of_refusals(full: Full) -> None:
    assert full.weight(_history(full, "r", _declined), "Declined on the page", "Older ones") <= MOST


def _history(full: Full, repository: str, write: Callable[[Stores, Deployment, str, int], object]) -> str:
    """The path of a repository's history, which `write` fills with more than a page shows."""
    deployment = replace(full.deployment(), repository=f"acme/{repository * (_MAX_TEXT - 5)}")
    loaded, now = PolicySource(str(full.stage.place.policy_path)).current(), int(time.time())
    for number in range(SHOWN + 1):
        stores = loaded.audit_log(), loaded.replay_store()
        write(stores, deployment, full.letter * _MOST_REASON, now - 1000 + number)
    return f"/history?stream={deployment.stream.path}"


def _declined(stores: Stores, deployment: Deployment, reason: str, now: int) -> None:
    Logbook(lambda: stores, lambda: now).declined(deployment, Declined(LONG, reason, now))


def _decided(stores: Stores, deployment: Deployment, reason: str, now: int) -> None:
    approval = {"approver": LONG, "jti": "1", "kid": "bot", "issued_at": now, "expires_at": now + 9, "reason": reason}
    entry = Entry(
        invocation=secrets.token_urlsafe(16),
        decided_at=now,
        reason="allowed",
        message=f"Approved by {', '.join([LONG] * 3)}.",
        deployment=deployment,
        approvals=(approval,) * 3,
        tokens=("a.b.c",),
        policy_sha256="0" * 64,
        gate="0",
    )
    append(*stores, entry)
