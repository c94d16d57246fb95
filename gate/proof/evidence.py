"""An allow proves itself: the tokens in its record are verified again, as of the time of the decision."""

from collections.abc import Sequence
from typing import NamedTuple

from gate.errors import Denied
from gate.policy import Policy
from gate.record import Record
from gate.steps import STEPS
from gate.tokens import Approval, decode
from gate.verification import check_age, check_passkeys, check_separation, verify

# What must hold under any policy that lists the key; who might approve what, only the policy of the time can say.
_LASTING = [step.check for step in STEPS if step.name in ("key", "signature", "time", "audience", "scope", "run")]


class Evidence(NamedTuple):
    """What proves an allow: its tokens, verified. `whole` says that it was under the very policy that decided, with
    all its rules except who wrote the commits; otherwise each signature was, by a key that a given policy lists, over
    this deployment at this time."""

    whole: bool
    approvals: tuple[Approval, ...]


def prove_allow(record: Record, policies: Sequence[Policy]) -> Evidence:
    """Verify the tokens of a record that allows, and that its `approvals` are what they say.

    Raises:
        GateError: they don't hold.
    """
    policy = next((policy for policy in policies if policy.sha256 == record.policy_sha256), None)
    if policy is None:
        signed = tuple([_signed(token, record, policies) for token in record.tokens])
        _check_recorded(record, signed)
        _check_proved(record, signed, policies)
        return Evidence(False, signed)
    approvals = verify(record.tokens, record.deployment, policy, record.decided_at)
    environment = policy.environments[record.deployment.environment]
    check_age(approvals, environment)
    check_passkeys(approvals, environment, policy)
    counted = approvals
    if environment.separation_of_duties:
        counted = check_separation(approvals, record.deployment, policy, commits=())
    _check_recorded(record, counted)
    if len({policy.people.canonical(approval["approver"]) for approval in record.approvals}) < environment.approvals:
        raise _unsupported("it counts fewer approvers than its policy asks for")
    return Evidence(True, approvals)


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


def _signed(token: str, record: Record, policies: Sequence[Policy]) -> Approval:
    """The approval in `token`, once the key of one of the policies vouches for it."""
    approval = decode(token)
    if approval.claims["environment"] != record.deployment.environment:
        raise _unsupported("an approval in it is for another environment")
    listing = [policy for policy in policies if approval.kid in policy.keys]
    if not listing:
        raise Unlisted(approval.kid)
    denials = [denial for policy in listing if (denial := _denial(approval, record, policy))]
    if len(denials) == len(listing):
        raise denials[0]
    return approval


def _denial(approval: Approval, record: Record, policy: Policy) -> Denied | None:
    try:
        for check in _LASTING:
            check(approval, record.deployment, policy, record.decided_at)
    except Denied as denial:
        return denial
    return None


def _check_recorded(record: Record, approvals: Sequence[Approval]) -> None:
    """Check that what the record says of its approvals is what their tokens say."""
    said = list(record.approvals)
    proved = [approval.summary() for approval in approvals]
    if not said or any(said.count(approval) > 1 or approval not in proved for approval in said):
        raise _unsupported("its approvals are not those in its tokens")


def _unsupported(why: str) -> Denied:
    return Denied("approvals.insufficient", f"{why[0].upper()}{why[1:]}.")


class Unproved(Denied):
    """The policy of its time was not given, and by those that were nothing can be said of it."""

    def __init__(self, denial: Denied) -> None:
        super().__init__(denial.reason, f"{denial.message} If its own policy asked for none, give that too.")


class Unlisted(Unproved):
    """No policy that was given lists the key, so nothing can be said of the signature."""

    def __init__(self, kid: str) -> None:
        Denied.__init__(
            self, "key.unknown", f"No policy that was given lists the key {kid}; give that of its time too."
        )
