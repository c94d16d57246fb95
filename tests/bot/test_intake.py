"""The intake: which request a run gets, and who gets its tokens."""

import json
import secrets
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gate.bot.api import JobsApi
from gate.bot.errors import BotError, Conflict, NotAllowed, NotFound, NotProved, TooMany, Unavailable
from gate.bot.limits import Limits
from gate.bot.request import CommitLine, Facts
from gate.errors import UsageError
from tests.bot.office import NOW, ORIGIN, PROVED, SESSION, SHA, Office, asked, down, office
from tests.world import ALICE, BOB

OTHER_SHA = "0" * 39 + "1"


@pytest.fixture
def desk(tmp_path: Path) -> Office:
    return office(tmp_path)


def test_asking_twice_gives_the_same_request_and_secret(desk: Office) -> None:
    first = desk.ask()
    desk.later(100)
    second = desk.ask()
    assert second.request == first.request
    assert desk.intake.secret(second.request) == desk.intake.secret(first.request)
    assert (first.status, first.request.generation, first.request.expires_at) == ("open", 1, NOW + 3600)


def test_a_job_is_to_come_back_soon_and_after_two_minutes_less_often(desk: Office) -> None:
    request = desk.ask().request
    headers = {"authorization": f"Bearer {desk.intake.secret(request)}"}
    call = SimpleNamespace(path={"id": request.id}, address="a", request=SimpleNamespace(headers=headers))
    jobs = JobsApi(SimpleNamespace(url=ORIGIN, intake=desk.intake, presence=desk.presence, limits=Limits()))  # type: ignore[arg-type]
    pauses = []
    for seconds in (0, 119, 1, 600):
        desk.later(seconds)
        pauses.append(json.loads(jobs.poll(call).body)["poll_after"])  # type: ignore[arg-type]
    assert pauses == [3, 3, 10, 10]


def test_another_bot_with_the_same_key_gives_the_same_secret_and_one_with_another_key_does_not(desk: Office) -> None:
    request = desk.ask().request
    assert Office(desk.world).intake.secret(request) == desk.intake.secret(request)
    assert Office(desk.world, key=b"another key, which is long enough").intake.secret(request) != desk.intake.secret(
        request
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"sha": OTHER_SHA},
        {"repository": "acme/other"},
        {"repository_id": "75"},
        {"run_id": "8"},
        {"issuer": "https://token.actions.githubusercontent.com/acme"},
        {"environment": "staging"},
        {"who": "jenkins", "run_id": "7"},
        {"sha": OTHER_SHA, "said": frozenset({"sha"})},
    ],
)
def test_another_deployment_or_run_is_another_request(desk: Office, changed: dict[str, Any]) -> None:
    text = desk.world.path.read_text()
    start = text.index("  production:")
    desk.change(text[start:], text[start:] + text[start:].replace("production", "staging"))
    first, other = desk.ask().request, desk.ask(**changed).request
    assert other.id != first.id
    assert desk.intake.secret(other) != desk.intake.secret(first)


def test_a_job_that_only_says_what_another_proves_does_not_get_at_its_request(desk: Office) -> None:
    """A job of the same run that stands in no environment must not collect what was approved for the one that does."""
    proved = desk.ask().request
    without = frozenset({"repository", "repository_id", "sha", "run_id", "attempt", "actors"})
    other = desk.ask(environment="production", proved=without, said=frozenset({"environment"})).request
    assert other.id != proved.id
    assert other.said == ("environment",)


def test_a_job_of_another_workflow_of_the_run_has_a_request_of_its_own(desk: Office) -> None:
    """What people approved for the workflow that the page names is not handed to another."""
    ours, other = (
        "acme/ci/.github/workflows/deploy.yml@refs/heads/main",
        "acme/shop/.github/workflows/ci.yml@refs/heads/x",
    )
    first = desk.ask(workflow=ours)
    second = desk.ask(workflow=other)
    assert (first.request.workflow, second.request.workflow) == (ours, other)
    desk.approve(first.request.id)
    assert desk.ask(workflow=other).request.id == second.request.id
    assert (desk.ask(workflow=other).status, desk.ask(workflow=ours).status) == ("open", "approved")
    assert desk.tokens(desk.ask(workflow=other)) == []
    assert len(desk.tokens(desk.ask(workflow=ours))) == 1
    assert desk.ask(workflow=other, attempt=2).request.id == second.request.id, "whoever comes first the next time"
    assert desk.ask(workflow=ours, attempt=2).request.generation == 2


