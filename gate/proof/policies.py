"""The policies that a proof goes by: those that an auditor gave, and those before them, which the log keeps."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from gate.audit import AuditLog, NotARecord, named
from gate.errors import PolicyError
from gate.keys import REVOKED
from gate.policy import Policy
from gate.policyfile import compile_policy
from gate.proof.events import Event, Fault, Note


class Archived(NamedTuple):
    """A policy from beside the log, and those of its keys (their kids) that were revoked since."""

    policy: Policy
    revoked: frozenset[str]


class Policies:
    """The policies that were `given`, and the archived ones that they lead to by what they say in `replaces`.

    That alone makes an archived policy believed: one that is believed already names its SHA-256. Where it lies proves
    nothing, for who may write records may write there. They are read only as far as they are asked for.
    """

    def __init__(self, given: Sequence[Policy], log: AuditLog) -> None:
        self.given = given
        self._log = log
        self._archived: dict[str, Archived] = {}
        self._leads = deque(chain.from_iterable(policy.replaces for policy in given))
        self._looked_for: set[str] = set()
        self._before: dict[str, set[str]] = {}
        self._revoked = set(chain.from_iterable(map(_revoked, given)))
        self._troubles: list[Event] = []

    def archived(self, sha256: str) -> Archived | None:
        """The policy with this SHA-256, if those that were given lead to it.

        Raises:
            AuditUnavailable: the log can't be read.
        """
        while self._leads and sha256 not in self._archived:
            self._follow(self._leads.popleft())
        if sha256 not in self._looked_for:
            self._look_beside(sha256)
        return self._archived.get(sha256)

    def is_before(self, older: str, newer: str) -> bool:
        """True if the policy `newer` replaced the policy `older`, itself or by way of others."""
        while self._leads:
            self._follow(self._leads.popleft())
        if newer not in self._before:
            self._before[newer] = self._all_before(newer)
        return older in self._before[newer]

    def troubles(self) -> Iterator[Event]:
        """What was wrong with the policies that were looked for."""
        yield from self._troubles

    def _all_before(self, newer: str) -> set[str]:
        replaces = {policy.sha256: policy.replaces for policy in self._believed()}
        left, found = [newer], set[str]()
        while left:
            more = set(replaces.get(left.pop(), ())) - found
            found |= more
            left += more
        return found

    def _believed(self) -> Iterator[Policy]:
        yield from self.given
        yield from (archived.policy for archived in self._archived.values())

    def _follow(self, sha256: str) -> None:
        """Read an archived policy that one that is believed names."""
        if sha256 in self._looked_for:
            return
        self._looked_for.add(sha256)
        uri = self._log.policy_uri(sha256)
        try:
            data = self._log.archived(sha256)
            if data is not None and named(data) != sha256:
                self._troubles.append(Fault("altered", "not the policy of this SHA-256", uri=uri))
            elif data is not None:
                self._take(compile_policy(data))
            elif not any(policy.sha256 == sha256 for policy in self.given):
                message = f"The policy {sha256} was replaced by one that you gave, and is not kept at {uri}."
                self._troubles.append(Note(f"{message} Where you have it: gate policy archive, or --policy."))
        except NotARecord as error:
            self._troubles.append(Fault("altered", f"something else stands here: {error.message}", uri=uri))
        except PolicyError as error:
            self._troubles.append(Note(f"{uri} can't be used by this version of the gate. {error.message}"))

    def _take(self, policy: Policy) -> None:
        since = frozenset(kid for kid, key in policy.keys.items() if key.key.spki in self._revoked)
        self._archived[policy.sha256] = Archived(policy, since)
        self._revoked |= _revoked(policy)
        self._leads += policy.replaces

    def _look_beside(self, sha256: str) -> None:
        """Tell of a policy that is kept beside the log, but that nothing that was given leads to."""
        self._looked_for.add(sha256)
        try:
            data = self._log.archived(sha256)
        except NotARecord:
            return
        if data is not None and named(data) == sha256:
            self._troubles.append(
                Note(
                    f"{self._log.policy_uri(sha256)} is the policy that decided some of this, but none that you gave "
                    "leads to it: if it is one of yours, give it with --policy, or name it in `replaces`."
                )
            )


def _revoked(policy: Policy) -> set[bytes]:
    return {key.key.spki for key in policy.keys.values() if key.not_after == REVOKED}
