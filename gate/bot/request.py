"""A request for approval: one deployment, asked for by one run, and what people have said of it so far."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, TypeVar

from gate.bot.errors import Unavailable
from gate.deployment import Deployment
from gate.errors import GateError
from gate.people import People

Status = Literal["open", "approved", "declined", "expired"]


class Given(NamedTuple):
    """One approval that was given: its token, which is worth a deployment until it is used, and what the page shows.

    `person` is the approver's canonical name in the policy. Times are epoch seconds.
    """

    approver: str
    person: str
    token: str
    issued_at: int
    expires_at: int
    reason: str
    passkey: bool


class Declined(NamedTuple):
    """Who said no, why, and when (epoch seconds)."""

    by: str
    reason: str
    at: int


class CommitLine(NamedTuple):
    """One commit as the page lists it: its id, the first line of its message, who had a hand in it, and, of the
    one that is to be deployed, the rest of the message."""

    sha: str
    title: str
    people: str
    message: str = ""


class Facts(NamedTuple):
    """What the forge says of the commits that are new in the deployment.

    `commits` are the newest of `total`. `roles` are all that separation of duties has to look at: every distinct role,
    as pairs of kind and value, with one commit that it is in. `base` is the last allowed commit below the deployed one,
    "" where nothing was ever allowed; `newest` the one that was allowed last, wherever it is. `rollback` tells of one
    (gate.rollback), and `rollback_url` shows what it takes back. `trouble` says why `roles`, and mostly the rest, are
    not known.
    """

    commits: tuple[CommitLine, ...] = ()
    total: int = 0
    roles: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    base: str = ""
    diff_url: str = ""
    newest: str = ""
    rollback: str = ""
    rollback_url: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class ApprovalRequest:
    """A request. `deployment` carries its id. `attempt` is the newest attempt of the run that asked, `generation`
    counts the requests that the same run made one after the other, each after the one before was over.

    `said` names the facts that only the job's own word stands for; all others its CI has proved. `asker` is the issuer
    that vouches for the job, `forge` whose CI that is ("github", "gitlab", "" where it is not known), `run_sha` the
    commit that its run stands at, "" where nobody proves that. `held` is the delivery by which GitHub says that it
    holds the job until the bot answers its deployment protection rule, "" where it does not. `facts` is None until they
    were looked up. `declined_before` is the last no to an earlier generation. `ci_environment` is what the CI calls the
    environment. `waits` says that the job waits for the answer, and polls for it. Times are epoch seconds.
    """

    deployment: Deployment
    generation: int
    attempt: int
    asked_at: int
    expires_at: int
    asker: str = ""
    run_url: str = ""
    run_sha: str = ""
    ref: str = ""
    workflow: str = ""
    event: str = ""
    forge: str = ""
    said: tuple[str, ...] = ()
    rerun: bool = False
    held: str = ""
    approvals: tuple[Given, ...] = ()
    declined: Declined | None = None
    declined_before: Declined | None = None
    handed_to: int = 0  # the attempt that has the tokens, 0 for none
    facts: Facts | None = None
    ci_environment: str = ""
    waits: bool = True

    @property
    def id(self) -> str:
        """The request's id, which its link and its tokens carry."""
        return self.deployment.request_id

    @property
    def is_proved(self) -> bool:
        """Whether a CI vouches for the job; nobody does for the holder of an API token."""
        return not self.asker.startswith("token:")

    @property
    def comes_back(self) -> bool:
        """Whether a job that no longer asks fetches the answer all the same: it is run again, or GitHub holds it."""
        return self.rerun or bool(self.held) or not self.waits

    @property
    def is_known(self) -> bool:
        """Whether the forge has said all that separation of duties has to look at."""
        return self.facts is not None and not self.facts.trouble

    def live(self, now: int) -> tuple[Given, ...]:
        """The approvals that have not run out."""
        return tuple(given for given in self.approvals if now < given.expires_at)

    def status(self, needed: int, now: int) -> Status:
        """Where it stands, if the policy asks for `needed` approvals."""
        if self.declined:
            return "declined"
        if len(self.live(now)) >= needed or (self.handed_to and len(self.approvals) >= needed):
            return "approved"
        return "expired" if now >= self.expires_at else "open"

    def awaits_its_job(self, needed: int, now: int) -> bool:
        """Whether it is approved, and no job has come for the tokens yet."""
        return self.status(needed, now) == "approved" and not self.handed_to

    def approval_by(self, person: str, people: People, now: int) -> Given | None:
        """The live approval that the person called `person` (canonical) has given."""
        return next((given for given in self.live(now) if people.canonical(given.approver) == person), None)

    def as_json(self) -> dict[str, Any]:
        """Its document."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {
            "deployment": self.deployment.as_json(),
            "said": list(self.said),
            "approvals": [given._asdict() for given in self.approvals],
            "declined": self.declined and self.declined._asdict(),
            "declined_before": self.declined_before and self.declined_before._asdict(),
            "facts": self.facts and self.facts._asdict(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ApprovalRequest":
        """The request that a document holds.

        Raises:
            Unavailable: it is not one that this version wrote.
        """
        try:
            value = {**_LATER, **value}
            return cls(**{name: _typed(kind, value[name]) for name, kind in _PLAIN.items()}, **_composed(value))
        except (AttributeError, KeyError, TypeError, ValueError, GateError):
            raise Unavailable(
                "The bot's state holds a request that this version did not write.",
                hint="Are all bots on this state of one version, with one session key? A new run asks afresh.",
            ) from None


_PLAIN = {
    entry.name: entry.type
    for entry in fields(ApprovalRequest)
    if entry.name not in ("deployment", "said", "approvals", "declined", "declined_before", "facts")
}
_LATER = {"declined_before": None, "ci_environment": "", "waits": True}  # what documents of older versions lack
_Record = TypeVar("_Record", Given, Declined, CommitLine)


def _typed(kind: Any, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _made(kind: type[_Record], members: Mapping[str, Any]) -> _Record:
    """A tuple whose members are of the types that it says."""
    made = kind(**members)
    for name, value in made._asdict().items():
        _typed(kind.__annotations__[name], value)
    return made


def _composed(value: Mapping[str, Any]) -> dict[str, Any]:
    deployment, facts = value["deployment"], value["facts"]
    return {
        "deployment": Deployment(**{**deployment, "actors": tuple(deployment["actors"])}),
        "said": tuple(_typed(str, name) for name in value["said"]),
        "approvals": tuple(_made(Given, given) for given in value["approvals"]),
        "declined": _made(Declined, value["declined"]) if value["declined"] else None,
        "declined_before": _made(Declined, before) if (before := value["declined_before"]) else None,
        "facts": _facts(**facts) if facts else None,
    }


def _facts(**members: Any) -> Facts:
    lines = members.pop("commits")
    commits = tuple(_made(CommitLine, dict(zip(CommitLine._fields, line, strict=True))) for line in lines)
    roles = tuple((sha, tuple((kind, value) for kind, value in identities)) for sha, identities in members.pop("roles"))
    return Facts(commits, roles=roles, **members)
