"""People: one person, however the tools spell them (docs/policy.md, "people"). ASCII case never matters.

An identity is broken into names that can be compared: an e-mail address, `login:…`, and `id:…`, the number in a GitHub
noreply address, which stays when a login changes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from gate.errors import Denied, PolicyError
from gate.models import Commit, Identity
from gate.text import printable

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # str.lower() would also fold look-alikes such as U+212A
_LOGIN = re.compile(r"[a-z0-9._-]+(?:\[bot\])?")
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
_NOREPLY = re.compile(rf"(?:([0-9]+)\+)?({_LOGIN.pattern})@users\.noreply\.github\.com")
_FORGE = {Identity("login", "web-flow"), Identity("email", "noreply@github.com")}
_PASTABLE = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")


class Person(NamedTuple):
    """What the policy says of a person besides their name: a GitHub login, and further e-mail addresses."""

    github: str | None
    emails: tuple[str, ...]


def identity(text: str) -> Identity:
    """`text` as an e-mail address where it has an @, otherwise as a login."""
    return Identity("email" if "@" in text else "login", text)


def is_forge(role: Sequence[Identity]) -> bool:
    """True for the committer that GitHub itself is when somebody merges or edits in the browser.

    A login, where one is known, was looked up by the forge and decides; an address alone is only what the commit says.
    """
    logins = [who for who in role if who.kind == "login"]
    return bool(role) and all(Identity(who.kind, _fold(who.value)) in _FORGE for who in logins or role)


def _fold(text: str) -> str:
    return text.translate(_LOWER)


def _names(who: Identity) -> frozenset[str]:
    """The names of an identity; none where it is unusable, or is the forge's own and so stands for nobody."""
    value = _fold(who.value)
    if Identity(who.kind, value) in _FORGE or not value.isprintable():
        return frozenset()
    if who.kind == "login":
        return frozenset({f"login:{value}"} if _LOGIN.fullmatch(value) else ())
    if noreply := _NOREPLY.fullmatch(value):
        return frozenset({f"login:{noreply[2]}", *([f"id:{noreply[1]}"] if noreply[1] else [])})
    return frozenset({value} if _EMAIL.fullmatch(value) else ())


def _has_login(names: Iterable[str]) -> bool:
    return any(name.startswith("login:") for name in names)


def _numbers(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("id:")}


class People:
    """Everybody whom the policy knows: its `people`, and the `approvers` named anywhere in it.

    Raises:
        PolicyError: two people share a name, or a name is neither an e-mail address nor a login.
    """

    def __init__(self, people: Mapping[str, Person], approvers: Iterable[str]) -> None:
        everybody = sorted(approvers)
        self._owner: dict[str, str] = {}
        self._aliases: dict[str, set[str]] = {}
        self._called = {_fold(name) for name in (*people, *everybody)}
        self._known: dict[str, str] = {}  # the canonical names of the approvers, who are asked for again and again
        spelled: dict[str, str] = {}
        for name, person in people.items():
            if spelled.setdefault(_fold(name), name) != name:
                raise _shared(name)
            github = [Identity("login", person.github)] if person.github is not None else []
            self._enter(_fold(name), [identity(name), *github, *(Identity("email", mail) for mail in person.emails)])
        for approver in everybody:
            owner = self.canonical(approver)
            self._enter(owner, [identity(approver)])
            self._known[approver] = owner

    def _enter(self, owner: str, identities: Iterable[Identity]) -> None:
        for who in identities:
            names = _names(who)
            if not names:
                raise PolicyError(
                    f"{printable(who.value)!r} is nobody's {'e-mail address' if who.kind == 'email' else 'login'}.",
                    hint="Under `people:`, github is a login, and emails are addresses of that person alone.",
                )
            if any(self._owner.setdefault(name, owner) != owner for name in names):
                raise _shared(who.value)
            self._aliases.setdefault(owner, set()).update(names)

    def canonical(self, approver: str) -> str:
        """One name for the person that `approver` is, so that two spellings never count as two people."""
        if approver in self._known:
            return self._known[approver]
        owners = {self._owner[name] for name in _names(identity(approver)) if name in self._owner}
        return min(owners, default=_fold(approver))

    def owner(self, identities: Sequence[Identity]) -> str | None:
        """The canonical name of the one person whom the policy calls by some of these identities, all of one account.

        None where that is nobody, or two people, or where the account's number at GitHub is another than the policy
        gives that person: logins can be given up, and then be taken by others.
        """
        theirs = frozenset[str]().union(*map(_names, identities))
        owners = {self._owner[name] for name in theirs if name in self._owner}
        if len(owners) != 1 or not any(map(self._is_called, identities)):
            return None
        owner = owners.pop()
        numbers, known = _numbers(theirs), _numbers(self._aliases[owner])
        return None if numbers and known and not numbers & known else owner

    def _is_called(self, who: Identity) -> bool:
        """Whether the policy calls somebody so. The further `emails` of a person are there to attribute commits: one
        of long ago may be another's mailbox today."""
        value = _fold(who.value)
        return who.kind == "login" or value in self._called or _NOREPLY.fullmatch(value) is not None

    def _names_of(self, approver: str) -> frozenset[str]:
        return _names(identity(approver)).union(self._aliases.get(self.canonical(approver), ()))

    def has_login(self, approver: str) -> bool:
        """True if a login is known for `approver`, so that other logins can be told from theirs."""
        return _has_login(self._names_of(approver))

    def is_same(self, approver: str, identities: Sequence[Identity]) -> bool | None:
        """Is the one who has these identities the approver? None where that can't be told, which must deny.

        No, only where they are somebody else whom the policy knows, or where both have a login: people have one.
        """
        mine = self._names_of(approver)
        theirs = frozenset[str]().union(*map(_names, identities))
        if mine & theirs:
            return True
        if any(name in self._owner for name in theirs) or (_has_login(mine) and _has_login(theirs)):
            return False
        return None


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


