"""May this person approve this request, and if not, why? What the gate would say, said before they try."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple, cast, get_args

from gate.bot.errors import NotAllowed
from gate.bot.request import ApprovalRequest, Given
from gate.deployment import Deployment
from gate.errors import Denied, ReasonCode
from gate.issuer import Issuer
from gate.models import Commit, Identity
from gate.policy import Environment, Policy
from gate.text import plural
from gate.tokens import Approval
from gate.trace import CheckName
from gate.verification import CHECKS, check_deployment, judge


class Verdict(NamedTuple):
    """Whether `approver` (as the policy spells them here) may approve. If not, `reason`, `message` and `hint` say why.

    `caution` is what only the gate can judge, later, in the job; "" if there is nothing.
    """

    may: bool
    approver: str = ""
    reason: ReasonCode | str = ""
    message: str = ""
    hint: str = ""
    caution: str = ""

    def refusal(self) -> NotAllowed:
        """What to raise where somebody tries all the same."""
        error = NotAllowed(self.message, hint=self.hint)
        if self.reason in get_args(ReasonCode):
            error.reason = cast("ReasonCode", self.reason)
        return error


def check_wanted(deployment: Deployment, policy: Policy) -> Environment:
    """The environment that a request is for, if the policy has it and lets the repository in.

    Raises:
        Denied: `environment.unknown`, `repository.not_allowed`: nobody could ever approve it.
    """
    try:
        return check_deployment(deployment, policy)
    except Denied as denial:
        if denial.reason == "repository.not_allowed":
            denial.expected = ""  # which other repositories there are is no business of this one's jobs
        raise


def spelled(person: str, environment: Environment, policy: Policy) -> str:
    """How the environment spells the person whose canonical name is `person`, "" where they may not approve there."""
    names = (name for name in environment.approvers if policy.people.canonical(name) == person)
    return min(names, default="")


def eligibility(request: ApprovalRequest, person: str, policy: Policy, issuer: Issuer, now: int) -> Verdict:
    """Whether the person whose canonical name is `person` may approve `request` now."""
    try:
        environment = check_wanted(request.deployment, policy)
        status = request.status(environment.approvals, now)
        if status != "open":
            return Verdict(may=False, reason=status, message=_OVER[status])
        if given := request.approval_by(person, policy.people, now):
            return Verdict(may=False, approver=given.approver, reason="given", message="You have approved this.")
        approver = check_may(request, person, environment, policy)
        claims = issuer.draft(request.deployment, approver, now=now, ttl=environment.max_age)
        _judge(issuer.preview(claims), request, policy, now, _UNSIGNED)
        _check_enrolled(approver, environment, policy)
    except Denied as denial:
        return Verdict(may=False, reason=denial.reason, message=denial.message, hint=denial.hint)
    return Verdict(may=True, approver=approver, caution=_caution(request, environment))


def check_may(request: ApprovalRequest, person: str, environment: Environment, policy: Policy) -> str:
    """How the environment spells that person.

    Raises:
        Denied: `approver.not_allowed`: they may not approve there, nor decline.
    """
    approver = spelled(person, environment, policy)
    if not approver:
        raise Denied(
            "approver.not_allowed",
            f"You may not approve deployments into {request.deployment.environment}.",
            hint=f"The policy lists {plural(len(environment.approvers), 'approver')} for it; ask one of them.",
        )
    return approver


def _check_enrolled(approver: str, environment: Environment, policy: Policy) -> None:
    if environment.passkey_required and not policy.passkeys(approver):
        raise Denied(
            "passkey.missing",
            "This takes a passkey, and the policy lists none of yours.",
            hint="Enrol one, and have its public part merged into the policy.",
        )


_OVER = {
    "approved": "This has all the approvals that it needs.",
    "declined": "This was declined.",
    "expired": "This request has run out. A new run, or a re-run, asks again.",
}


def counted(request: ApprovalRequest, policy: Policy, now: int) -> ApprovalRequest:
    """The request without those live approvals that the gate would not count under the policy of now. Once a job has
    the tokens, they are what they are."""
    if request.handed_to:
        return request
    seen: set[str] = set()
    good = tuple(
        given
        for given in request.approvals
        if now >= given.expires_at or (_still_holds(given, request, policy, now) and _is_first(given, policy, seen))
    )
    return replace(request, approvals=good) if good != request.approvals else request


def _is_first(given: Given, policy: Policy, seen: set[str]) -> bool:
    """Whether nobody in `seen`, to whom they are added, is the one who gave it: two names may have become one's."""
    person = policy.people.canonical(given.approver)
    first = person not in seen
    seen.add(person)
    return first


def _still_holds(given: Given, request: ApprovalRequest, policy: Policy, now: int) -> bool:
    try:
        _judge(given.token, request, policy, now, _ALONE)
    except Denied:
        return False
    return True


def commits_of(request: ApprovalRequest) -> list[Commit]:
    """The commits of the request, as far as separation of duties looks at them."""
    facts = request.facts
    return [
        Commit(sha, (tuple(Identity(kind, value) for kind, value in role),))  # type: ignore[arg-type]
        for sha, role in (facts.roles if facts else ())
    ]


_ALONE = CHECKS.keys() - {CheckName.QUORUM}  # one approval is looked at by itself
_UNSIGNED = _ALONE - {CheckName.PARSE, CheckName.SIGNATURE, CheckName.PASSKEY}  # what a draft has is no proof yet


def _judge(
    given: str | Approval, request: ApprovalRequest, policy: Policy, now: int, only: Collection[CheckName]
) -> None:
    """The gate's own checks.

    Raises:
        Denied: the gate would.
    """
    judge([given], request.deployment, policy, now, only=only, commits=lambda: commits_of(request))


def _caution(request: ApprovalRequest, environment: Environment) -> str:
    if not environment.separation_of_duties:
        return ""
    if not request.is_known:
        return "Who wrote the commits is not known here. The gate will look again in the job, and may refuse."
    if "actors" in request.said:
        return "Who started the run is only what the job says. The gate looks again."
    return ""