def test_a_no_to_the_first_workflow_is_one_to_all_of_the_run(desk: Office) -> None:
    key = desk.ask(workflow="a.yml").request.id
    desk.decline(key, ALICE, "not on a Friday")
    other = desk.ask(workflow="b.yml")
    assert (other.request.id, other.status, desk.tokens(other)) == (key, "declined", [])
    again = desk.ask(workflow="b.yml", attempt=2)
    assert (again.request.id, again.status, again.request.workflow) == (key, "open", "b.yml")
    assert again.request.declined_before


def test_holders_of_different_api_tokens_can_t_get_at_each_others_requests(desk: Office) -> None:
    ids = {desk.ask(who=who, run_id="7").request.id for who in ("jenkins", "buildkite")}
    assert len(ids | {desk.ask().request.id}) == 3


def test_a_run_without_an_id_has_a_request_of_its_own_each_time(desk: Office) -> None:
    assert desk.ask(who="jenkins").request.id != desk.ask(who="jenkins").request.id


def test_an_unknown_environment_and_repository_are_refused_at_once(desk: Office) -> None:
    with pytest.raises(NotAllowed, match="environment") as caught:
        desk.ask(environment="staging")
    assert caught.value.actual == "staging"
    with pytest.raises(NotAllowed, match="repository"):
        desk.ask(repository="evil/shop")
    assert desk.register.newest(10)[0] == []


def test_a_run_that_will_not_wait_says_so_once_and_for_all(desk: Office) -> None:
    assert not desk.ask().request.rerun
    assert desk.ask(rerun=True).request.rerun
    assert desk.ask().request.rerun


def test_who_re_ran_it_is_an_actor_too(desk: Office) -> None:
    desk.ask()
    request = desk.ask(attempt=2, actors=("dave", "alice")).request
    assert (request.attempt, request.deployment.actors) == (2, ("dave", "alice"))
    assert desk.ask(attempt=1).request == request
    many = tuple(f"bot{number}" for number in range(14))
    assert desk.ask(actors=many).request.deployment.actors == (*many, "dave", "alice")
    with pytest.raises(BotError, match="Too many people"):  # nobody is forgotten for somebody else
        desk.ask(actors=("one more",))
    assert desk.ask(actors=many).request.deployment.actors == (*many, "dave", "alice")


def test_a_no_to_a_held_job_stays_one_until_github_holds_the_next(desk: Office) -> None:
    held = desk.ask(held="1")
    desk.decline(held.request.id, ALICE, "no")
    assert desk.ask(attempt=2).status == "declined", "an administrator let it go"
    assert desk.ask(held="2").status == "open"


def test_what_a_webhook_did_not_tell_the_job_fills_in(desk: Office) -> None:
    told = {"ref": "refs/heads/main", "workflow": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
            "event": "push", "run_url": "https://github.com/acme/shop/actions/runs/7"}  # fmt: skip
    desk.ask(held="1", proved=frozenset())
    request = desk.ask(**told).request
    assert {name: getattr(request, name) for name in told} == told
    assert desk.ask(**told | {"event": "pull_request_target"}).request.event == "push"


def test_a_job_that_keeps_adding_actors_can_be_declined(desk: Office) -> None:
    key = desk.ask().request.id
    question = desk.register.find(key).question
    desk.ask(actors=("mallory",))
    with pytest.raises(Conflict, match="has changed since you opened"):
        desk.desk.approve(key, question, ALICE, SESSION, None, "")
    desk.desk.decline(key, question, ALICE, "no")
    assert desk.register.find(key).status == "declined"


def test_a_question_is_the_same_whoever_asked_first_and_how_often_the_job_says(desk: Office) -> None:
    first = desk.ask(who="jenkins", run_id="7", actors=["dave", "erin"], attempt=1)
    assert desk.ask(who="jenkins", run_id="7", actors=["erin", "dave"], attempt=7).question == first.question
    assert desk.ask(who="jenkins", run_id="7", actors=["frank"]).question != first.question


