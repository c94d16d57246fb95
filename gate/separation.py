"""Separation of duties: nobody approves what they wrote or triggered (docs/policy.md). What can't be told denies."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from gate.errors import Denied
from gate.identity import forge_of, identity, is_machine, quoted
from gate.models import Commit, Identity
from gate.people import People
from gate.text import printable

Role = Sequence[Identity]


def separate_duties(people: People, approver: str, actors: Sequence[str], commits: Iterable[Commit]) -> Denied | None:
    """None where `approver` is shown to be nobody who triggered the run or had a hand in a commit; otherwise the
    denial, `approver.is_actor` or `approver.is_author`. What can't be told denies."""
    if not actors:
        return Denied(
            "approver.is_actor",
            "Who triggered this run is not known, so it may have been the approver.",
            expected=f"somebody other than {printable(approver)}",
            actual="unknown",
            hint="Pass --actor with the login of whoever triggered the run.",
        )
    return next(_findings(people, approver, actors, commits), None)


def is_actor(people: People, approver: str, actors: Iterable[str]) -> bool:
    """Whether `approver` is known to have triggered the run."""
    return any(people.is_same(approver, (identity(actor),)) for actor in actors)


class Entry(NamedTuple):
    """What a policy lacks: `text`, in YAML, as one of the `field` of a person, as automation, or as a forge of the kind
    `field`. Text of others is quoted so that it carries no YAML of its own."""

    section: Literal["people", "automation", "forges"]
    text: str
    field: str = ""

    def __str__(self) -> str:
        if self.section == "forges":
            return f"forges: {{{self.text}: {self.field}}}"
        named = f"[{self.text}]" if self.section == "automation" else f"{{NAME: {{{self.field}: [{self.text}]}}}}"
        return f"{self.section}: {named}"


def entry(role: Role) -> Entry:
    """The entry by which a policy would know who has this role."""
    who = min(role, key=lambda who: ("account", "login", "email").index(who.kind))
    if host := forge_of(who):
        return Entry("forges", quoted(host), "KIND" if who.kind == "email" else "github")
    if is_machine(who):
        return Entry("automation", quoted(who.value))
    return Entry("people", quoted(who.value), "emails" if who.kind == "email" else "accounts")


def _findings(people: People, approver: str, actors: Sequence[str], commits: Iterable[Commit]) -> Iterator[Denied]:
    for actor in map(identity, actors):
        if (same := people.is_same(approver, (actor,))) is not False:
            yield _is_actor(approver, (actor,), "" if same else _advice(people, approver, (actor,)))
    roles = {role: commit.sha for commit in commits for role in people.hands(commit)}
    for role, sha in roles.items():
        if (same := people.is_same(approver, role)) is not False:
            yield _is_author(approver, role, sha, "" if same else _advice(people, approver, role))


def _is_actor(approver: str, role: Role, advice: str) -> Denied:
    who, name = printable(approver), shown(role)
    return Denied(
        "approver.is_actor",
        f"It can't be told whether {name}, who triggered it, is {who}."
        if advice
        else f"{who} also triggered this run.",
        expected=f"a run that somebody other than {who} triggered",
        actual=name,
        hint=advice or "Somebody else must approve, or trigger it.",
    )


def _is_author(approver: str, role: Role, sha: str, advice: str) -> Denied:
    who, name, commit = printable(approver), shown(role), printable(sha)[:12]
    return Denied(
        "approver.is_author",
        f"It can't be told whether {name}, who had a hand in commit {commit}, is {who}."
        if advice
        else f"{who} also had a hand in commit {commit}.",
        expected=f"commits that {who} had no hand in",
        actual=f"{name} in {commit}",
        hint=advice or "Somebody who had no hand in it must approve.",
    )


def shown(role: Role) -> str:
    """The names of a role, fit to show."""
    return " / ".join(printable(who.value, 100) for who in role if who.value) or "somebody without a name"


def _advice(people: People, approver: str, role: Role) -> str:
    """What to add to the policy."""
    usable = [who for who in role if people.forges.names(who)]
    if not usable and any(who.kind != "email" for who in role):
        return "A login needs its namespace, e.g. jenkins:NAME, unless it is one at the policy's forge."
    if not usable:
        return "Whoever wrote this is not named in a way that can be compared; it has to be committed again."
    if people.is_taken(role):
        return "The policy gives one of these names to an account with another id: correct it under `people:`."
    if any(map(people.is_attested, usable)):
        own = next(name.namespace for who in usable for name in people.forges.names(who) if name.kind == "id")
        account = f"people: {{{quoted(approver)}: {{accounts: [{quoted(f'{own}:#ID')}]}}}}"
        return f"Add the id of the approver's own account: {account}"
    return f"Say in the policy who that is: {entry(usable)}"
