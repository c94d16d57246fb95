"""Many at one request at once, on several bots: one final state, no token lost, none given to two."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from gate.bot.errors import BotError, Conflict, NotAllowed
from gate.tokens import decode
from tests.bot.office import Office, office
from tests.world import ALICE, BOB, CAROL

BOTS = 4


@pytest.fixture
def bots(tmp_path: Path) -> list[Office]:
    first = office(tmp_path, approvals=2)
    return [first, *(Office(first.world) for _ in range(BOTS - 1))]


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each returns, or the BotError that it raises; all start together."""
    ready = Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return work()
        except BotError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@pytest.mark.parametrize("_", range(3))
def test_approvals_and_refusals_at_once_end_in_one_state(bots: list[Office], _: int) -> None:
    standing = bots[0].ask()
    key = standing.request.id
    outcomes = at_once(
        lambda: bots[0].approve(key, ALICE),
        lambda: bots[1].approve(key, BOB),
        lambda: bots[2].approve(key, CAROL),
        lambda: bots[3].decline(key, CAROL, "no"),
        lambda: bots[0].decline(key, ALICE, "no"),
    )
    ends = {bot.register.find(key).status for bot in bots}
    assert len(ends) == 1
    end = ends.pop()
    request = bots[0].register.find(key).request
    assert end in ("approved", "declined")
    assert (end == "declined") == bool(request.declined)
    won = [outcome for outcome in outcomes if not isinstance(outcome, BotError)]
    assert all(isinstance(lost, Conflict | NotAllowed) for lost in outcomes if lost not in won)
    assert len(won) == len(request.approvals) + bool(request.declined)
    assert len(bots[1].tokens(standing)) == (2 if end == "approved" else 0)


def test_one_person_in_four_tabs_counts_once(bots: list[Office]) -> None:
    key = bots[0].ask().request.id
    outcomes = at_once(*(lambda bot=bot: bot.approve(key, ALICE) for bot in bots))  # type: ignore[misc]
    assert sum(not isinstance(outcome, BotError) for outcome in outcomes) == 1
    assert len(bots[0].register.find(key).request.approvals) == 1


def test_eight_approvers_at_once_give_exactly_what_is_needed(tmp_path: Path) -> None:
    first = office(tmp_path, approvals=5)
    people = [f"engineer{number}@example.com" for number in range(8)]
    first.change("approvers: [alice@example.com, ", f"approvers: [{', '.join(people)}, ")
    bots = [first, *(Office(first.world) for _ in range(7))]
    standing = first.ask()
    pairs = zip(bots, people, strict=True)
    works = [lambda bot=bot, who=who: bot.approve(standing.request.id, who) for bot, who in pairs]  # type: ignore[misc]
    outcomes = at_once(*works)
    tokens = first.tokens(standing)
    assert len({decode(token).approver for token in tokens}) == len({decode(token).jti for token in tokens}) == 5
    assert sum(not isinstance(outcome, BotError) for outcome in outcomes) == 5


def test_asking_at_once_makes_one_request_and_one_secret(bots: list[Office]) -> None:
    found = at_once(*(lambda bot=bot: bot.ask() for bot in bots * 2))  # type: ignore[misc]
    assert {standing.request.generation for standing in found} == {1}
    assert len({bots[0].intake.secret(standing.request) for standing in found}) == 1


def test_attempts_that_ask_at_once_after_the_end_make_one_new_request(bots: list[Office]) -> None:
    key = bots[0].ask().request.id
    bots[0].decline(key, ALICE, "no")
    found = at_once(*(lambda bot=bot: bot.ask(attempt=2) for bot in bots))  # type: ignore[misc]
    assert {(standing.request.generation, standing.status) for standing in found} == {(2, "open")}


def test_handing_over_at_once_gives_one_run_the_same_tokens(bots: list[Office]) -> None:
    standing = bots[0].ask()
    for who in (ALICE, BOB):
        bots[0].approve(standing.request.id, who)
    found = at_once(*(lambda bot=bot: bot.tokens(standing) for bot in bots))  # type: ignore[misc]
    assert all(tokens == found[0] and len(tokens) == 2 for tokens in found)


def test_tokens_go_to_one_generation_only(bots: list[Office]) -> None:
    """While the first attempt's job collects, the second asks: one of the two has the tokens, never both."""
    standing = bots[0].ask()
    key, secret = standing.request.id, bots[0].intake.secret(standing.request)
    for who in (ALICE, BOB):
        bots[0].approve(key, who)
    collected, second = at_once(lambda: bots[0].tokens(standing, secret), lambda: bots[1].ask(attempt=2))
    new = bots[2].intake.secret(second.request)
    assert not set(collected) & set(bots[2].tokens(second) if new != secret else [])