def test_a_new_attempt_joins_an_open_request_and_one_whose_tokens_nobody_has(desk: Office) -> None:
    first = desk.ask()
    joined = desk.ask(attempt=2)
    assert (joined.request.generation, joined.request.attempt) == (1, 2)
    desk.approve(first.request.id)
    third = desk.ask(attempt=3)
    assert (third.status, third.request.generation) == ("approved", 1)
    assert len(desk.tokens(third)) == 1


def test_a_new_attempt_needs_a_new_request_once_the_tokens_were_handed_over(desk: Office) -> None:
    first = desk.ask()
    desk.approve(first.request.id)
    given = desk.tokens(first)
    assert desk.ask().status == "approved"  # the same attempt, whose answer got lost
    again = desk.ask(attempt=2)
    assert (again.status, again.request.generation, again.request.id) == ("open", 2, first.request.id)
    assert desk.intake.secret(again.request) != desk.intake.secret(first.request)
    with pytest.raises(NotProved):
        desk.tokens(again, secret=desk.intake.secret(first.request))
    desk.approve(first.request.id)
    assert desk.tokens(again) != given


def test_an_attempt_that_is_declined_stays_so_and_the_next_asks_anew(desk: Office) -> None:
    first = desk.ask()
    desk.decline(first.request.id, ALICE, "no")
    assert desk.ask().status == "declined"
    desk.later(3600)
    assert desk.ask().status == "declined"
    assert desk.ask(attempt=2).status == "open"


def test_an_attempt_that_ran_out_stays_so_and_the_next_asks_anew(desk: Office) -> None:
    desk.ask()
    desk.later(3600)
    assert desk.ask().status == "expired"
    again = desk.ask(attempt=2)
    assert (again.status, again.request.generation, again.request.expires_at) == ("open", 2, NOW + 7200)


def test_an_old_attempt_does_not_take_the_place_of_a_new_one(desk: Office) -> None:
    first = desk.ask(attempt=2)
    desk.decline(first.request.id, ALICE, "no")
    assert desk.ask(attempt=1).status == "declined"


@pytest.mark.parametrize("end", ["expired", "approved"])
def test_where_no_attempt_is_proved_the_same_answer_is_given_for_a_minute(desk: Office, end: str) -> None:
    first = desk.ask(who="jenkins", run_id="7")
    if end == "approved":
        desk.approve(first.request.id)
        desk.tokens(first)
    desk.later({"expired": 3600, "approved": 900}[end])
    desk.later(59)
    same = desk.ask(who="jenkins", run_id="7", attempt=9)
    assert (same.status, same.request.generation) == (end, 1)
    desk.later(1)
    again = desk.ask(who="jenkins", run_id="7")
    assert (again.status, again.request.generation) == ("open", 2)


def test_where_no_attempt_is_proved_a_no_stays_one(desk: Office) -> None:
    """Otherwise a job that asks in a loop would ask until somebody is tired of it."""
    first = desk.ask(who="jenkins", run_id="7")
    desk.decline(first.request.id, ALICE, "no")
    desk.later(12 * 3600)
    again = desk.ask(who="jenkins", run_id="7", attempt=2)
    assert (again.status, again.request.generation) == ("declined", 1)
    assert desk.ask(who="jenkins", run_id="8").status == "open"


def test_tokens_whose_life_is_over_are_not_there_for_a_new_attempt(desk: Office) -> None:
    first = desk.ask()
    desk.approve(first.request.id)
    desk.later(900)
    again = desk.ask(attempt=2)
    assert again.status == "open"  # of the same generation: nobody ever had them
    assert desk.tokens(again) == []
    desk.approve(first.request.id)
    assert len(desk.tokens(again)) == 1


def test_the_same_job_gets_its_tokens_again_whose_answer_got_lost(desk: Office) -> None:
    first = desk.ask()
    desk.approve(first.request.id)
    given = desk.tokens(first)
    desk.later(2000)
    assert desk.tokens(first) == given


def test_only_living_tokens_are_handed_over(tmp_path: Path) -> None:
    desk = office(tmp_path, approvals=2)
    first = desk.ask()
    desk.approve(first.request.id, ALICE)
    desk.later(800)
    desk.approve(first.request.id, BOB)
    desk.later(200)
    desk.change("approvals: 2", "approvals: 1")
    assert len(desk.tokens(first)) == 1


