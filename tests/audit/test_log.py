"""The contract that every audit log keeps, over a directory and over S3."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gate.audit import MAX_RECORD, AuditLog, NotARecord, Occupied, RecordPath, open_audit_log, parse_record_path
from gate.audit.s3 import read_object
from gate.errors import AuditUnavailable, UsageError
from gate.models import Stream
from gate.uris import parse_uri
from tests.audit.proxy import proxy
from tests.parts import Aws, free_port

STREAM = Stream("acme/shop", "production")
OTHER = Stream("acme/shop/production", "seq")


@pytest.fixture
def bucket(aws: Aws) -> str:
    return aws.bucket()


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/log"
    aws = request.getfixturevalue("aws")
    return f"s3://{request.getfixturevalue('bucket')}/some/prefix?region={aws.region}&endpoint={aws.endpoint}"


@pytest.fixture
def log(uri: str) -> AuditLog:
    return open_audit_log(uri, None)


Place = Callable[[str, bytes], None]


@pytest.fixture
def place(request: pytest.FixtureRequest, uri: str, tmp_path: Path) -> Place:
    """Puts bytes at a path below the log's prefix, behind its back."""

    def in_folder(path: str, data: bytes) -> None:
        file = tmp_path / "log" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    if uri.startswith("file:"):
        return in_folder
    bucket, s3 = request.getfixturevalue("bucket"), request.getfixturevalue("aws").client("s3")
    return lambda path, data: s3.put_object(Bucket=bucket, Key=f"some/prefix/{path}", Body=data)


def test_a_record_that_was_put_is_there(log: AuditLog) -> None:
    assert log.get(STREAM, 1) is None
    uri = log.put(STREAM, 1, b"one")
    assert log.get(STREAM, 1) == b"one"
    assert uri == log.uri(STREAM, 1)
    assert uri.endswith("/acme/shop/production/seq=000000000001.json")


def test_putting_the_same_bytes_again_is_success(log: AuditLog) -> None:
    assert log.put(STREAM, 7, b"seven") == log.put(STREAM, 7, b"seven")


def test_other_bytes_are_refused_and_change_nothing(log: AuditLog) -> None:
    log.put(STREAM, 1, b"one")
    with pytest.raises(Occupied) as caught:
        log.put(STREAM, 1, b"another")
    assert caught.value.reason == "audit.unavailable"
    assert "new audit prefix" in caught.value.hint
    assert log.get(STREAM, 1) == b"one"


