"""An allow proves itself: its tokens, verified again as of the time of the decision, by the keys of given policies."""

from collections.abc import Sequence

from gate.errors import Denied
from gate.policy import Policy
from gate.record import Record
from gate.tokens import Approval, decode
from gate.trace import CheckName
from gate.verification import judge

# What must hold under any policy that lists the key; who might approve what, only the policy of the time can say.
_LASTING = {
    CheckName.KEY,
    CheckName.SIGNATURE,
    CheckName.TIME,
    CheckName.AUDIENCE,
    CheckName.SCOPE,
    CheckName.RUN,
}


def reverify(record: Record, policies: Sequence[Policy]) -> tuple[Approval, ...]:
    """The approvals of a record that allows, each signed by a key that one of `policies` lists, over this deployment
    and in time; and those that it names are among them.

    Raises:
        Denied: they don't hold; `Unlisted` where no policy lists a key.
    """
    approvals = tuple([_signed(token, record, policies) for token in record.tokens])
    check_recorded(record, approvals)
    return approvals


def check_recorded(record: Record, approvals: Sequence[Approval]) -> None:
    """Check that what the record says of its approvals is what their tokens say.

    Raises:
        Denied: it is not.
    """
    said = list(record.approvals)
    proved = [approval.summary() for approval in approvals]
    if not said or any(said.count(approval) > 1 or approval not in proved for approval in said):
        raise unsupported("its approvals are not those in its tokens")


def unsupported(why: str) -> Denied:
    """What to raise for a record that says more than its tokens."""
    return Denied("approvals.insufficient", f"{why[0].upper()}{why[1:]}.")


class Unproved(Denied):
    """The policy of its time was not given, and by those that were nothing can be said of it."""

    def __init__(self, denial: Denied) -> None:
        super().__init__(denial.reason, f"{denial.message} If its own policy asked for none, give that too.")


class Revoked(Unproved):
    """A key that signed it was revoked after the policy of its time, which was not given but found."""

    def __init__(self, kid: str) -> None:
        message = (
            f"The key {kid} was revoked since; if its word of that time is to count, give the policy of that time."
        )
        Denied.__init__(self, "key.outside_window", message)


class Unlisted(Unproved):
    """No policy that was given lists the key, so nothing can be said of the signature."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        Denied.__init__(
            self, "key.unknown", f"No policy that was given lists the key {kid}; give that of its time too."
        )


def _signed(token: str, record: Record, policies: Sequence[Policy]) -> Approval:
    """The approval in `token`, once the key of one of the policies vouches for it."""
    approval = decode(token)
    if approval.claims["environment"] != record.deployment.environment:
        raise unsupported("an approval in it is for another environment")
    listing = [policy for policy in policies if approval.kid in policy.keys]
    if not listing:
        raise Unlisted(approval.kid)
    denials = [denial for policy in listing if (denial := _denial(approval, record, policy))]
    if len(denials) == len(listing):
        raise denials[0]
    return approval


def _denial(approval: Approval, record: Record, policy: Policy) -> Denied | None:
    try:
        judge([approval], record.deployment, policy, record.decided_at, only=_LASTING)
    except Denied as denial:
        return denial
    return None