def test_only_the_holder_of_the_secret_gets_anything(desk: Office) -> None:
    first, other = desk.ask(), desk.ask(run_id="8")
    desk.approve(first.request.id)
    for secret in ("", "x", desk.intake.secret(other.request), desk.intake.secret(first.request)[:-1], "\udcff", "ü"):
        with pytest.raises(NotProved):
            desk.intake.hand_over(first.request.id, secret)
    with pytest.raises(NotFound):
        desk.intake.hand_over("nothing", desk.intake.secret(first.request))


def test_a_request_that_was_asked_anew_while_it_was_handed_over_keeps_its_tokens(desk: Office) -> None:
    """The job of attempt 1 comes back in the very moment in which attempt 2 begins a new generation."""
    first = desk.ask()
    desk.approve(first.request.id)
    desk.tokens(first)
    desk.ask(attempt=2)  # generation 2
    desk.approve(first.request.id)
    secret = desk.intake.secret(desk.register.find(first.request.id).request)

    def meanwhile(kind: str, key: str) -> None:
        desk.state.before.clear()
        Office(desk.world).tokens(desk.register.find(key), secret)
        Office(desk.world).ask(attempt=3)  # generation 3

    reads, me = iter([lambda *_: None, meanwhile]), threading.get_ident()

    def before(kind: str, key: str) -> None:
        if kind == "request" and threading.get_ident() == me:  # the herald's own looks do not count
            next(reads)(kind, key)

    desk.state.before["get"] = before
    with pytest.raises(Unavailable):
        desk.intake.hand_over(first.request.id, secret)
    assert desk.register.find(first.request.id).request.handed_to == 0


def test_a_request_of_a_place_that_the_policy_no_longer_has_is_not_found_and_in_nobodys_way(desk: Office) -> None:
    gone, stays = desk.ask().request, desk.ask(repository="acme/other").request
    desk.change('["acme/*"]', "[acme/other]")
    with pytest.raises(NotFound, match="repository"):
        desk.register.find(gone.id)
    assert [standing.request.id for standing in desk.register.newest(10)[0]] == [stays.id]
    desk.change("  production:", "  staging:")
    assert desk.register.newest(10)[0] == []


def test_a_document_that_no_bot_wrote_is_unavailable_and_in_nobodys_way(desk: Office) -> None:
    good, bad = desk.ask().request, desk.ask(run_id="8").request
    whole = bad.as_json()
    for damage in [
        {"generation": "1"},
        {"deployment": None},
        {"deployment": {**whole["deployment"], "sha": "x"}},
        {"said": 7},
        {"said": [7]},
        {"approvals": [{"approver": "alice"}]},
        {"approvals": [{**dict.fromkeys(("approver", "person", "token", "reason"), "x"), "issued_at": "x",
                        "expires_at": 1, "passkey": True}]},
        {"declined": {"by": 1, "reason": "", "at": 1}},
        {"facts": {"commits": [["x", 1, "y"]], "roles": []}},
        {"facts": []},
        {"facts": [1]},
        {"attempt": None},
        {"held": False},
    ]:  # fmt: skip
        value = {**whole, **damage}
        if damage == {"facts": []}:
            value.pop("rerun")
        _replace(desk, bad.id, _sealed(desk, bad.id, value))
        with pytest.raises(Unavailable, match="did not write"):
            desk.register.find(bad.id)
        assert [standing.request.id for standing in desk.register.newest(10)[0]] == [good.id]
    _replace(desk, bad.id, _sealed(desk, bad.id, whole))
    assert desk.register.find(bad.id).request == bad, "it was for the damage"
    older = {name: value for name, value in whole.items() if name != "declined_before"}
    _replace(desk, bad.id, _sealed(desk, bad.id, older))
    assert desk.register.find(bad.id).request == bad
    for members in ({}, {"unknown": 1}, whole):
        _replace(desk, bad.id, members)
        with pytest.raises(Unavailable):
            desk.ask(run_id="8")


def _sealed(desk: Office, key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"sealed": desk.keyring.seal(f"request {key}", value, until=2**40)}


def _replace(desk: Office, key: str, value: dict[str, Any]) -> None:
    document = desk.state.get("request", key, int(desk.world.now))
    assert document
    desk.state.put("request", key, value, expires_at=document.expires_at, expected=document.version,
                   now=int(desk.world.now))  # fmt: skip


