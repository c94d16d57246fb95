"""The record of an event: one shape of its own, and nothing in it that decides."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.canonical import canonical
from gate.deployment import Deployment
from gate.record import (
    BOT_STREAM,
    EVENT_RULES,
    Entry,
    EventKind,
    Happened,
    Happening,
    Record,
    RecordError,
    compose,
    digest,
    parse,
)
from gate.record.decision import read_decision
from tests.audit.book import Book, happening, sha

REMOVED = object()
DEPLOYMENT = Deployment("acme/shop", "a" * 40, "production", actors=("bob",), run_id="4711")
REFUSAL = Happening(
    invocation="e" * 22,
    happened_at=1_800_000_000,
    event="refusal",
    who="bob@example.com",
    message="not on a Friday",
    deployment=DEPLOYMENT,
    token_digests=(),
    gate="0.1.0",
)
APPROVAL = replace(REFUSAL, event="approval", message="", token_digests=(digest(b"a.b.c"),))
FAILURE = replace(REFUSAL, event="sign_in_failure", who="", deployment=None)
ALLOW = Entry(
    invocation="0" * 22,
    decided_at=1_800_000_000,
    reason="allowed",
    message="Approved by alice@example.com.",
    deployment=DEPLOYMENT,
    approvals=(
        {
            "approver": "alice@example.com",
            "jti": "j" * 32,
            "kid": "k",
            "issued_at": 1,
            "expires_at": 2,
            "reason": "why",
        },
    ),
    tokens=("a.b.c",),
    policy_sha256="1" * 64,
    gate="0.1.0",
)


def members(entry: Happening = REFUSAL) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compose(entry, None))
    return found


def changed(old: dict[str, Any], changes: dict[str, Any]) -> bytes:
    return canonical({name: value for name, value in (old | changes).items() if value is not REMOVED})


@pytest.mark.parametrize("entry", [REFUSAL, APPROVAL, FAILURE, replace(FAILURE, event="enrolment", who="x" * 254)])
def test_what_is_written_is_read(entry: Happening) -> None:
    record = parse(compose(entry, None))
    assert isinstance(record, Happened)
    assert record.members() == entry.members()
    assert (record.seq, record.previous, record.last_allowed_sha) == (1, "0" * 64, None)
    assert record.stream == entry.stream
    assert record.at == entry.happened_at


def test_without_a_deployment_it_is_the_bots_own() -> None:
    assert parse(compose(FAILURE, None)).stream == BOT_STREAM
    assert BOT_STREAM.path == "deploy-gate/bot/events"
    assert parse(compose(REFUSAL, None)).stream == DEPLOYMENT.stream


def test_every_member_is_there() -> None:
    for entry in (REFUSAL, APPROVAL, FAILURE):
        assert members(entry).keys() == EVENT_RULES.keys()


def test_it_carries_the_last_allowed_sha_along() -> None:
    allow = compose(ALLOW, None)
    event = compose(replace(REFUSAL, deployment=replace(DEPLOYMENT, sha="b" * 40)), parse(allow), digest(allow))
    denial = compose(replace(ALLOW, reason="token.expired", approvals=()), parse(event), digest(event))
    assert [parse(data).last_allowed_sha for data in (allow, event, denial)] == ["a" * 40] * 3
    assert [parse(data).seq for data in (allow, event, denial)] == [1, 2, 3]


def test_decisions_are_what_they_were_byte_for_byte() -> None:
    """These digests were taken before there were events."""
    allow = compose(ALLOW, None)
    denial = compose(
        replace(ALLOW, invocation="1" * 22, reason="token.expired", approvals=()), parse(allow), digest(allow)
    )
    assert digest(allow) == "0a9b4bdaecd7a3d8375913a90050f57b10029e20d43d9f9d8653c022aa8cc0cd"
    assert digest(denial) == "f673503cf06f2ec3cb57e43dedd77355e7ace16dce9fac5e0ff5665aa21d79fc"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"extra": 1}, "must not have"),
        *(({name: REMOVED}, "missing") for name in EVENT_RULES if name != "event"),
        ({"event": REMOVED}, "must not have"),  # what is left is taken for a decision
        ({"version": 1}, "version"),
        ({"version": 3}, "version"),
        ({"version": True}, "version"),
        ({"version": "2"}, "version"),
        ({"version": [2]}, "version"),
        ({"seq": 0}, "seq"),
        ({"previous": "F" * 64}, "previous"),
        ({"invocation": "short"}, "invocation"),
        ({"happened_at": -1}, "happened_at"),
        ({"happened_at": None}, "happened_at"),
        ({"event": "allow"}, "event"),
        ({"event": "allowed"}, "event"),
        ({"event": ["approval"]}, "event"),
        ({"event": None}, "event"),
        ({"who": None}, "who"),
        ({"who": "x" * 255}, "who"),
        ({"who": "bob\n"}, "who"),
        ({"who": "\u202ebob"}, "who"),
        ({"message": 1}, "message"),
        ({"message": "x" * 1001}, "message"),
        ({"deployment": []}, "deployment"),
        ({"deployment": {}}, "deployment: "),
        ({"deployment": None}, "must name their deployment"),
        ({"token_digests": None}, "token_digests"),
        ({"token_digests": ["a.b.c"]}, "token_digests"),
        ({"token_digests": ["0" * 64]}, "only an approval"),
        ({"last_allowed_sha": "main"}, "last_allowed_sha"),
        ({"decision": "allow"}, "must not have"),
        ({"reason": "allowed"}, "must not have"),
        ({"approvals": []}, "must not have"),
        ({"tokens": ["a.b.c"]}, "must not have"),
        ({"policy_sha256": "1" * 64}, "must not have"),
        ({"decided_at": 1}, "must not have"),
    ],
)
def test_what_is_no_event(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RecordError, match=why):
        parse(changed(members(), changes))


@pytest.mark.parametrize(
    "changes", [{"repository": "ACME/shop"}, {"sha": "main"}, {"environment": "a/b"}, {"actors": ["\n"]}, {"extra": ""}]
)
def test_a_deployment_that_is_none(changes: dict[str, Any]) -> None:
    old = members()
    with pytest.raises(RecordError, match="deployment: "):
        parse(changed(old, {"deployment": old["deployment"] | changes}))


def test_a_decision_can_not_be_called_an_event() -> None:
    decision = json.loads(compose(ALLOW, None))
    for changes in ({"event": "approval"}, {"version": 2}, {"event": "approval", "version": 2}):
        with pytest.raises(RecordError):
            parse(canonical(decision | changes))


def test_a_reader_of_decisions_alone_refuses_it() -> None:
    """As gates from before there were events do."""
    for entry in (REFUSAL, APPROVAL, FAILURE):
        with pytest.raises(RecordError):
            read_decision(members(entry))


def test_one_form_only() -> None:
    data = compose(REFUSAL, None)
    for other in (json.dumps(members()).encode(), data + b"\n", data.replace(b'"who"', b'"\\u0077ho"')):
        with pytest.raises(RecordError):
            parse(other)


def test_an_event_that_no_record_can_hold() -> None:
    for changes in (
        {"message": "\ud800"},
        {"happened_at": 2**53},
        {"who": "\x1b[31m"},
        {"event": "allowed"},
        {"deployment": None},
        {"token_digests": ("a.b.c",)},
        {"invocation": ""},
    ):
        with pytest.raises(RecordError):
            compose(replace(REFUSAL, **changes), None)


PRINTABLE = st.text(max_size=254).filter(str.isprintable)


@settings(max_examples=200)
@given(
    event=st.sampled_from(get_args(EventKind)),
    who=PRINTABLE,
    message=st.text(max_size=1000).filter(lambda text: text.encode("utf-8", "ignore").decode() == text),
    at=st.integers(0, 2**53 - 1),
    named=st.booleans(),
    digests=st.lists(st.binary(max_size=9).map(digest), max_size=4),
    run_id=PRINTABLE,
)
def test_whatever_may_happen_can_be_told(
    event: EventKind, who: str, message: str, at: int, named: bool, digests: list[str], run_id: str
) -> None:
    about = event in ("approval", "refusal")
    entry = Happening(
        invocation="e" * 22,
        happened_at=at,
        event=event,
        who=who,
        message=message,
        deployment=replace(DEPLOYMENT, run_id=run_id) if named or about else None,
        token_digests=tuple(digests) if event == "approval" else (),
        gate="0.1.0",
    )
    before = parse(compose(ALLOW, None))
    record = parse(compose(entry, before, "f" * 64))
    assert record == Happened(**vars_of(entry), seq=2, previous="f" * 64, last_allowed_sha="a" * 40)
    assert record.allowed_sha is None


def vars_of(entry: Happening) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Happening.__dataclass_fields__}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(changes=st.dictionaries(st.sampled_from(sorted(EVENT_RULES)) | st.text(max_size=5), JSON, max_size=3))
def test_any_members_are_an_event_or_refused(changes: dict[str, Any]) -> None:
    data = json.dumps(members() | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        record = parse(data.encode("utf-8", "surrogatepass"))
    except RecordError as error:
        assert str(error).isprintable()
    else:
        assert isinstance(record, Happened)
        assert not isinstance(record, Record)
        assert record.allowed_sha is None


def test_an_approval_is_found_again_in_the_allow_that_used_it(tmp_path: Path) -> None:
    book = Book(tmp_path)
    token = book.world.token(sha=sha(1))
    made = happening(book.world, 1, event="approval", token_digests=(digest(token.encode()),))
    book.append(made)
    assert book.world.gate(replay=book.store, audit=book.log).check([token], book.world.deployment(sha=sha(1))).allowed
    assert [digest(used.encode()) for used in book.members(2)["tokens"]] == book.members(1)["token_digests"]
    assert token.encode() not in book.file(1).read_bytes()
