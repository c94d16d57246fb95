"""Whom a policy does not know, of those who wrote commits or started a run. Looks, and decides nothing."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import NamedTuple

from gate.forge.git import LocalGit
from gate.identity import fold, identity, quoted
from gate.models import Commit, Identity
from gate.people import People
from gate.separation import Entry, entry, shown
from gate.text import plural, printable
from gate.tokens import is_approver

NEWEST = 1_000  # commits that are looked at where nothing says how many
Role = tuple[Identity, ...]


class Unknown(NamedTuple):
    """A role that the policy can't tell from an approver. It is in so many `commits`, the newest of which is `sha`;
    in none where it is that of the run's actor. `entry` is what the policy lacks, None where no entry would do: the
    names can't be compared, or the policy gives them to another account."""

    role: Role
    commits: int
    sha: str
    entry: Entry | None

    @property
    def where(self) -> str:
        """Where it was found, in words."""
        return f"{plural(self.commits, 'commit')}, such as {self.sha[:12]}" if self.sha else "started this run"


def newest(checkout: Path, sha: str, most: int = NEWEST) -> list[Commit]:
    """The newest commits at and below `sha`, `most` of them or as many as the clone has.

    Raises:
        Unattributed: the clone is damaged, or git can't answer in time.
    """
    found: list[Commit] = []
    with LocalGit(checkout).reading() as read:
        first = read(sha)
        queue = [(-first.date, first.commit.sha)] if first else []
        seen = {sha}
        heapify(queue)
        while queue and len(found) < most:
            commit = read(heappop(queue)[1])
            if commit is None:
                continue
            found.append(commit.commit)
            for parent in commit.parents:
                above = None if parent in seen else read(parent)
                seen.add(parent)
                if above:
                    heappush(queue, (-above.date, parent))
    return found


def scan(people: People, commits: Iterable[Commit], actors: Iterable[str]) -> list[Unknown]:
    """Those whom `people` does not know: the actors first, then whoever has a hand in most commits."""
    found = [_unknown(people, (identity(actor),), ()) for actor in actors]
    hands: dict[Role, list[str]] = {}
    for commit in commits:
        for role in people.hands(commit):
            hands.setdefault(role, []).append(commit.sha)
    often = sorted(hands.items(), key=lambda item: -len(item[1]))
    found += [_unknown(people, role, shas) for role, shas in often]
    return [unknown for unknown in found if not people.listed(unknown.role)]


def as_yaml(unknown: Sequence[Unknown]) -> Iterator[str]:
    """What to add to the policy, in lines of ASCII. Each becomes a person of their own, to be reviewed."""
    lacking = {each.entry: each for each in unknown if each.entry}
    people = {_person(each): each for lack, each in lacking.items() if lack.section == "people"}
    yield from _section("people", (f"  {line}  # {each.where}" for line, each in people.items()))
    machines = {lack.text: each for lack, each in lacking.items() if lack.section == "automation"}
    yield from _section("automation", (f"  - {text}  # {each.where}" for text, each in machines.items()))
    forges = {f"{lack.text}: {lack.field}": each for lack, each in lacking.items() if lack.section == "forges"}
    yield from _section("forges", (f"  {line}  # {each.where}, if that is your forge" for line, each in forges.items()))


def names(unknown: Unknown) -> str:
    """What a line for people calls them."""
    return printable(shown(unknown.role), 200)


def _unknown(people: People, role: Role, shas: Sequence[str]) -> Unknown:
    usable = any(map(people.forges.names, role)) and not people.is_taken(role)
    return Unknown(role, len(shas), shas[0] if shas else "", entry(role) if usable else None)


def _person(unknown: Unknown) -> str:
    """A person whose name is the very one that is not known; NAME, which no policy takes, where that can't be one."""
    lack = unknown.entry
    assert lack  # noqa: S101 (for the type checker: they are those that have one)
    text = next(who.value for who in unknown.role if quoted(who.value) == lack.text)
    name = quoted(fold(text)) if is_approver(text) else "NAME"
    return f"{name}: {{{lack.field}: [{lack.text}]}}"


def _section(name: str, lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    yield from [f"{name}:", *listed] if listed else []
