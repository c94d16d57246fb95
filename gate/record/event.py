"""The record of an event: what happened on the deploy-bot. It decides nothing, and allows nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from gate.deployment import Deployment
from gate.models import Stream
from gate.record.shape import (
    DEPLOYMENT,
    DIGEST,
    NUMBER,
    PLACE_RULES,
    Placed,
    RecordError,
    Rule,
    check,
    is_text,
    list_of,
    one_of,
    read_deployment,
)

VERSION = 2
BOT_STREAM = Stream("deploy-gate/bot", "events")  # of events that are about no deployment
MAX_WHO = 254  # characters, as for an approver
MAX_MESSAGE = 1_000  # characters

EventKind = Literal[
    "approval",  # somebody approved on the page; the decision is still the gate's
    "refusal",  # somebody who may approve said no
    "enrolment",  # somebody enrolled a passkey
    "sign_in_failure",  # somebody could not show who they are
]
_ABOUT_A_DEPLOYMENT = ("approval", "refusal")


@dataclass(frozen=True)
class Happening:
    """One event, before it has a place in its stream.

    `invocation` is random, so that no two records are ever the same bytes. `happened_at` is in epoch seconds. `who` is
    the approver, or whoever tried, at most `MAX_WHO` printable characters, "" where that is not known. `message` adds
    what there is to say in at most `MAX_MESSAGE` characters, e.g. why somebody refused. `token_digests` are the hex
    SHA-256 of the tokens that an approval made: the decision that uses them holds the tokens, or the same digests.
    """

    invocation: str
    happened_at: int
    event: EventKind
    who: str
    message: str
    deployment: Deployment | None
    token_digests: tuple[str, ...]
    gate: str

    @property
    def allowed_sha(self) -> None:
        """None: no event allows anything."""
        return None

    @property
    def at(self) -> int:
        """When, in epoch seconds."""
        return self.happened_at

    @property
    def stream(self) -> Stream:
        """The stream that it belongs to: the deployment's, or the deploy-bot's own."""
        return self.deployment.stream if self.deployment else BOT_STREAM

    def members(self) -> dict[str, Any]:
        """What its record says, its place apart."""
        return {
            "version": VERSION,
            "invocation": self.invocation,
            "happened_at": self.happened_at,
            "event": self.event,
            "who": self.who,
            "message": self.message,
            "deployment": self.deployment.as_json() if self.deployment else None,
            "token_digests": [*self.token_digests],
            "gate": self.gate,
        }


@dataclass(frozen=True)
class Happened(Placed, Happening):
    """The record of an event as it was read: a happening in its place."""


def read_event(members: Mapping[str, Any]) -> Happened:
    """The event that these members are.

    Raises:
        RecordError: they are none.
    """
    check(members, EVENT_RULES)
    deployment = members["deployment"]
    if deployment is None and members["event"] in _ABOUT_A_DEPLOYMENT:
        raise RecordError("an approval and a refusal must name their deployment")
    if members["token_digests"] and members["event"] != "approval":
        raise RecordError("only an approval has token_digests")
    return Happened(
        deployment=None if deployment is None else read_deployment(deployment),
        token_digests=tuple(members["token_digests"]),
        **{name: members[name] for name in _PLAIN},
    )


EVENT_RULES = PLACE_RULES | {
    "version": Rule(one_of(VERSION)),
    "happened_at": NUMBER,
    "event": Rule(one_of(*get_args(EventKind))),
    "who": Rule(lambda value: is_text(value) and len(value) <= MAX_WHO and value.isprintable()),
    "message": Rule(lambda value: is_text(value) and len(value) <= MAX_MESSAGE),
    "deployment": Rule(lambda value: value is None or DEPLOYMENT.holds(value)),
    "token_digests": Rule(list_of(DIGEST.holds)),
}
_PLAIN = [field.name for field in fields(Happened) if field.name not in ("deployment", "token_digests")]