def test_a_request_survives_its_document() -> None:
    from gate.bot.request import ApprovalRequest, Declined, Given
    from tests.world import SHA

    whole = ApprovalRequest(
        deployment=asked().deployment,
        generation=2,
        attempt=3,
        asked_at=1,
        expires_at=2,
        said=("actors",),
        held="d-1",
        approvals=(Given("a", "a", "t", 1, 2, "r", passkey=True),),
        declined=Declined("b", "r", 3),
        declined_before=Declined("c", "s", 1),
        facts=Facts((CommitLine(SHA, "t", "p"),), 1, ((SHA, (("email", "e"),)),), SHA, "https://x", ""),
    )
    assert ApprovalRequest.from_json(whole.as_json()) == whole


def test_where_the_state_is_down_nothing_is_asked(desk: Office) -> None:
    desk.state.before["put"] = down
    with pytest.raises(Unavailable):
        desk.ask()
    desk.state.before.clear()
    assert desk.register.newest(10)[0] == []
    assert desk.ask().status == "open"


def test_where_the_policy_is_broken_nothing_is_asked_and_nothing_shown(desk: Office) -> None:
    first = desk.ask()
    desk.world.path.write_text("version: 2\n")
    desk.later(3)
    for call in (desk.ask, lambda: desk.register.newest(10), lambda: desk.tokens(first)):
        with pytest.raises(Unavailable, match="policy"):
            call()


def test_facts_that_can_t_be_had_or_kept_keep_nobody_from_asking(desk: Office) -> None:
    assert "no access" in str(desk.ask().request.facts)
    desk.later(1)

    def fails(kind: str, key: str) -> None:
        if kind == "request" and desk.state.get("request", key, int(desk.world.now)):
            down()

    desk.state.before["put"] = fails
    assert desk.ask(run_id="8").request.facts is None
    desk.state.before.clear()
    assert desk.intake.look_up(desk.ask(run_id="8").request.id) is not None
    assert desk.intake.look_up("nothing") is None


def test_known_facts_are_not_asked_for_again(desk: Office) -> None:
    request = desk.ask().request
    known = desk.register.change(request.id, lambda newest: replace(newest.request, facts=Facts(total=3)))
    assert desk.intake.look_up(request.id) == known.request


def test_whoever_begins_too_many_requests_is_stopped_and_nobody_else(desk: Office) -> None:
    for number in range(200):
        desk.ask(run_id=str(number + 1))
    with pytest.raises(TooMany):
        desk.ask(run_id="1000")
    assert desk.ask(run_id="7").status == "open", "what is there is there"
    assert desk.ask(repository="acme/till", run_id="1000").status == "open"
    without = {"run_id": "1000", "proved": PROVED - {"environment"}, "environment": "production"}
    assert desk.ask(**without, said=frozenset({"environment"})).status == "open", "they are counted apart"
    assert desk.ask(held="1", run_id="1001").status == "open", "GitHub says so, and only once"
    desk.decline(desk.ask(held="1", run_id="1001").request.id, ALICE, "no")
    assert desk.ask(held="2", run_id="1001").status == "open", "or it would be held for ever"
    for number in range(200):  # a token is one, whatever it says of itself
        desk.ask(who="jenkins", run_id=str(number), repository=("acme/shop", "acme/till")[number % 2])
    with pytest.raises(TooMany):
        desk.ask(who="jenkins", run_id="1000")
    assert desk.ask(who="other", run_id="1000").status == "open"


def test_a_request_that_two_jobs_ask_for_at_once_is_counted_once(desk: Office) -> None:
    other = Office(desk.world)
    other.intake._limits = desk.intake._limits

    def meanwhile(kind: str, key: str) -> None:
        if kind == "request":
            desk.state.before.clear()
            desk.later(1)
            other.ask(run_id=run)

    for run in map(str, range(1, 101)):
        desk.state.before["put"] = meanwhile
        assert desk.ask(run_id=run).request.generation == 1
    for run in map(str, range(101, 201)):
        desk.ask(run_id=run)
    with pytest.raises(TooMany):
        desk.ask(run_id="201")


def test_a_list_of_large_requests_is_not_held_in_memory(desk: Office) -> None:
    large = Facts(total=1, roles=tuple((SHA, (("email", secrets.token_hex(450)),)) for _ in range(100)))
    for number in range(1, 201):
        key = desk.ask(run_id=str(number)).request.id
        desk.register.change(key, lambda newest: replace(newest.request, facts=large))
    tracemalloc.start()
    try:
        listed, older = desk.register.newest(2)
        assert (len(listed), older) == (2, 198)
        del listed
        sized = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sized < 12 << 20, "all of them are more than 20 MiB"