def _findings(people: People, approver: str, actors: Sequence[str], commits: Iterable[Commit]) -> Iterator[Denied]:
    for actor in map(identity, actors):
        if (same := people.is_same(approver, (actor,))) is not False:
            yield _is_actor(approver, (actor,), known=same is True)
    roles = {role: commit.sha for commit in commits for role in commit.people or ((),)}
    for role, sha in roles.items():
        if (same := people.is_same(approver, role)) is not False:
            yield _is_author(approver, role, sha, known=same is True)


def _is_actor(approver: str, role: Sequence[Identity], *, known: bool) -> Denied:
    who, name = printable(approver), _shown(role)
    return Denied(
        "approver.is_actor",
        f"{who} also triggered this run." if known else f"It can't be told whether {name}, who triggered it, is {who}.",
        expected=f"a run that somebody other than {who} triggered",
        actual=name,
        hint="Somebody else must approve, or trigger it." if known else _advice(approver, role),
    )


def _is_author(approver: str, role: Sequence[Identity], sha: str, *, known: bool) -> Denied:
    who, name, commit = printable(approver), _shown(role), printable(sha)[:12]
    return Denied(
        "approver.is_author",
        f"{who} also had a hand in commit {commit}."
        if known
        else f"It can't be told whether {name}, who had a hand in commit {commit}, is {who}.",
        expected=f"commits that {who} had no hand in",
        actual=f"{name} in {commit}",
        hint="Somebody who had no hand in it must approve." if known else _advice(approver, role),
    )


def _shown(role: Sequence[Identity]) -> str:
    return " / ".join(printable(who.value, 100) for who in role if who.value) or "somebody without a name"


def _advice(approver: str, role: Sequence[Identity]) -> str:
    """What to add to the policy. A name out of a commit is repeated only where it can't carry YAML of its own."""
    names = frozenset[str]().union(*map(_names, role))
    if not names:
        return "Whoever wrote this is not named in a way that can be compared; it has to be committed again."
    if _has_login(names):
        return f"Add the approver's login to the policy, e.g. people: {{{printable(approver)}: {{github: LOGIN}}}}"
    address = next((who.value for who in role if _PASTABLE.fullmatch(who.value)), "ADDRESS")
    return f"Say in the policy whose address that is, e.g. people: {{NAME: {{emails: [{address}]}}}}"


def _shared(name: str) -> PolicyError:
    return PolicyError(
        f"{printable(name)} stands for two people in this policy.",
        hint="Under `people:`, give every login and e-mail address to one person; an approver's name counts too.",
    )
