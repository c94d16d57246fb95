"""What the doctor says of a bucket: its lock, its policy, its owner."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from gate.audit import open_audit_log
from gate.audit.s3 import read_object
from gate.errors import AuditUnavailable, UsageError
from gate.models import Finding, Stream
from gate.uris import parse_uri
from tests.parts import Aws

OWNER = "123456789012"
DELETES = {"Effect": "Deny", "Principal": "*", "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"]}
WRITES = {
    "Effect": "Deny",
    "Principal": {"AWS": ["*"]},
    "Action": "s3:PutObject",
    "Condition": {"Null": {"s3:if-none-match": "true"}},
}
TLS = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": False}}}
WORDS = ("does not deny deletion", "does not require conditional writes", "does not require TLS")


@pytest.fixture
def locked(aws: Aws) -> str:
    name = f"locked-{secrets.token_hex(6)}"
    where = {"LocationConstraint": aws.region}
    aws.client("s3").create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=where)
    return name


def findings(aws: Aws, bucket: str) -> list[Finding]:
    return list(open_audit_log(f"s3://{bucket}/log?region={aws.region}&endpoint={aws.endpoint}", None).diagnose())


def put_policy(aws: Aws, bucket: str, *statements: dict[str, Any]) -> None:
    resource = {"Resource": f"arn:aws:s3:::{bucket}/*"}
    document = {"Version": "2012-10-17", "Statement": [resource | statement for statement in statements]}
    aws.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


@pytest.mark.parametrize(("mode", "severity"), [("GOVERNANCE", "warning"), ("COMPLIANCE", "ok")])
def test_only_compliance_locks_for_everybody(aws: Aws, locked: str, mode: str, severity: str) -> None:
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 1}}}
    aws.client("s3").put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=lock)
    (found,) = [finding for finding in findings(aws, locked) if " lock" in f" {finding.message}"]
    assert found.severity == severity
    assert ("Use COMPLIANCE" in found.message) == bool(found.fix) == (severity == "warning")


@pytest.mark.parametrize(
    ("asked", "retention", "enough"),
    [
        ("30", {"Days": 29}, False),
        ("30", {"Days": 30}, True),
        ("731", {"Years": 2}, False),
        ("730", {"Years": 2}, True),
    ],
)
def test_records_are_locked_as_long_as_the_policy_asks(
    aws: Aws, locked: str, asked: str, retention: dict[str, int], *, enough: bool
) -> None:
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", **retention}}}
    aws.client("s3").put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=lock)
    uri = f"s3://{locked}/log?region={aws.region}&endpoint={aws.endpoint}&retention_days={asked}"
    errors = [finding for finding in open_audit_log(uri, None).diagnose() if finding.severity == "error"]
    assert [f"asks for {asked}" in finding.message and finding.fix != "" for finding in errors] == [True] * (not enough)


def test_a_retention_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="retention_days"):
        open_audit_log("s3://bucket/log?region=eu-west-1&retention_days=7y", None)


def missing(aws: Aws, bucket: str) -> list[str]:
    """The words for what the bucket's policy lacks."""
    about = [finding for finding in findings(aws, bucket) if "policy" in finding.message]
    assert all(finding.severity == "warning" and finding.fix for finding in about) or len(about) == 1
    return [words for words in WORDS if any(words in finding.message for finding in about)]


def test_a_bucket_without_a_policy_lacks_all_three(aws: Aws, locked: str) -> None:
    assert missing(aws, locked) == list(WORDS)


@pytest.mark.parametrize(
    ("statements", "lacks"),
    [
        ([DELETES, WRITES, TLS], []),
        ([DELETES | {"Action": "s3:Delete*"}, WRITES, TLS], []),
        ([DELETES | {"Resource": "*"}, WRITES, TLS], []),
        ([WRITES, TLS], [0]),
        ([DELETES, TLS], [1]),
        ([DELETES, WRITES], [2]),
        ([DELETES | {"Action": "s3:DeleteObject"}, WRITES, TLS], [0]),
        ([DELETES | {"Effect": "Allow"}, WRITES, TLS], [0]),
        ([DELETES | {"Principal": {"AWS": f"arn:aws:iam::{OWNER}:root"}}, WRITES, TLS], [0]),
        ([DELETES | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}, WRITES, TLS], [0]),
        ([DELETES | {"Resource": "arn:aws:s3:::other/*"}, WRITES, TLS], [0]),
        ([DELETES, WRITES | {"Condition": {"Null": {"s3:if-none-match": "false"}}}, TLS], [1]),
        ([DELETES, WRITES, TLS | {"Condition": {"Bool": {"aws:SecureTransport": "true"}}}], [2]),
    ],
)
def test_what_a_policy_lacks_is_told(aws: Aws, locked: str, statements: list[dict[str, Any]], lacks: list[int]) -> None:
    put_policy(aws, locked, *statements)
    assert missing(aws, locked) == [WORDS[number] for number in lacks]


