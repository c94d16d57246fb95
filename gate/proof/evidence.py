"""An allow proves itself: the tokens in its record are verified again, as of the time of the decision."""

from collections.abc import Sequence
from typing import NamedTuple

from gate.errors import Denied
from gate.policy import Policy
from gate.proof.events import Strength
from gate.proof.policies import Policies
from gate.record import Record
from gate.reverify import Revoked, Unproved, check_recorded, reverify, unsupported
from gate.separation import is_actor
from gate.tokens import Approval
from gate.trace import CheckName
from gate.verification import CHECKS, check_passkeys, judge

_UNATTRIBUTED = CHECKS.keys() - {CheckName.SEPARATION}  # who wrote the commits, no record says


class Evidence(NamedTuple):
    """What proves an allow: its tokens, verified. With "policy" and "archived" they were under the very policy that
    decided, with all its rules except who wrote the commits; with "signatures" each signature was, by a key that a
    given policy lists, over this deployment at this time."""

    strength: Strength
    approvals: tuple[Approval, ...]


def prove_allow(record: Record, policies: Policies) -> Evidence:
    """Verify the tokens of a record that allows, and that its `approvals` are what they say.

    Raises:
        GateError: they don't hold.
    """
    for policy in policies.given:
        if policy.sha256 == record.policy_sha256:
            return Evidence("policy", _prove(record, policy))
    if archived := policies.archived(record.policy_sha256):
        approvals = _prove(record, archived.policy)
        for approval in approvals:
            if approval.kid in archived.revoked:
                raise Revoked(approval.kid)
        return Evidence("archived", approvals)
    signed = reverify(record, policies.given)
    _check_proved(record, signed, policies.given)
    return Evidence("signatures", signed)


def _prove(record: Record, policy: Policy) -> tuple[Approval, ...]:
    """The approvals of a record that allows, verified under the policy that decided."""
    approvals = judge(record.tokens, record.deployment, policy, record.decided_at, only=_UNATTRIBUTED)
    environment = policy.environments[record.deployment.environment]
    counted = approvals
    if environment.separation_of_duties:
        counted = _uninvolved(approvals, record, policy)
    check_recorded(record, counted)
    if len({policy.people.canonical(approval["approver"]) for approval in record.approvals}) < environment.approvals:
        raise unsupported("it counts fewer approvers than its policy asks for")
    return approvals


def _uninvolved(approvals: Sequence[Approval], record: Record, policy: Policy) -> tuple[Approval, ...]:
    """The approvals of those who are not said to have triggered the run. Who can't be told from them was for the gate
    of that time to judge: nothing in a record but its tokens is signed, so a forger would name somebody who can be."""
    actors, people = record.deployment.actors, policy.people
    return tuple(each for each in approvals if actors and not is_actor(people, each.approver, actors))


def _check_proved(record: Record, approvals: Sequence[Approval], policies: Sequence[Policy]) -> None:
    """Where a policy asks for passkeys today, a signature alone proves nothing: whoever holds the key could have made
    it, and have named a policy that nobody has.

    Raises:
        Unproved: neither of the policies that ask for them is satisfied.
    """
    name = record.deployment.environment
    asking = [
        policy for policy in policies if name in policy.environments and policy.environments[name].passkey_required
    ]
    denials = [denial for policy in asking if (denial := _unproved(approvals, policy, name))]
    if asking and len(denials) == len(asking):
        raise Unproved(denials[0])


def _unproved(approvals: Sequence[Approval], policy: Policy, name: str) -> Denied | None:
    try:
        check_passkeys(approvals, policy.environments[name], policy)
    except Denied as denial:
        return denial
    return None
