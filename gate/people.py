"""People: one person, however the tools spell them (docs/policy.md, "people"). ASCII case never matters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gate.errors import PolicyError
from gate.identity import Forges, Name, fold, identity, is_machine
from gate.models import Commit, Identity
from gate.text import printable

_MACHINE = "\0"  # what the owner of an automation's names begins with, as no person's name does


class Person(NamedTuple):
    """What the policy says of a person besides their name: a login at the policy's forge, e-mail addresses, and further
    accounts, each as the text of an identity."""

    github: str | None
    emails: tuple[str, ...]
    accounts: tuple[str, ...] = ()


class People:
    """Everyone whom the policy knows: its `people`, the `approvers` named anywhere in it, and its `automation`, names
    that are no person's. `forges` tells what names mean; with `unlisted_attested`, an account that its forge or CI
    attests needs no entry.

    Raises:
        PolicyError: two people share a name, or a name is none that could be compared.
    """

    def __init__(
        self,
        people: Mapping[str, Person],
        approvers: Iterable[str],
        *,
        automation: Iterable[str] = (),
        forges: Forges | None = None,
        unlisted_attested: bool = False,
    ) -> None:
        everybody = sorted(approvers)
        self.forges = forges or Forges()
        self.unlisted_attested = unlisted_attested
        self._owner: dict[Name, str] = {}
        self._aliases: dict[str, set[Name]] = {}
        self._called = {fold(name) for name in (*people, *everybody)}
        self._known: dict[str, str] = {}  # the canonical names of the approvers, who are asked for again and again
        spelled: dict[str, str] = {}
        for name, person in people.items():
            if spelled.setdefault(fold(name), name) != name:
                raise _shared(name)
            github = [Identity("login", person.github)] if person.github is not None else []
            mails = (Identity("email", mail) for mail in person.emails)
            self._enter(fold(name), [identity(name), *github, *mails, *map(identity, person.accounts)])
        for approver in everybody:
            owner = self.canonical(approver)
            self._enter(owner, [identity(approver)])
            self._known[approver] = owner
        for name in automation:
            self._enter(_MACHINE + fold(name), [identity(name)])

    def _enter(self, owner: str, identities: Iterable[Identity]) -> None:
        for who in identities:
            names = self._names([who])
            if not names:
                raise PolicyError(
                    f"{printable(who.value)!r} is nobody's {'e-mail address' if who.kind == 'email' else 'login'}.",
                    hint="Write ada@example.com, github:ada, github:ada#4711, or jenkins:CORP\\ada: a login needs its "
                    "namespace, unless it is one at the policy's forge (docs/policy.md, Names).",
                )
            if any(self._owner.setdefault(name, owner) != owner for name in names):
                raise _shared(who.value)
            self._aliases.setdefault(owner, set()).update(names)

    def _names(self, role: Iterable[Identity]) -> frozenset[Name]:
        return frozenset[Name]().union(*map(self.forges.names, role))

    def canonical(self, approver: str) -> str:
        """One name for the person that `approver` is, so that two spellings never count as two people."""
        if approver in self._known:
            return self._known[approver]
        names = self._names([identity(approver)])
        return min((self._owner[name] for name in names if name in self._owner), default=fold(approver))

    def owner(self, identities: Sequence[Identity]) -> str | None:
        """The canonical name of the one person whom the policy calls by some of these identities, all of one account.

        None where that is nobody, or two people, or where the account's id is another than the policy gives that
        person: logins can be given up, and then be taken by others.
        """
        names = self._names(identities)
        owners = {self._owner[name] for name in names if name in self._owner}
        listed = self.listed(identities)
        if len(owners) != 1 or owners != listed or not any(map(self._is_called, identities)):
            return None
        return next((owner for owner in owners if not owner.startswith(_MACHINE)), None)

    def _is_called(self, who: Identity) -> bool:
        """Whether the policy calls somebody so. The further `emails` of a person are there to attribute commits: one
        of long ago may be another's mailbox today, and a forge's noreply address is nobody's."""
        return who.kind != "email" or fold(who.value) in self._called

    def listed(self, role: Sequence[Identity]) -> frozenset[str]:
        """Whom the policy calls by some name of this role, but for those whose account there has another id."""
        names = self._names(role)
        owners = {self._owner[name] for name in names if name in self._owner}
        return frozenset(owner for owner in owners if not self._is_contradicted(owner, names))

    def is_taken(self, role: Sequence[Identity]) -> bool:
        """Whether the policy gives some name of this role to another account."""
        return any(name in self._owner for name in self._names(role)) and not self.listed(role)

    def _is_contradicted(self, owner: str, names: frozenset[Name]) -> bool:
        known = self._aliases[owner]
        return _shares(known, names) and not _ids(known) & _ids(names)

    def _names_of(self, approver: str) -> frozenset[Name]:
        return self._names([identity(approver)]).union(self._aliases.get(self.canonical(approver), ()))

    def has_id(self, approver: str, namespace: str = "") -> bool:
        """Whether the policy says which account `approver` has, in `namespace` or anywhere."""
        return any(namespace in ("", name.namespace) for name in _ids(self._names_of(approver)))

    def is_same(self, approver: str, role: Sequence[Identity]) -> bool | None:
        """Is the one who has these identities the approver? None where that can't be told, which must deny.

        No, only where the policy lists one of them as somebody else's, or as no person's; or, with `unlisted:
        attested`, where they are an account whose id is attested, and is none of the approver's, who has one there.
        """
        mine = self._names_of(approver)
        if mine & self._names(role):
            return True
        if self.listed(role) or any(self.is_attested(who) and _shares(mine, self.forges.names(who)) for who in role):
            return False
        return None

    def is_attested(self, who: Identity) -> bool:
        """Whether that is the account of a person, as far as its forge or CI can tell, who needs no entry."""
        return self.unlisted_attested and who.kind == "account" and not is_machine(who)

    def hands(self, commit: Commit) -> tuple[tuple[Identity, ...], ...]:
        """Each role once that had a hand in `commit`. A committer that is a forge itself is nobody; an author that it
        is stays, and nobody can be shown not to be behind it."""
        committer = () if commit.committer is None or self.forges.is_own(commit.committer) else (commit.committer,)
        return tuple(dict.fromkeys((*commit.people[:1], *committer, *commit.people[1:]))) or ((),)


def _ids(names: Iterable[Name]) -> set[Name]:
    return {name for name in names if name.kind == "id"}


def _shares(mine: Iterable[Name], theirs: Iterable[Name]) -> bool:
    """Whether both have an id in one namespace."""
    return not {name.namespace for name in _ids(mine)}.isdisjoint(name.namespace for name in _ids(theirs))


def _shared(name: str) -> PolicyError:
    return PolicyError(
        f"{printable(name)} stands for two people in this policy.",
        hint="Give every name to one person or to `automation`; an approver's name counts too.",
    )
