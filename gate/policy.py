"""The policy: trusted keys, who may approve what, where state lives (docs/policy.md). Compiled once, strictly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gate.identity import fold
from gate.keys import TrustedKey
from gate.people import People

if TYPE_CHECKING:
    from gate.passkey import Credential, RelyingParty


class RepositoryPattern(NamedTuple):
    """`acme/*`: whole segments; `*` stands for exactly one."""

    segments: tuple[str, ...]

    def matches(self, repository: str) -> bool:
        """True if `repository` (in lower case) is one that the pattern means."""
        parts = repository.split("/")
        return len(parts) == len(self.segments) and all(map(_stands_for, self.segments, parts))


def _stands_for(segment: str, part: str) -> bool:
    return segment in ("*", part)


class Environment(NamedTuple):
    """What the policy asks of a deployment into one environment. `max_age` is in seconds; `ci_names` are what CIs call
    it, besides its own name."""

    name: str
    repositories: tuple[RepositoryPattern, ...]
    approvers: frozenset[str]
    approvals: int
    separation_of_duties: bool
    max_age: int
    passkey_required: bool
    clean_checkout: bool = False
    ci_names: tuple[str, ...] = ()

    def covers(self, repository: str) -> bool:
        """True if `repository` (in lower case) may be deployed here at all."""
        return any(pattern.matches(repository) for pattern in self.repositories)


@dataclass(frozen=True)
class Policy:
    """A compiled policy. `sha256` is the hex digest of the bytes it was compiled from. `durable` says that a replay
    store which may lose a use blocks. `actor_replaces` says that who calls the gate knows better than the CI who
    triggered the run. `party` says where passkeys are used, None where nowhere; `enrolled` has the passkeys of each
    person, by the name that `people` calls them. `renamed` has a repository's former name by its name of today, ""
    where it never had another. `replaces` are the SHA-256 of the policies before this one, which it vouches for in an
    audit. `ca` is where the authorities are by which servers are believed, "" for those that everybody believes."""

    sha256: str
    audience: str
    replay: str
    audit: str
    keys: dict[str, TrustedKey]
    people: People
    environments: dict[str, Environment]
    durable: bool = False
    actor_replaces: bool = False
    party: "RelyingParty | None" = None
    enrolled: "dict[str, tuple[Credential, ...]]" = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()
    ca: str = ""

    def passkeys(self, approver: str) -> "tuple[Credential, ...]":
        """The passkeys of the person that `approver` is, under whatever spelling."""
        return self.enrolled.get(self.people.canonical(approver), ())

    def environment_called(self, name: str) -> str:
        """The environment that a CI calls `name`: here or under its `ci_names`, in whatever case, as GitHub compares
        its own; `name` itself where there is none."""
        called = fold(name)
        found = (one.name for one in self.environments.values() if called in map(fold, (one.name, *one.ci_names)))
        return next(found, name)

    @property
    def longest_age(self) -> int:
        """The longest `max_age` of any environment, in seconds."""
        return max(environment.max_age for environment in self.environments.values())