# Servers that look at what they are asked

Answer = Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """The endpoint of an S3 that answers every request as `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, body = answer(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http_server.server_address[1]}"
        finally:
            http_server.shutdown()
            thread.join(timeout=10)


DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied to 123456789012</Message></Error>"


@pytest.mark.usefixtures("aws")
def test_every_request_names_the_owner_and_no_message_does() -> None:
    asked: list[tuple[str, str | None]] = []

    def note(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        asked.append((request.command, request.headers["x-amz-expected-bucket-owner"]))
        return 403, DENIED

    with server(note) as endpoint:
        uri = f"s3://bucket/key?region=eu-west-1&endpoint={endpoint}&owner={OWNER}"
        log, stream = open_audit_log(uri, None), Stream("acme/shop", "production")
        for use in (
            lambda: log.put(stream, 1, b"one"),
            lambda: log.get(stream, 1),
            lambda: list(log.listing()),
            lambda: read_object(parse_uri(uri), 10),
        ):
            with pytest.raises(AuditUnavailable, match="belongs to another account") as caught:
                use()
            assert OWNER not in f"{caught.value} {caught.value.hint}"
        (finding,) = log.diagnose()
    assert (finding.severity, OWNER in f"{finding}") == ("error", False)
    assert {command for command, _ in asked} == {"PUT", "GET"}
    assert {owner for _, owner in asked} == {OWNER}
    assert len(asked) >= 5


@pytest.mark.usefixtures("aws")
def test_the_doctor_names_the_owner_in_each_of_its_questions_and_says_what_it_may_not_see() -> None:
    asked: list[tuple[str, str | None]] = []

    def half_open(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        asked.append((request.path, request.headers["x-amz-expected-bucket-owner"]))
        return (200, b"<ListBucketResult/>") if "list-type" in request.path else (403, DENIED)

    with server(half_open) as endpoint:
        uri = f"s3://bucket/key?region=eu-west-1&endpoint={endpoint}&owner={OWNER}"
        first, *others = open_audit_log(uri, None).diagnose()
    assert (first.severity, first.message) == ("ok", "answers, and belongs to the account that its URI names")
    assert [(finding.severity, "can't tell whether it" in finding.message) for finding in others] == [
        ("warning", True)
    ] * 3
    assert not re.search(OWNER, f"{others}")
    assert [owner for _, owner in asked] == [OWNER] * 4


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("error", [b"<Error><Code>NotImplemented</Code><Message>A header you</Message></Error>", b""])
def test_what_a_stand_in_does_not_offer_is_a_note_unless_the_policy_asks_for_it(error: bytes) -> None:
    def listing(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        return (200, b"<ListBucketResult/>") if "list-type" in request.path else (501, error)

    with server(listing) as endpoint:
        uri = f"s3://bucket/key?region=eu-west-1&endpoint={endpoint}"
        first, *others = open_audit_log(uri, None).diagnose()
        asked = [finding.severity for finding in open_audit_log(f"{uri}&retention_days=30", None).diagnose()]
        with pytest.raises(AuditUnavailable, match="is on a server that does not offer this"):
            open_audit_log(uri, None).put(Stream("acme/shop", "production"), 1, b"one")
    assert (first.severity, first.message) == ("ok", "answers")
    assert [(finding.severity, "does not offer this" in finding.message, finding.fix) for finding in others] == [
        ("note", True, "")
    ] * 3
    assert asked == ["ok", "note", "warning", "note"]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("body", [b"[]", b"no JSON", b'{"Statement": [7]}', b'{"Statement": [{}]}', b"7"])
def test_a_policy_that_makes_no_sense_is_no_crash(body: bytes) -> None:
    with server(lambda request: (200, body if "policy" in request.path else b"<X/>")) as endpoint:
        *_, last = open_audit_log(f"s3://bucket/key?region=eu-west-1&endpoint={endpoint}", None).diagnose()
    assert (last.severity, last.message) == (
        "warning",
        "can't tell whether it denies what nobody may do: the answer makes no sense",
    )


@pytest.mark.parametrize(
    "query", ["owner=", "owner=12345678901", "owner=1234567890123", f"owner=x{OWNER}", f"owner={OWNER}&x=1"]
)
def test_an_owner_has_twelve_digits_and_is_not_repeated(query: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_audit_log(f"s3://bucket/x?region=eu-west-1&{query}", None)
    assert not re.search(r"[0-9]{6}", f"{caught.value} {caught.value.hint}")