def test_the_newest_requests_are_listed_page_by_page(desk: Office) -> None:
    for number in range(5):
        desk.ask(run_id=str(number + 1))
        desk.later(1)
    for skip, runs, older in ((0, ["5", "4"], 3), (4, ["1"], 0), (9, [], 0)):
        listed, others = desk.register.newest(2, skip)
        assert ([standing.request.deployment.run_id for standing in listed], others) == (runs, older)


def test_many_at_one_request_end_in_a_plain_answer(desk: Office) -> None:
    standing = desk.ask()
    desk.approve(standing.request.id)
    desk.state.state.put = lambda *_, **__: None  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="Too many"):
        desk.ask(run_id="8")
    with pytest.raises(Unavailable, match="Too many"):
        desk.tokens(standing)


def test_the_settings_of_the_key_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too short"):
        Office(office(tmp_path).world, key=b"short")


def test_what_github_holds_is_answered_whoever_asked_first(desk: Office) -> None:
    """A delivery for a run that has asked already still wants its answer."""
    first = desk.ask()
    held = desk.ask(held="delivery-1", proved=frozenset())
    assert (held.request.id, held.request.held) == (first.request.id, "delivery-1")
    assert desk.ask(held="delivery-1", proved=frozenset()).request == held.request
    desk.decline(first.request.id, ALICE, "no")
    assert desk.ask(held="delivery-1", proved=frozenset()).status == "declined"  # delivered again
    again = desk.ask(held="delivery-2", proved=frozenset())  # the job was re-run: GitHub holds another
    assert (again.status, again.request.generation, again.request.held) == ("open", 2, "delivery-2")


def test_the_job_that_was_held_gets_the_tokens_once_it_runs(desk: Office) -> None:
    held = desk.ask(held="delivery-1", proved=frozenset())
    desk.approve(held.request.id)
    job = desk.ask(actors=("dave",))
    assert (job.status, job.request.id) == ("approved", held.request.id)
    assert len(desk.tokens(job)) == 1


def test_each_job_that_github_holds_after_an_answer_asks_anew_used_or_not(desk: Office) -> None:
    held = desk.ask(held="delivery-1", proved=frozenset())
    desk.approve(held.request.id)
    again = desk.ask(held="delivery-2", proved=frozenset())
    assert (again.status, again.request.generation) == ("open", 2)
    desk.approve(held.request.id)
    assert len(desk.tokens(desk.ask())) == 1
    assert desk.ask(held="delivery-3", proved=frozenset()).status == "open"


def test_of_several_jobs_that_github_holds_before_an_answer_the_newest_is_what_it_answers(desk: Office) -> None:
    desk.ask(held="delivery-1", proved=frozenset())
    both = desk.ask(held="delivery-2", proved=frozenset())
    assert (both.request.generation, both.request.held) == (1, "delivery-2")
    desk.approve(both.request.id)
    assert desk.ask(held="delivery-2", proved=frozenset()).status == "approved", "delivered again"


def test_a_no_is_shown_to_whoever_is_asked_next_about_the_same_run(desk: Office) -> None:
    key = desk.ask(held="delivery-1", proved=frozenset()).request.id
    desk.decline(key, ALICE, "not on a Friday")
    again = desk.ask(held="delivery-2", proved=frozenset()).request
    assert again.declined is None and again.declined_before
    assert (again.declined_before.by, again.declined_before.reason) == (ALICE, "not on a Friday")
    desk.later(3601)
    later = desk.ask(held="delivery-3", proved=frozenset()).request
    assert (later.generation, later.declined_before) == (3, again.declined_before), "nobody answered in between"


@pytest.mark.parametrize("forged", [{"repository": "acme/other"}, {"repository_id": "75"}, {"sha": OTHER_SHA}])
def test_a_webhook_about_another_place_never_becomes_the_request_of_a_job(desk: Office, forged: dict[str, str]) -> None:
    """Ids and names that do not belong together must not show people one place and give the token to another."""
    held = desk.ask(held="delivery-1", proved=frozenset(), **forged)
    desk.approve(held.request.id)
    job = desk.ask()
    assert (job.status, job.request.deployment.repository) == ("open", "acme/shop")
    assert job.request.id != held.request.id
