"""Who has signed in, and whom that makes them."""

from typing import NamedTuple

from gate.models import Identity
from gate.policy import Policy


class SignedIn(NamedTuple):
    """Somebody who has just signed in, as the provider called `provider` knows them.

    `identities` are all of one account, and verified; `name` is for display only.
    """

    identities: tuple[Identity, ...]
    name: str
    provider: str


def known(policy: Policy, person: SignedIn) -> str | None:
    """The canonical name, in the policy, of the one person that this is; None for a stranger, or for two people."""
    return policy.people.owner(person.identities)
