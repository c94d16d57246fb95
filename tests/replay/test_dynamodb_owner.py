"""DynamoDB: a URI that names the account is no use to the credentials of another one."""

import re
from collections.abc import Callable, Iterator

import pytest

from gate.bot.errors import Unavailable
from gate.bot.state import open_state
from gate.errors import ReplayUnavailable, UsageError
from gate.models import Head
from gate.replay import Replayed, ReplayStore, open_replay_store
from tests.parts import Aws
from tests.replay.material import STREAM, use

OURS, THEIRS = "111122223333", "444455556666"  # the stand-in takes an access key of twelve digits for an account
ACCESSES: list[Callable[[ReplayStore], object]] = [
    lambda store: store.consume([use("jti-1", "mine")]),
    lambda store: store.consume([use("jti-2", "mine"), use("jti-3", "mine")]),
    lambda store: list(store.consumed()),
    lambda store: store.head(STREAM),
    lambda store: store.advance(STREAM, Head(1, b"one", written=False), 0),
    lambda store: store.settle(STREAM, 1),
    lambda store: list(store.heads()),
]
BAD = ["owner=", "owner=12345678901", f"owner=x{OURS}", f"owner={OURS}&owner={OURS}", f"owner={OURS}&x=1"]


@pytest.fixture
def table(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table that both accounts have, as an earlier step of a job could make it in its own. We are in ours."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    name = aws.table()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", THEIRS)
    aws.table(name=name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    return name


def opened(aws: Aws, table: str, more: str = f"&owner={OURS}") -> ReplayStore:
    return open_replay_store(f"dynamodb://{table}?region={aws.region}&endpoint={aws.endpoint}{more}", None)


def test_another_accounts_credentials_reach_neither_table(
    aws: Aws, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(aws, table).consume([use("jti-1", "mine")])
    with pytest.raises(Replayed):
        opened(aws, table).consume([use("jti-1", "theirs")])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", THEIRS)
    for access in ACCESSES:
        with pytest.raises(ReplayUnavailable, match="of another account than its URI says") as caught:
            access(opened(aws, table))
        assert not re.search(r"[0-9]{12}|arn:", f"{caught.value} {caught.value.hint}")
    assert not list(opened(aws, table, "").consumed())


def test_it_works_for_its_own_account(aws: Aws, table: str) -> None:
    store = opened(aws, table)
    for access in ACCESSES:
        access(store)
    assert {use.jti for use in opened(aws, table, "").consumed()} == {"jti-1", "jti-2", "jti-3"}


def test_the_bots_state_is_bound_likewise(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    uri = f"dynamodb://{aws.table('kind', sort_key='id')}?region={aws.region}&endpoint={aws.endpoint}&owner={OURS}"
    state = open_state(uri, None)
    assert state.put("request", "r1", {"a": 1}, expires_at=20, expected=0, now=10)
    assert [document.value for document in state.list("request", 10)] == [{"a": 1}]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", THEIRS)
    with pytest.raises(Unavailable, match="of another account"):
        open_state(uri, None).take("request", "r1", 10)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OURS)
    assert open_state(uri, None).take("request", "r1", 10)


def test_the_doctor_asks_for_the_account(aws: Aws, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(more: str) -> Iterator[str]:
        for finding in opened(aws, table, more).diagnose():
            assert not re.search(r"[0-9]{12}", f"{finding}")
            yield f"{finding.severity}: {finding.message}"

    unbound, bound = set(said("")), set(said(f"&owner={OURS}"))
    (missing,) = unbound - bound
    assert missing.startswith("warning: is bound to no account")
    assert bound < unbound
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", THEIRS)
    (foreign,) = said(f"&owner={OURS}")
    assert foreign.startswith("error: The DynamoDB table")
    assert "of another account" in foreign


def test_a_server_without_accounts_is_not_asked_for_one(aws: Aws) -> None:
    assert not any("account" in finding.message for finding in opened(aws, aws.table(), "").diagnose())


@pytest.mark.parametrize("query", BAD)
def test_an_owner_has_twelve_digits_and_is_not_repeated(query: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_replay_store(f"dynamodb://jti?region=eu-west-1&{query}", None)
    assert not re.search(r"[0-9]{6}", f"{caught.value} {caught.value.hint}")