def test_of_concurrent_writers_one_wins(log: AuditLog) -> None:
    def put(record: bytes) -> bool:
        try:
            log.put(STREAM, 1, record)
        except Occupied:
            return False
        return True

    records = [secrets.token_bytes(2000) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        won = [record for record, wins in zip(records, pool.map(put, records), strict=True) if wins]
    assert won == [log.get(STREAM, 1)]


def test_reading_gives_every_place_in_order_with_its_gaps(log: AuditLog) -> None:
    present = {seq: f"record {seq}".encode() for seq in range(1, 131) if seq % 7}
    for seq, record in present.items():
        log.put(STREAM, seq, record)
    log.put(OTHER, 2, b"another stream's")
    places = [RecordPath(STREAM, seq) for seq in range(1, 133)] + [RecordPath(OTHER, seq) for seq in (1, 2, 3)]
    assert list(log.read(places)) == [present.get(seq) for seq in range(1, 133)] + [None, b"another stream's", None]
    assert list(log.read([])) == []


def test_a_reader_may_stop_early(log: AuditLog) -> None:
    log.put(STREAM, 1, b"one")
    asked = 0

    def places() -> Iterator[RecordPath]:
        nonlocal asked
        for asked in range(1, 1001):
            yield RecordPath(STREAM, asked)

    reader = log.read(places())
    assert next(reader) == b"one"
    assert asked <= 64, "how far it reads ahead is what bounds its memory"


def test_the_listing_holds_every_object(log: AuditLog, place: Place) -> None:
    assert list(log.listing()) == []
    paths = {str(RecordPath(stream, seq)) for stream in (STREAM, OTHER) for seq in (1, 2, 3)}
    for stream in (STREAM, OTHER):
        for seq in (1, 2, 3):
            log.put(stream, seq, b"x")
    assert set(log.listing()) == paths
    strays = {"stray.txt", "acme/shop/README", "acme/shop/production/seq=1.json", "acme/ü\u202e"}
    for stray in strays:
        place(stray, b"stray")
    assert sorted(log.listing()) == sorted(paths | strays)
    assert not any(map(parse_record_path, strays))


def test_a_record_too_large_is_read_only_so_far_that_it_shows(log: AuditLog, place: Place) -> None:
    place(str(RecordPath(STREAM, 1)), bytes(3 * MAX_RECORD))
    assert log.get(STREAM, 1) == bytes(MAX_RECORD + 1)


class TestDirectory:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "log"

    @pytest.fixture
    def log(self, root: Path) -> AuditLog:
        return open_audit_log(f"file://{root}", None)

    def test_only_its_owner_can_read_it(self, log: AuditLog, root: Path) -> None:
        log.put(STREAM, 1, b"one")
        modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
        record = modes.pop("seq=000000000001.json")
        assert record == 0o600
        assert set(modes.values()) == {0o700}

    def test_nothing_temporary_stays(self, log: AuditLog, root: Path) -> None:
        log.put(STREAM, 1, b"one")
        with pytest.raises(Occupied):
            log.put(STREAM, 1, b"another")
        assert list((root / "=tmp").iterdir()) == []

    def test_what_a_writer_that_died_left_is_no_record(self, log: AuditLog, root: Path) -> None:
        log.put(STREAM, 1, b"one")
        (root / "=tmp" / "0123").write_bytes(b"hal")
        assert list(log.listing()) == [str(RecordPath(STREAM, 1))]

    @pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
    def test_what_is_no_file_is_no_record(self, log: AuditLog, root: Path, make: Callable[[Path], Any]) -> None:
        log.put(STREAM, 1, b"one")
        make(root / str(RecordPath(STREAM, 2)))
        with pytest.raises(NotARecord):
            log.get(STREAM, 2)
        with pytest.raises(AuditUnavailable):
            log.put(STREAM, 2, b"two")
        one, two, three = log.read(RecordPath(STREAM, seq) for seq in (1, 2, 3))
        assert (one, type(two), three) == (b"one", NotARecord, None)

    @pytest.mark.parametrize("name", ["acme", "=tmp"])
    def test_a_linked_folder_is_never_entered(self, log: AuditLog, root: Path, name: str, tmp_path: Path) -> None:
        root.mkdir()
        (tmp_path / "elsewhere").mkdir()
        (root / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(AuditUnavailable, match="can't be written"):
            log.put(STREAM, 1, b"one")
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_linked_folder_shows_in_the_listing(self, log: AuditLog, root: Path, tmp_path: Path) -> None:
        log.put(STREAM, 1, b"one")
        (root / "linked").symlink_to(root / "acme")
        assert sorted(log.listing()) == [str(RecordPath(STREAM, 1)), "linked"]

    def test_a_name_that_is_not_utf8_is_listed(self, log: AuditLog, root: Path) -> None:
        root.mkdir()
        (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe"))).write_bytes(b"")
        assert [os.fsencode(path) for path in log.listing()] == [b"\xff\xfe"]

    def test_a_disk_that_takes_no_more_is_audit_unavailable(self, tmp_path: Path) -> None:
        script = """
import resource, sys
from gate.audit import open_audit_log
from gate.errors import AuditUnavailable
from gate.models import Stream
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    open_audit_log(sys.argv[1], None).put(Stream("acme/shop", "production"), 1, bytes(1001))
except AuditUnavailable as error:
    print(error.message)
"""
        done = subprocess.run(
            [sys.executable, "-c", script, f"file://{tmp_path}/log"], capture_output=True, text=True, check=True
        )
        assert "can't be written" in done.stdout
        assert [path for path in (tmp_path / "log").rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("root", ["/proc/deploy-gate", "/sys/deploy-gate"])
    def test_a_place_that_can_not_be_written_is_audit_unavailable(self, root: str) -> None:
        with pytest.raises(AuditUnavailable, match="can't be written") as caught:
            open_audit_log(f"file://{root}", None).put(STREAM, 1, b"one")
        assert caught.value.hint

    def test_doctor(self, log: AuditLog, root: Path) -> None:
        assert [finding.severity for finding in log.diagnose()] == ["ok"]
        root.chmod(0o777)
        assert [finding.severity for finding in log.diagnose()] == ["ok", "warning"]
        assert [finding.severity for finding in open_audit_log("file:///proc/x", None).diagnose()] == ["error"]
        assert list((root / "=tmp").iterdir()) == []


class TestS3:
    def test_a_missing_bucket_is_audit_unavailable(self, aws: Aws) -> None:
        log = open_audit_log(f"s3://no-such-bucket/x?region={aws.region}&endpoint={aws.endpoint}", None)
        for use in (
            lambda: log.put(STREAM, 1, b"one"),
            lambda: log.get(STREAM, 1),
            lambda: list(log.listing()),
            lambda: list(log.read([RecordPath(STREAM, 1)])),
        ):
            with pytest.raises(AuditUnavailable, match="does not exist"):
                use()

    def test_a_deleted_record_is_not_one_that_never_was(self, aws: Aws, bucket: str) -> None:
        log = open_audit_log(f"s3://{bucket}?region={aws.region}&endpoint={aws.endpoint}", None)
        log.put(STREAM, 1, b"one")
        aws.client("s3").delete_object(Bucket=bucket, Key=str(RecordPath(STREAM, 1)))
        with pytest.raises(NotARecord, match="was deleted"):
            log.get(STREAM, 1)

    def test_a_service_that_is_down_is_audit_unavailable(self) -> None:
        log = open_audit_log(f"s3://bucket/x?region=eu-west-1&endpoint=http://127.0.0.1:{free_port()}", None)
        with pytest.raises(AuditUnavailable, match="can't be reached"):
            log.put(STREAM, 1, b"one")

    @pytest.mark.parametrize("body", [b"", b"<html>Welcome to this network!</html>"])
    def test_a_server_that_says_yes_to_everything_is_audit_unavailable(self, aws: Aws, body: bytes) -> None:
        with proxy(aws.endpoint, agreeing=body) as between:
            log = open_audit_log(f"s3://bucket/x?region={aws.region}&endpoint={between.endpoint}", None)
            with pytest.raises(AuditUnavailable, match="does not give it back"):
                log.put(STREAM, 1, b"one")

    def test_a_put_that_went_nowhere_is_audit_unavailable(self, aws: Aws, bucket: str) -> None:
        with proxy(aws.endpoint) as between:
            between.tricks.append("swallow")
            log = open_audit_log(f"s3://{bucket}?region={aws.region}&endpoint={between.endpoint}", None)
            with pytest.raises(AuditUnavailable, match="does not give it back"):
                log.put(STREAM, 1, b"one")
            assert log.put(STREAM, 1, b"one") == log.uri(STREAM, 1)
            assert between.seen == ["PUT swallow", "GET pass", "PUT pass", "GET pass"]

    def test_the_listing_turns_its_pages(self, aws: Aws, bucket: str) -> None:
        s3 = aws.client("s3")
        for number in range(1003):
            s3.put_object(Bucket=bucket, Key=f"p/{number}", Body=b"")
        log = open_audit_log(f"s3://{bucket}/p/?region={aws.region}&endpoint={aws.endpoint}", None)
        assert sorted(log.listing(), key=int) == [str(number) for number in range(1003)]

    def test_doctor(self, aws: Aws, bucket: str) -> None:
        def severities(bucket: str) -> list[str]:
            log = open_audit_log(f"s3://{bucket}?region={aws.region}&endpoint={aws.endpoint}", None)
            return [finding.severity for finding in log.diagnose()]

        s3 = aws.client("s3")
        locked = f"locked-{secrets.token_hex(6)}"
        where = {"LocationConstraint": aws.region}
        s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=where)
        assert severities("no-such-bucket") == ["error"]
        assert severities(bucket) == ["ok", "ok"] + ["warning"] * 4
        assert severities(locked) == ["ok", "ok"] + ["warning"] * 4
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        s3.put_object_lock_configuration(
            Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        assert severities(locked) == ["ok", "ok", "ok"] + ["warning"] * 3

    def test_doctor_warns_of_a_network_that_could_answer_instead(self) -> None:
        log = open_audit_log("s3://bucket?region=eu-west-1&endpoint=http://256.0.0.1", None)
        assert [finding.severity for finding in log.diagnose()] == ["warning", "error"]

    def test_a_policy_is_an_object_too(self, aws: Aws, bucket: str) -> None:
        aws.client("s3").put_object(Bucket=bucket, Key="a/gate.yaml", Body=b"version: 1")
        where = f"?region={aws.region}&endpoint={aws.endpoint}"
        assert read_object(parse_uri(f"s3://{bucket}/a/gate.yaml{where}"), 100) == b"version: 1"
        assert read_object(parse_uri(f"s3://{bucket}/a/gate.yaml{where}"), 3) == b"ver"
        with pytest.raises(AuditUnavailable, match="does not exist"):
            read_object(parse_uri(f"s3://{bucket}/other{where}"), 100)
        with pytest.raises(UsageError, match="names no object"):
            read_object(parse_uri(f"s3://{bucket}{where}"), 100)

    @pytest.mark.parametrize("uri", ["s3://?region=eu-west-1", "s3://bucket", "s3://bucket?region=eu-west-1&x=1"])
    def test_a_uri_that_makes_no_sense(self, uri: str) -> None:
        with pytest.raises(UsageError):
            open_audit_log(uri, None)
