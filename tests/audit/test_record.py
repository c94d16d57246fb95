"""The record: one shape, one form."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.audit import MAX_RECORD
from gate.canonical import canonical
from gate.record import RecordError, compose, parse
from tests.audit.book import Book, entry

REMOVED = object()


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    book = Book(tmp_path_factory.mktemp("world"))
    book.allow(1)
    found: dict[str, Any] = json.loads(book.file(1).read_bytes())
    return found


def test_the_members_are_those_of_the_documentation(members: dict[str, Any], tmp_path: Path) -> None:
    assert members.keys() == {
        "version",
        "seq",
        "previous",
        "invocation",
        "decided_at",
        "decision",
        "reason",
        "message",
        "deployment",
        "approvals",
        "tokens",
        "policy_sha256",
        "last_allowed_sha",
        "gate",
    }
    denial = json.loads(compose(entry(Book(tmp_path).world, 1, tokens=("a", "b")), None))
    assert denial.keys() - members.keys() == {"token_digests"}
    assert denial["token_digests"][0] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"extra": 1}, "must not have"),
        ({"gate": REMOVED}, "gate is missing"),
        ({"tokens": REMOVED}, "must hold tokens"),
        ({"token_digests": []}, "must hold tokens"),
        ({"version": 2}, "version"),
        ({"version": True}, "version"),
        ({"seq": 0}, "seq"),
        ({"seq": -1}, "seq"),
        ({"seq": "1"}, "seq"),
        ({"previous": "F" * 64}, "previous"),
        ({"invocation": "short"}, "invocation"),
        ({"decided_at": -1}, "decided_at"),
        ({"decision": "deny"}, "follow"),
        ({"decision": ["allow"]}, "decision"),
        ({"reason": "because"}, "reason"),
        ({"reason": ["allowed"]}, "reason"),
        ({"reason": "token.expired"}, "follow"),
        ({"message": None}, "message"),
        ({"deployment": []}, "deployment"),
        ({"deployment": {}}, "deployment: "),
        ({"approvals": {}}, "approvals"),
        ({"approvals": [{}]}, "approvals: "),
        ({"approvals": [1]}, "approvals"),
        ({"tokens": [1]}, "tokens"),
        ({"policy_sha256": ""}, "policy_sha256"),
        ({"last_allowed_sha": "main"}, "last_allowed_sha"),
    ],
)
def test_what_is_no_record(members: dict[str, Any], changes: dict[str, Any], why: str) -> None:
    changed = {name: value for name, value in (members | changes).items() if value is not REMOVED}
    with pytest.raises(RecordError, match=why):
        parse(canonical(changed))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repository": "ACME/shop"}, "lower case"),
        ({"repository": "../shop"}, "owner/name"),
        ({"sha": "main"}, "sha"),
        ({"environment": "a/b"}, "environment"),
        ({"run_id": "\x1b[31m"}, "run_id"),
        ({"actors": "alice"}, "actors"),
        ({"actors": ["\n"]}, "actor"),
        ({"extra": ""}, "must not have"),
    ],
)
def test_a_deployment_that_is_none(members: dict[str, Any], changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RecordError, match=why):
        parse(canonical(members | {"deployment": members["deployment"] | changes}))


def test_one_form_only(members: dict[str, Any]) -> None:
    data = canonical(members)
    assert parse(data).seq == 1
    for other in (
        json.dumps(members, separators=(",", ":")).encode() + b"\n",
        json.dumps(members).encode(),
        data.replace(b"Approved", b"\\u0041pproved"),
        data.replace(b'{"approvals"', b'{"version":1,"approvals"'),
        data.replace(b'"seq":1', b'"seq":1.0'),
        data.replace(b'"seq":1', b'"seq":9007199254740993'),
        data + bytes(MAX_RECORD),
        b"\xef\xbb\xbf" + data,
    ):
        assert other != data
        with pytest.raises(RecordError):
            parse(other)


def test_an_entry_that_no_record_can_hold(tmp_path: Path) -> None:
    world = Book(tmp_path).world
    for changes in ({"message": "\ud800"}, {"decided_at": 2**53}, {"message": "x" * MAX_RECORD}, {"invocation": ""}):
        with pytest.raises(RecordError):
            compose(entry(world, 1, **changes), None)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        parse(data)
    assert str(caught.value).isprintable()
