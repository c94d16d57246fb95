"""An audit log in an S3 bucket: `s3://BUCKET/PREFIX?region=R[&endpoint=URL][&owner=ACCOUNT][&retention_days=N]`.

IAM actions. The gate: `s3:PutObject` and `s3:GetObject` on the prefix, `s3:ListBucket` on the bucket (without which AWS
answers 403, not 404, where there is no record). To archive a policy: the same. An auditor: `s3:GetObject`,
`s3:ListBucket`. `gate doctor` besides: `s3:GetBucketVersioning`, `s3:GetBucketObjectLockConfiguration`,
`s3:GetBucketPolicy`; with the gate's own rights alone it can tell whether records can be written. Object Lock protects
versions, not names, so deny `s3:DeleteObject` and `s3:BypassGovernanceRetention` to all of them.
"""

import random
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import copy_context
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from gate.audit import (
    MAX_RECORD,
    PROBE,
    NotARecord,
    Occupied,
    RecordPath,
    named,
    not_the_policy,
    parse_record_path,
    policy_path,
)
from gate.audit.s3health import NotOffered, examine
from gate.aws import (
    CALL_SECONDS,
    CONNECTIONS,
    check_options,
    client,
    code,
    explain,
    is_denied,
    is_not_offered,
    speaks_in_clear,
)
from gate.deadline import within
from gate.errors import AuditUnavailable, UsageError
from gate.models import Finding, Stream
from gate.text import printable
from gate.uris import Uri

_AHEAD = 2 * CONNECTIONS  # records in flight or in hand: what bounds the memory
_OTHER_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="  # well formed, and that of nothing we send
_jitter = random.SystemRandom()


def open_log(uri: Uri, base: Path | None) -> "Bucket":  # noqa: ARG001 (every backend's signature)
    """The log that `uri` names. Nothing is contacted yet.

    Raises:
        UsageError: the URI names no bucket or region, or has an unknown option.
    """
    _check(uri)
    bucket, prefix = uri.location("bucket")
    return Bucket(bucket, prefix.strip("/"), uri.query)


def read_object(uri: Uri, limit: int) -> bytes:
    """At most the first `limit` bytes of the object that an `s3://BUCKET/KEY?region=R` URI names.

    Raises:
        UsageError: the URI names no bucket, key or region.
        AuditUnavailable: the object can't be read, or does not exist.
    """
    _check(uri)
    bucket, key = uri.location("bucket")
    if not key:
        raise UsageError(f"s3://{bucket}: names no object", hint="Write s3://BUCKET/KEY?region=R.")
    data = Bucket(bucket, "", uri.query).object(key, limit)
    if data is None:
        raise AuditUnavailable(f"s3://{bucket}/{key} does not exist.", hint="Correct its name.")
    return data


def _check(uri: Uri) -> None:
    check_options(uri, "owner", "retention_days")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", uri.query.get("retention_days", "1")):
        raise UsageError("s3: retention_days is not a number of days", hint="E.g. retention_days=2557.")


