"""The plain, frozen values that the layers hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gate.errors import GateError, ReasonCode, Verdict, verdict

CheckStatus = Literal["pass", "warn", "fail", "skip"]
Severity = Literal["ok", "note", "warning", "error"]


class Check(NamedTuple):
    """One step of a decision: what was expected against what was found."""

    name: str
    status: CheckStatus
    expected: str = ""
    actual: str = ""


class Finding(NamedTuple):
    """What `gate doctor` says of one thing: `subject` as it stands, and the `fix` of a warning or an error. A "note" is
    what can't be otherwise here."""

    severity: Severity
    subject: str
    message: str
    fix: str = ""


class Stream(NamedTuple):
    """One repository and environment: the unit that the audit log chains."""

    repository: str
    environment: str

    @property
    def path(self) -> str:
        """`<repository>/<environment>`; both hold only characters that are safe in a path (scope.py)."""
        return f"{self.repository}/{self.environment}"


class Consumption(NamedTuple):
    """One use of a JTI, as the replay store keeps it.

    `nonce` is random per invocation of the gate: a retry after a lost response recognises its own write by it.
    `expires_at` (epoch seconds) is when the store may forget the row; `used_at` (epoch seconds) when it was used.
    """

    jti: str
    nonce: str
    expires_at: int
    used_at: int
    stream: Stream
    sha: str
    approver: str
    run_id: str = ""


class Head(NamedTuple):
    """The newest record of a stream, anchored in the replay store.

    `written` says that the record is known to stand in the audit log; while it is False, whoever comes next
    writes it there first (the bytes are here), so a writer that died leaves no gap.
    """

    seq: int
    record: bytes
    written: bool


class Identity(NamedTuple):
    """A name that a tool gives to a person or a machine: an e-mail address, a login (or an id) in some namespace, or
    an `account`: login and id together, attested by the forge or the CI that it is an account of. gate.identity has
    the text for each."""

    kind: Literal["email", "login", "account"]
    value: str


class Commit(NamedTuple):
    """One commit, and everybody who had a hand in it.

    Each member of `people` is one role (the author, a co-author) as the identities known for it, so that a role with
    an unknown e-mail address but a known login can still be attributed. `committer` is one more, and apart, since a
    policy may know it to be the forge itself; None where there is none to look at. `message` is there to show to
    people, "" where the source of commits keeps none.
    """

    sha: str
    people: tuple[tuple[Identity, ...], ...]
    message: str = ""
    committer: tuple[Identity, ...] | None = None


@dataclass(frozen=True)
class Decision:
    """The gate's answer. `record` is the URI of its audit record, None where none could be written.

    `approvals` lists the approvals that counted: approver, jti, kid, issued_at, expires_at (epoch seconds).
    """

    reason: ReasonCode
    message: str
    hint: str
    deployment: Mapping[str, Any]
    approvals: tuple[Mapping[str, Any], ...] = ()
    record: str | None = None
    checks: tuple[Check, ...] = ()

    @property
    def decision(self) -> Verdict:
        """`allow`, `deny`, `error` where the gate could not decide, or `none` of a dry run that found no fault."""
        return verdict(self.reason)

    @property
    def allowed(self) -> bool:
        """True for exactly one reason code, `allowed`."""
        return self.reason == "allowed"

    @classmethod
    def of_error(cls, error: GateError) -> "Decision":
        """The answer where something went wrong before there was a deployment to decide on."""
        check = Check("usage", "fail", error.expected, error.actual or error.message)
        return cls(error.reason, error.message, error.hint, deployment={}, checks=(check,))

    def as_json(self) -> dict[str, Any]:
        """The object that `gate verify --json` prints (docs/reference.md)."""
        return {
            "decision": self.decision,
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
            "deployment": dict(self.deployment),
            "approvals": [dict(approval) for approval in self.approvals],
            "record": self.record,
            "checks": [check._asdict() for check in self.checks],
        }
