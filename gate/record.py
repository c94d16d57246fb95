"""The record: what the audit log says of one decision (docs/audit.md)."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, get_args

from gate.audit import MAX_RECORD
from gate.canonical import JsonError, canonical, parse_object
from gate.deployment import Deployment
from gate.errors import ReasonCode, UsageError, verdict
from gate.models import Stream

START = "0" * 64  # what the first record of a stream says of the one before it
_VERSION = 1
_MAX_TIME = 2**53 - 1  # the largest integer that every JSON reader keeps exact (RFC 8259 §6)


class RecordError(ValueError):
    """The bytes are no record; the message says why, in words that are safe to show."""


@dataclass(frozen=True)
class Entry:
    """One decision, before it has a place in its stream.

    `invocation` is random, so that no two records are ever the same bytes. `decided_at` is in epoch seconds.
    `approvals` are those that counted: approver, jti, kid, issued_at, expires_at, and the reason where there is one.
    Of `tokens` a record keeps an allow's whole, being used up, and anything else's as digests only.
    """

    invocation: str
    decided_at: int
    reason: ReasonCode
    message: str
    deployment: Deployment
    approvals: tuple[Mapping[str, Any], ...]
    tokens: tuple[str, ...]
    policy_sha256: str
    gate: str

    @property
    def allowed(self) -> bool:
        """True for exactly one reason code, `allowed`."""
        return self.reason == "allowed"

    @property
    def stream(self) -> Stream:
        """The stream that it belongs to."""
        return self.deployment.stream


@dataclass(frozen=True)
class Record(Entry):
    """A record as it was read: an entry in its place. `tokens` is empty unless it allows.

    `previous` is the digest of the record before it; `last_allowed_sha` the newest allowed sha of the stream, this
    record included.
    """

    seq: int
    previous: str
    last_allowed_sha: str | None


def digest(record: bytes) -> str:
    """What the next record calls this one: the hex SHA-256 of its bytes."""
    return hashlib.sha256(record).hexdigest()


def compose(entry: Entry, before: Record | None, previous: str = START) -> bytes:
    """The record of `entry` that follows the record `before`, whose digest is `previous`; None begins a stream.

    Raises:
        RecordError: the entry holds what a record can't.
    """
    members = {
        "version": _VERSION,
        "seq": before.seq + 1 if before else 1,
        "previous": previous,
        "invocation": entry.invocation,
        "decided_at": entry.decided_at,
        "decision": verdict(entry.reason),
        "reason": entry.reason,
        "message": entry.message,
        "deployment": entry.deployment.as_json(),
        "approvals": [dict(approval) for approval in entry.approvals],
        "policy_sha256": entry.policy_sha256,
        "last_allowed_sha": last_allowed(before, entry),
        "gate": entry.gate,
    }
    evidence = {"tokens": [*entry.tokens]} if entry.allowed else {"token_digests": [*map(_of_text, entry.tokens)]}
    record = _encode(members | evidence)
    parse(record)
    return record


def last_allowed(before: Record | None, entry: Entry) -> str | None:
    """The newest allowed sha of a stream once `entry` follows the record `before`."""
    if entry.allowed:
        return entry.deployment.sha
    return before.last_allowed_sha if before else None


def parse(data: bytes) -> Record:
    """Read a record, strictly: one shape, in one form (RFC 8785).

    Raises:
        RecordError: anything else.
    """
    if len(data) > MAX_RECORD:
        raise RecordError(f"it is larger than {MAX_RECORD:,} bytes")
    try:
        members = parse_object(data)
    except JsonError as error:
        raise RecordError(str(error)) from None
    _check(members, _RULES, "")
    _check_evidence(members)
    if _encode(members) != data:
        raise RecordError("it is not in canonical form")
    return Record(
        deployment=_deployment(members["deployment"]),
        approvals=tuple(members["approvals"]),
        tokens=tuple(members.get("tokens", ())),
        **{name: members[name] for name in _PLAIN},
    )


def _encode(members: Mapping[str, Any]) -> bytes:
    try:
        return canonical(members)
    except JsonError as error:
        raise RecordError(str(error)) from None


def _of_text(token: str) -> str:
    return digest(token.encode("utf-8", "surrogatepass"))


def _check(members: Mapping[str, Any], rules: Mapping[str, "_Rule"], where: str) -> None:
    if not members.keys() <= rules.keys():
        raise RecordError(f"{where}it has a member that it must not have")
    for name, (holds, optional) in rules.items():
        if name in members and not holds(members[name]):
            raise RecordError(f"{where}{name} is not what it must be")
        if name not in members and not optional:
            raise RecordError(f"{where}{name} is missing")


def _check_evidence(members: Mapping[str, Any]) -> None:
    if members["decision"] != verdict(members["reason"]):
        raise RecordError("its decision does not follow from its reason")
    allowed = members["decision"] == "allow"
    if ("tokens" in members, "token_digests" in members) != (allowed, not allowed):
        raise RecordError("it must hold tokens if it allows, and their digests otherwise")


def _deployment(members: Mapping[str, Any]) -> Deployment:
    try:
        deployment = Deployment(**{**members, "actors": tuple(members["actors"])})
    except UsageError as error:
        raise RecordError(f"deployment: {error.message}") from None
    if deployment.repository != members["repository"]:
        raise RecordError("deployment: the repository is not in lower case")
    return deployment


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    optional: bool = False


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_TIME


def _matching(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: type(value) is str and compiled.fullmatch(value) is not None


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(map(holds, value))


def _object(rules: Mapping[str, _Rule], where: str) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if type(value) is not dict:
            return False
        _check(value, rules, where)
        return True

    return holds


_TEXT = _Rule(_is_text)
_NUMBER = _Rule(_is_number)
_DIGEST = _Rule(_matching("[0-9a-f]{64}"))
_SHA = _matching("[0-9a-f]{40}|[0-9a-f]{64}")

_DEPLOYMENT_RULES = {field.name: _TEXT for field in fields(Deployment)} | {"actors": _Rule(_list_of(_is_text))}
_APPROVAL_RULES = {
    "approver": _TEXT,
    "jti": _TEXT,
    "kid": _TEXT,
    "issued_at": _NUMBER,
    "expires_at": _NUMBER,
    "reason": _Rule(_is_text, optional=True),
}
_RULES = {
    "version": _Rule(lambda value: type(value) is int and value == _VERSION),
    "seq": _Rule(lambda value: _is_number(value) and value > 0),
    "previous": _DIGEST,
    "invocation": _Rule(_matching("[A-Za-z0-9_-]{22,64}")),
    "decided_at": _NUMBER,
    "decision": _TEXT,
    "reason": _Rule(lambda value: type(value) is str and value in get_args(ReasonCode)),
    "message": _TEXT,
    "deployment": _Rule(_object(_DEPLOYMENT_RULES, "deployment: ")),
    "approvals": _Rule(_list_of(_object(_APPROVAL_RULES, "approvals: "))),
    "tokens": _Rule(_list_of(_is_text), optional=True),
    "token_digests": _Rule(_list_of(_DIGEST.holds), optional=True),
    "policy_sha256": _DIGEST,
    "last_allowed_sha": _Rule(lambda value: value is None or _SHA(value)),
    "gate": _TEXT,
}
_PLAIN = [field.name for field in fields(Record) if field.name not in ("deployment", "approvals", "tokens")]
