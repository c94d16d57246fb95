"""The record of a decision: what the gate answered, and what proves it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from gate.deployment import Deployment
from gate.errors import ReasonCode, verdict
from gate.models import Stream
from gate.record.shape import (
    DEPLOYMENT,
    DIGEST,
    NUMBER,
    PLACE_RULES,
    TEXT,
    Placed,
    RecordError,
    Rule,
    check,
    digest,
    is_text,
    list_of,
    object_of,
    one_of,
    read_deployment,
)

VERSION = 1


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
    def allowed_sha(self) -> str | None:
        """The commit that it allowed."""
        return self.deployment.sha if self.allowed else None

    @property
    def at(self) -> int:
        """When, in epoch seconds."""
        return self.decided_at

    @property
    def stream(self) -> Stream:
        """The stream that it belongs to."""
        return self.deployment.stream

    def members(self) -> dict[str, Any]:
        """What its record says, its place apart."""
        evidence = {"tokens": [*self.tokens]} if self.allowed else {"token_digests": [*map(_of_text, self.tokens)]}
        return evidence | {
            "version": VERSION,
            "invocation": self.invocation,
            "decided_at": self.decided_at,
            "decision": verdict(self.reason),
            "reason": self.reason,
            "message": self.message,
            "deployment": self.deployment.as_json(),
            "approvals": [dict(approval) for approval in self.approvals],
            "policy_sha256": self.policy_sha256,
            "gate": self.gate,
        }


@dataclass(frozen=True)
class Record(Placed, Entry):
    """The record of a decision as it was read: an entry in its place. `tokens` is empty unless it allows."""


def read_decision(members: Mapping[str, Any]) -> Record:
    """The decision that these members are.

    Raises:
        RecordError: they are none.
    """
    check(members, DECISION_RULES)
    _check_evidence(members)
    return Record(
        deployment=read_deployment(members["deployment"]),
        approvals=tuple(members["approvals"]),
        tokens=tuple(members.get("tokens", ())),
        **{name: members[name] for name in _PLAIN},
    )


def _check_evidence(members: Mapping[str, Any]) -> None:
    if members["decision"] != verdict(members["reason"]):
        raise RecordError("its decision does not follow from its reason")
    allowed = members["decision"] == "allow"
    if ("tokens" in members, "token_digests" in members) != (allowed, not allowed):
        raise RecordError("it must hold tokens if it allows, and their digests otherwise")
    if allowed and members["last_allowed_sha"] != members["deployment"]["sha"]:
        raise RecordError("it allows, and its last_allowed_sha is not the commit that it allowed")


def _of_text(token: str) -> str:
    return digest(token.encode("utf-8", "surrogatepass"))


_APPROVAL_RULES = {
    "approver": TEXT,
    "jti": TEXT,
    "kid": TEXT,
    "issued_at": NUMBER,
    "expires_at": NUMBER,
    "reason": Rule(is_text, optional=True),
}
DECISION_RULES = PLACE_RULES | {
    "version": Rule(one_of(VERSION)),
    "decided_at": NUMBER,
    "decision": TEXT,
    "reason": Rule(one_of(*(code for code in get_args(ReasonCode) if verdict(code) != "none"))),
    "message": TEXT,
    "deployment": DEPLOYMENT,
    "approvals": Rule(list_of(object_of(_APPROVAL_RULES, "approvals: "))),
    "tokens": Rule(list_of(is_text), optional=True),
    "token_digests": Rule(list_of(DIGEST.holds), optional=True),
    "policy_sha256": DIGEST,
}
_PLAIN = [field.name for field in fields(Record) if field.name not in ("deployment", "approvals", "tokens")]
