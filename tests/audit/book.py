"""An audit log to tamper with: its writer, its files, and what a proof says of it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gate.audit import AuditLog, RecordPath, open_audit_log
from gate.canonical import canonical
from gate.chain import anchored, append
from gate.lineage import Lineage
from gate.models import Commit, Head, Stream
from gate.policy import Policy
from gate.proof import Event, Fault, Note, Step, prove
from gate.record import Entry, Happening, compose, digest
from gate.replay import ReplayStore
from gate.replay.memory import MemoryStore
from tests.world import BOB, World

STREAM = Stream("acme/shop", "production")
COUNT = 9  # records in the book that most tests tamper with; 3, 6 and 9 are denials


def sha(number: int) -> str:
    """A commit id."""
    return f"{number:040x}"


def entry(world: World, number: int, **changes: Any) -> Entry:
    """A denial, which needs no token."""
    made = Entry(
        invocation=f"{number:022d}",
        decided_at=int(world.now),
        reason="token.expired",
        message=f"denial {number}",
        deployment=world.deployment(sha=sha(number)),
        approvals=(),
        tokens=(),
        policy_sha256=world.loaded().policy.sha256,
        gate="0",
    )
    return replace(made, **changes)


def happening(world: World, number: int, **changes: Any) -> Happening:
    """A refusal on the deploy-bot."""
    made = Happening(
        invocation=f"e{number:021d}",
        happened_at=int(world.now),
        event="refusal",
        who=BOB,
        message=f"refusal {number}",
        deployment=world.deployment(sha=sha(number)),
        token_digests=(),
        gate="0",
    )
    return replace(made, **changes)


class Nowhere:
    """A history of a repository that has none of the commits that others have."""

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        """Nothing is asked of it."""
        raise AssertionError

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """None of them."""
        return None


class Book:
    """The log of a world whose gate has decided a few times."""

    def __init__(self, folder: Path, **world: Any) -> None:
        self.world = World(folder, **world)
        self.store: ReplayStore = MemoryStore()
        self.log: AuditLog = open_audit_log("file:audit", folder)
        self.policies: Sequence[Policy] = [self.world.loaded().policy]

    def allow(self, number: int, **changes: Any) -> str:
        """Let the gate allow commit `number`; the record's URI."""
        deployment = self.world.deployment(sha=sha(number), **changes)
        token = self.world.token(sha=sha(number), **changes)
        decision = self.world.gate(replay=self.store, audit=self.log).check([token], deployment)
        assert decision.allowed, decision
        assert decision.record
        return decision.record

    def deny(self, number: int) -> str:
        """Let the gate deny commit `number`."""
        deployment = self.world.deployment(sha=sha(number))
        decision = self.world.gate(replay=self.store, audit=self.log).check(["no.token"], deployment)
        assert decision.reason == "token.malformed"
        assert decision.record
        return decision.record

    def write(self, count: int) -> "Book":
        """`count` decisions, every third a denial."""
        for number in range(1, count + 1):
            self.world.now += 60
            (self.allow if number % 3 else self.deny)(number)
        return self

    def tell(self, number: int, **changes: Any) -> str:
        """Let the deploy-bot record an event on commit `number`."""
        return self.append(happening(self.world, number, **changes))

    def file(self, seq: int, stream: Stream = STREAM) -> Path:
        """Where record `seq` lies."""
        return self.world.folder / "audit" / str(RecordPath(stream, seq))

    def members(self, seq: int) -> dict[str, Any]:
        """What record `seq` says."""
        found: dict[str, Any] = json.loads(self.file(seq).read_bytes())
        return found

    def rewrite(self, seq: int, **changes: Any) -> None:
        """Edit a record, as somebody would who knows its form."""
        self.file(seq).write_bytes(canonical(self.members(seq) | changes))

    def rechain(self, first: int, last: int) -> None:
        """Make every link from `first` to `last` whole again."""
        for seq in range(first, last + 1):
            self.rewrite(seq, previous=digest(self.file(seq - 1).read_bytes()))

    def append(self, made: Entry | Happening) -> str:
        """Extend the chain, whatever the entry says."""
        return append(self.log, self.store, made)

    def force(self, made: Entry | Happening) -> None:
        """Extend the chain as whoever can write both stores may, whatever a gate would say."""
        head = self.store.head(STREAM)
        assert head
        forged = Head(head.seq + 1, compose(made, anchored(STREAM, head), digest(head.record)), written=True)
        assert self.store.advance(STREAM, forged, head.seq)
        self.log.put(STREAM, forged.seq, forged.record)

    def allowed(self) -> list[str]:
        """The shas that were allowed, newest first."""
        return list(self.lineage().shas(Nowhere()))

    def lineage(self, **changes: Any) -> Lineage:
        """What a deployment of this world goes back to."""
        return Lineage(self.log, self.store, self.world.deployment(**changes), self.policies[0])

    def prove(self, *, offline: bool = False) -> list[Event]:
        """All that the proof tells, a day later."""
        return list(prove(self.log, None if offline else self.store, self.policies, int(self.world.now) + 86400))

    def faults(self, *, offline: bool = False) -> list[tuple[str, int, int]]:
        """Kind, first and last record of everything the proof finds."""
        return faults(self.prove(offline=offline))


def faults(events: Iterable[Event]) -> list[tuple[str, int, int]]:
    """Kind, first and last record of the faults among `events`."""
    return [(event.kind, event.first, event.last) for event in events if isinstance(event, Fault)]


def notes(events: Iterable[Event]) -> list[str]:
    """The notes among `events`."""
    return [event.message for event in events if isinstance(event, Note)]


def steps(events: Iterable[Event]) -> list[Step]:
    """The records among `events`."""
    return [event for event in events if isinstance(event, Step)]