class Bucket:
    """An `AuditLog` below a prefix of an S3 bucket; safe between threads."""

    def __init__(self, bucket: str, prefix: str, query: dict[str, str]) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._query = query
        self._owner = query.get("owner")
        self._what = f"The S3 bucket {printable(bucket)}"

    def put(self, stream: Stream, seq: int, record: bytes) -> str:
        """One conditional PUT, and a GET that proves it; see `AuditLog.put`.

        A 200 alone may be anybody's: a proxy's, or a server's at a wrong endpoint. S3 reads its own writes at once.
        """
        if not self._keep(str(RecordPath(stream, seq)), record):
            raise Occupied(self.uri(stream, seq))
        return self.uri(stream, seq)

    def get(self, stream: Stream, seq: int) -> bytes | None:
        """One GET; see `AuditLog.get`."""
        return self._read(str(RecordPath(stream, seq)))

    def archive(self, policy: bytes) -> str:
        """As `put` does with a record; see `AuditLog.archive`."""
        sha256 = named(policy)
        if not self._keep(policy_path(sha256), policy):
            raise not_the_policy(self.policy_uri(sha256))
        return self.policy_uri(sha256)

    def archived(self, sha256: str) -> bytes | None:
        """One GET; see `AuditLog.archived`."""
        return self._read(policy_path(sha256))

    def read(self, places: Iterable[RecordPath]) -> Iterator[bytes | NotARecord | None]:
        """GETs in parallel, a bounded number ahead; see `AuditLog.read`."""
        from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415 (the gate itself never reads on)

        ahead: deque[Future[bytes | NotARecord | None]] = deque()
        readers = ThreadPoolExecutor(CONNECTIONS, "audit-read")
        try:
            for place in places:
                ahead.append(readers.submit(copy_context().run, self._found, place))  # its deadline, too
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)

    def _found(self, place: RecordPath) -> bytes | NotARecord | None:
        try:
            return self.get(*place)
        except NotARecord as error:
            return error

    def listing(self) -> Iterator[str]:
        """A paginated listing; see `AuditLog.listing`."""
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"].removeprefix(self._prefix)

    def uri(self, stream: Stream, seq: int) -> str:
        """`s3://BUCKET/…`; see `AuditLog.uri`."""
        return f"s3://{self._bucket}/{self._prefix}{RecordPath(stream, seq)}"

    def policy_uri(self, sha256: str) -> str:
        """`s3://BUCKET/…`; see `AuditLog.policy_uri`."""
        return f"s3://{self._bucket}/{self._prefix}{policy_path(sha256)}"

    def diagnose(self) -> Iterator[Finding]:
        """Whether the bucket answers, keeps versions, and locks them."""
        subject = f"audit log s3://{printable(self._bucket)}"
        if speaks_in_clear(self._query):
            yield Finding("warning", subject, "is asked over plain HTTP", "Use an https:// endpoint.")
        try:
            with self._explained():
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except AuditUnavailable as error:
            yield Finding("error", subject, error.message, error.hint)
            return
        owned = ", and belongs to the account that its URI names" if self._owner else ""
        yield Finding("ok", subject, f"answers{owned}")
        days = int(self._query.get("retention_days", "0"))
        yield from examine(subject, f"{self._bucket}/{self._prefix}", self._settings, days)

    def may_write(self) -> bool:
        """Whether these credentials may write a record, by a write that changes nothing.

        It is one onto a record that is there, as every gate makes it: only if none is there. Should the server not mind
        that, it writes what stood there. In a log without records it is one that arrives damaged.

        Raises:
            AuditUnavailable: that can't be told, or the server does not mind conditions.
        """
        page = islice(self.listing(), 1000)
        place = next(filter(None, map(parse_record_path, page)), None)
        record = self.get(*place) if place else None
        with self._explained():
            try:
                if place and record is not None:
                    written_over = self._create(f"{self._prefix}{place}", record)
                else:
                    written_over = self._send_damaged()
            except Exception as error:
                if is_denied(error):
                    return False
                raise
        if written_over:
            raise AuditUnavailable(
                f"{self._what} writes over a record that is there already.",
                hint="Use S3 itself, or a server that minds If-None-Match.",
            )
        return True

    def _send_damaged(self) -> bool:
        """Send an object whose digest is another one's: S3 looks at the sender's rights, and then refuses it."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=f"{self._prefix}{PROBE}", Body=b"", ContentMD5=_OTHER_MD5, IfNoneMatch="*"
            )
        except Exception as error:
            if code(error) not in ("BadDigest", "PreconditionFailed"):
                raise
        return False  # a server that took it has a file now that no proof minds, and gets no second one

    def object(self, key: str, limit: int) -> bytes | None:
        """At most the first `limit` bytes of an object, None where there is none.

        Raises:
            NotARecord: it was deleted; its versions still stand behind a delete marker.
            AuditUnavailable: the bucket does not exist, or can't be read.
        """
        with self._explained():
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            except Exception as error:
                if code(error) != "NoSuchKey":
                    raise
                if _is_delete_marker(error):
                    hint = "Restore it: delete the delete marker. And deny s3:DeleteObject (docs/operations.md)."
                    raise NotARecord(f"s3://{self._bucket}/{key} was deleted.", hint=hint) from None
                return None
            return within(CALL_SECONDS, lambda: _beginning(answer["Body"], limit))

    @cached_property
    def _client(self) -> Any:
        made = client("s3", self._query)
        if self._owner:
            expected = {"ExpectedBucketOwner": self._owner}
            made.meta.events.register("provide-client-params.s3", lambda params, **_: params | expected)
        return made

    def _read(self, path: str) -> bytes | None:
        return self.object(f"{self._prefix}{path}", MAX_RECORD + 1)

    def _keep(self, path: str, data: bytes) -> bool:
        """Write an object unless there is one, and read it back; False if other bytes stand there."""
        with self._explained():
            created = self._create(f"{self._prefix}{path}", data)
            kept = self._read(path) == data
            if created and not kept:
                raise self._lost(f"s3://{self._bucket}/{self._prefix}{path}")
            return kept

    def _create(self, key: str, data: bytes, tries: int = 5) -> bool:
        """Write an object unless there is one; False if there is."""
        kind = "application/json" if key.endswith(".json") else "application/yaml"
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=kind, IfNoneMatch="*")
        except Exception as error:
            if code(error) == "PreconditionFailed":
                return False
            # 409: another conditional write to the key was under way. The SDK does not repeat such a request.
            if code(error) != "ConditionalRequestConflict" or tries == 1:
                raise
            time.sleep(_jitter.uniform(0, 0.2))
            return self._create(key, data, tries - 1)
        return True

    def _lost(self, uri: str) -> AuditUnavailable:
        return AuditUnavailable(
            f"{self._what} took {printable(uri, 1000)}, but does not give it back.",
            hint="Is it S3 that answers there? Check the endpoint in its URI, and what stands in between.",
        )

    def _settings(self, operation: str) -> Mapping[str, Any]:
        """What the bucket answers to an `operation` of the SDK; empty where it has no such setting."""
        with self._explained():
            try:
                answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket)
            except Exception as error:
                if code(error) not in ("ObjectLockConfigurationNotFoundError", "NoSuchBucketPolicy"):
                    raise
                return {}
            return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except AuditUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises, the log did not answer)
            if self._owner and is_denied(error):  # S3 tells the two apart to nobody
                raise AuditUnavailable(
                    f"{self._what} belongs to another account than its URI says, or AWS denies access.",
                    hint="Check owner= in the URI; then grant the actions that docs/operations.md lists.",
                ) from None
            message, hint = explain(error, self._what)
            kind = NotOffered if is_not_offered(error) else AuditUnavailable
            raise kind(message, hint=hint) from None


def _beginning(stream: Any, limit: int) -> bytes:
    with closing(stream) as body:
        data: bytes = body.read(limit)
        if len(data) < limit:
            body.read(1)  # the SDK compares length and checksum when it meets the end
        return data


def _is_delete_marker(error: Exception) -> bool:
    response: dict[str, Any] = getattr(error, "response", {})
    return bool(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true")
