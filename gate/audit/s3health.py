"""Whether an S3 bucket is set up so that no record can be deleted, overwritten or read on its way."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gate.audit import RecordPath
from gate.errors import AuditUnavailable
from gate.iampolicy import listed, matches
from gate.models import Finding, Stream


class NotOffered(AuditUnavailable):
    """The server has no such operation, as AWS always has."""


Ask = Callable[[str], Mapping[str, Any]]
"""Makes one of the SDK's calls about the bucket; its answer is empty where the bucket has no such setting."""

_FIX = "{} (docs/operations.md, or gate aws deploy)"
_RECORD = RecordPath(Stream("owner/repository", "environment"), 1)  # lies where records lie


def examine(subject: str, place: str, ask: Ask, days: int) -> Iterator[Finding]:
    """How versions, Object Lock and the bucket's policy stand.

    `place` is `BUCKET/` and the log's prefix; records are to be locked for `days` at least.
    """
    yield from _told(subject, "keeps versions", lambda: _versions(subject, ask))
    yield from _told(subject, "locks every record", lambda: _lock(subject, ask, days), wanted=days > 0)
    yield from _told(subject, "denies what nobody may do", lambda: _policy(subject, place, ask))


def _told(subject: str, good: str, look: Callable[[], Iterator[Finding]], *, wanted: bool = False) -> Iterator[Finding]:
    try:
        yield from list(look())
    except NotOffered as error:
        message = f"can't tell whether it {good}: {error.message}"
        yield Finding("warning", subject, message, error.hint) if wanted else Finding("note", subject, message)
    except AuditUnavailable as error:
        yield Finding("warning", subject, f"can't tell whether it {good}: {error.message}", error.hint)
    except (ValueError, TypeError, AttributeError, KeyError):
        yield Finding("warning", subject, f"can't tell whether it {good}: the answer makes no sense", "Ask again.")


def _versions(subject: str, ask: Ask) -> Iterator[Finding]:
    if ask("get_bucket_versioning").get("Status") == "Enabled":
        yield Finding("ok", subject, "keeps versions")
    else:
        yield Finding("warning", subject, "keeps no versions", _FIX.format("aws s3api put-bucket-versioning"))


def _lock(subject: str, ask: Ask, days: int) -> Iterator[Finding]:
    rule = ask("get_object_lock_configuration").get("ObjectLockConfiguration", {}).get("Rule", {})
    retention = rule.get("DefaultRetention", {})
    mode = retention.get("Mode")
    locked = retention.get("Days", 0) + 365 * retention.get("Years", 0)
    fix = _FIX.format("aws s3api put-object-lock-configuration")
    if mode and locked < days:
        yield Finding("error", subject, f"locks records for {locked} days, and its URI asks for {days}", fix)
    if mode == "COMPLIANCE":
        yield Finding("ok", subject, "locks every record for a time (Object Lock)")
    elif mode == "GOVERNANCE":
        message = "locks records in GOVERNANCE mode: whoever may bypass it can delete them. Use COMPLIANCE"
        yield Finding("warning", subject, message, fix)
    else:
        message = "does not lock records: there is no Object Lock with a default retention"
        yield Finding("warning", subject, message, fix)


class _Denial(NamedTuple):
    """What a bucket's policy must deny to everybody, and what it means where it does not."""

    actions: tuple[str, ...]
    condition: dict[str, dict[str, str]]
    otherwise: str


_DENIALS = (
    _Denial(
        ("s3:DeleteObject", "s3:DeleteObjectVersion"),
        {},
        "its policy does not deny deletion (s3:DeleteObject, s3:DeleteObjectVersion) to everybody",
    ),
    _Denial(
        ("s3:PutObject",),
        {"null": {"s3:if-none-match": "true"}},
        "its policy does not require conditional writes (s3:if-none-match), so a record can be written over",
    ),
    _Denial(
        ("s3:GetObject", "s3:PutObject"),
        {"bool": {"aws:securetransport": "false"}},
        "its policy does not require TLS (aws:SecureTransport)",
    ),
)


def _policy(subject: str, place: str, ask: Ask) -> Iterator[Finding]:
    statements = listed(json.loads(ask("get_bucket_policy").get("Policy", "{}")).get("Statement", []))
    missing = [denial for denial in _DENIALS if not _denies(statements, denial, f"{place}{_RECORD}")]
    for denial in missing:
        yield Finding("warning", subject, denial.otherwise, _FIX.format("aws s3api put-bucket-policy"))
    if not missing:
        yield Finding("ok", subject, "its policy denies deletion, overwriting and plain HTTP to everybody")


def _denies(statements: list[Any], denial: _Denial, record: str) -> bool:
    patterns = [
        pattern
        for statement in statements
        if statement["Effect"] == "Deny"
        and _is_everybody(statement.get("Principal"))
        and _condition(statement) == denial.condition
        and any(matches(resource, f"arn:aws:s3:::{record}") for resource in _resources(statement))
        for pattern in listed(statement.get("Action", []))
    ]
    return all(any(matches(pattern.lower(), action.lower()) for pattern in patterns) for action in denial.actions)


def _is_everybody(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS", [])))


def _condition(statement: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The condition, in lower case: IAM minds it in neither operators nor keys."""
    return {
        operator.lower(): {
            key.lower(): ",".join(str(value).lower() for value in listed(values)) for key, values in test.items()
        }
        for operator, test in statement.get("Condition", {}).items()
    }


def _resources(statement: Mapping[str, Any]) -> list[str]:
    """The resources, as if all lay in the partition `aws`."""
    return [re.sub(r"^arn:aws[a-z-]*:", "arn:aws:", resource) for resource in listed(statement.get("Resource", []))]
