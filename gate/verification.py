"""Is this deployment approved? Pure functions of (tokens, deployment, policy, now): no I/O, no clock.

The steps run in the order of docs/reference.md, "Verification"; each looks at every approval before the next one runs,
and the first that fails names itself.
"""

from collections.abc import Iterable, Sequence

from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.models import Check, Commit
from gate.policy import Environment, Policy
from gate.separation import separate_duties
from gate.steps import STEPS
from gate.text import plural
from gate.tokens import Approval, decode

MAX_TOKENS = 16


def check_deployment(deployment: Deployment, policy: Policy) -> Environment:
    """The environment that the deployment is for, if the policy lists it and lets the repository in.

    Raises:
        Denied: `environment.unknown`, `repository.not_allowed`: no approval could change that.
    """
    environment = policy.environments.get(deployment.environment)
    if environment is None:
        names = [name for name, one in policy.environments.items() if one.covers(deployment.repository)]
        raise Denied(
            "environment.unknown",
            "The policy does not list this environment.",
            expected=f"one of {', '.join(names)}" if names else "an environment that the policy lists",
            actual=deployment.environment,
            hint="Correct the name, or add the environment to the policy.",
            step="deployment",
        )
    if not environment.covers(deployment.repository):
        raise Denied(
            "repository.not_allowed",
            f"The policy does not let this repository into {environment.name}.",
            expected=f"one of {', '.join('/'.join(pattern.segments) for pattern in environment.repositories)}",
            actual=deployment.repository,
            hint="Add the repository to the environment in the policy.",
            step="deployment",
        )
    return environment


def verify(tokens: Sequence[str], deployment: Deployment, policy: Policy, now: int) -> tuple[Approval, ...]:
    """Check everything but separation of duties and age; `now` is in epoch seconds.

    Raises:
        Denied: the first check that failed; its `step` is that check's name.
        UsageError: `tokens` is not a sequence of at most 16 strings.
    """
    environment = check_deployment(deployment, policy)
    approvals = _decode_all(tokens)
    step = STEPS[0]
    try:
        for step in STEPS:
            for approval in approvals:
                step.check(approval, deployment, policy, now)
    except Denied as denial:
        denial.step = step.name
        raise
    _check_quorum(approvals, environment, policy)
    return approvals


def check_separation(
    approvals: Sequence[Approval], deployment: Deployment, policy: Policy, commits: Sequence[Commit]
) -> tuple[Approval, ...]:
    """The approvals that count, where the environment asks for separation of duties: those of approvers who neither
    triggered the run nor had a hand in one of `commits`.

    Raises:
        Denied: too few count; `approver.is_actor` or `approver.is_author` of the first that does not.
    """
    verdicts = [
        (approval, separate_duties(policy.people, approval.approver, deployment.actors, commits))
        for approval in approvals
    ]
    counted = tuple(approval for approval, denial in verdicts if denial is None)
    first = next((denial for _, denial in verdicts if denial), None)
    if first and _distinct(counted, policy) < policy.environments[deployment.environment].approvals:
        first.step = "separation"
        raise first
    return counted


def check_anyone(deployment: Deployment, policy: Policy, commits: Sequence[Commit]) -> None:
    """Check that enough of the environment's approvers neither triggered the run nor had a hand in one of `commits`.

    Raises:
        Denied: too few; whoever approves, separation of duties would deny.
    """
    environment = policy.environments[deployment.environment]
    verdicts = [
        (policy.people.canonical(approver), separate_duties(policy.people, approver, deployment.actors, commits))
        for approver in sorted(environment.approvers)
    ]
    free = {person for person, denial in verdicts if denial is None}
    first = next((denial for _, denial in verdicts if denial), None)
    if first and len(free) < environment.approvals:
        raise first


def check_age(approvals: Iterable[Approval], environment: Environment) -> None:
    """Check that no approval outlives what the environment allows.

    Raises:
        Denied: `token.too_long_lived`.
    """
    for approval in approvals:
        life = approval.expires_at - approval.issued_at
        if life > environment.max_age:
            raise Denied(
                "token.too_long_lived",
                f"The approval by {approval.approver} lives longer than the policy allows.",
                expected=f"a life of at most {environment.max_age} s",
                actual=f"{life} s",
                hint="Approve again with a shorter --ttl.",
                step="age",
            )


def check_passkeys(approvals: Iterable[Approval], environment: Environment, policy: Policy) -> tuple[Approval, ...]:
    """The approvals that carry a passkey's assertion, once each is seen to hold; every approval, whether it counts or
    not, must carry one where the environment asks for it.

    Raises:
        Denied: `passkey.missing`, `passkey.invalid`.
    """
    return tuple([approval for approval in approvals if _has_passkey(approval, environment, policy)])


def _has_passkey(approval: Approval, environment: Environment, policy: Policy) -> bool:
    if "passkey" not in approval.claims:
        if not environment.passkey_required:
            return False
        raise Denied(
            "passkey.missing",
            f"The approval by {approval.approver} was made without a passkey.",
            expected=f"an assertion, which {environment.name} asks for",
            actual="none",
            hint="Approve on the deploy-bot's page, with a passkey.",
            step="passkey",
        )
    if policy.party is None:
        raise Denied(
            "passkey.invalid",
            f"The approval by {approval.approver} carries a passkey's assertion, which this policy can't check.",
            expected="a policy that lists passkeys",
            actual="one without",
            hint="Add passkeys to the policy, or approve without one.",
            step="passkey",
        )
    from gate.passkey import check_assertion  # noqa: PLC0415 (paid for when used)

    check_assertion(approval.claims, policy.passkeys(approval.approver), policy.party)
    return True


def passed(approvals: Sequence[Approval]) -> list[Check]:
    """The steps of `verify` as checks that `approvals` passed."""
    return [
        Check(step.name, "pass", step.expected, ", ".join(dict.fromkeys(map(step.shows, approvals)))) for step in STEPS
    ]


def _decode_all(tokens: Sequence[str]) -> tuple[Approval, ...]:
    if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
        raise UsageError("The approvals are not a list of tokens.", hint="Pass [token], even for one.")
    if len(tokens) > MAX_TOKENS:
        raise UsageError("Too many approvals.", expected=f"at most {MAX_TOKENS}", actual=f"{len(tokens)}")
    if not tokens:
        raise Denied(
            "token.missing",
            "No approval was handed in.",
            expected="an approval token",
            actual="none",
            hint="Ask an engineer to approve: gate approve. Hand the token in by GATE_APPROVALS or --approval, "
            "or name the deploy-bot to ask.",
            step="parse",
        )
    try:
        approvals = tuple([decode(token) for token in dict.fromkeys(tokens)])
    except Denied as denial:
        denial.step = "parse"
        raise
    if len(approvals) > 1 and len({approval.jti for approval in approvals}) < len(approvals):
        raise Denied(
            "replay.used",
            "Two of the approvals have the same JTI.",
            expected="a JTI of its own in each",
            actual="one JTI twice",
            hint="An approval works once. Ask for a second one.",
            step="parse",
        )
    return approvals


def _distinct(approvals: Iterable[Approval], policy: Policy) -> int:
    return len({policy.people.canonical(approval.approver) for approval in approvals})


def _check_quorum(approvals: Sequence[Approval], environment: Environment, policy: Policy) -> None:
    if environment.approvals == 1:
        return
    distinct = _distinct(approvals, policy)
    if distinct < environment.approvals:
        missing = environment.approvals - distinct
        raise Denied(
            "approvals.insufficient",
            f"{plural(missing, 'approval')} by somebody else {'is' if missing == 1 else 'are'} missing.",
            expected=f"{environment.approvals} distinct approvers",
            actual=str(distinct),
            hint="Ask another approver, and hand in all the tokens at once.",
            step="quorum",
        )


# Every check of a decision, in the order in which they are made, and what each expects.
CHECKS = {
    "deployment": "an environment that the policy lists, and a repository that it lets in",
    "parse": "approval tokens",
    **{step.name: step.expected for step in STEPS},
    "quorum": "enough distinct approvers",
    "separation": "approvers who neither triggered nor wrote it",
    "age": "a life that the policy allows",
    "passkey": "an assertion where the policy asks for one",
    "checkout": "a checkout of this commit",
    "replay": "never used before",
    "record": "written before anything is allowed",
}
WITHOUT_APPROVAL = {"deployment", "separation", "checkout", "replay", "record"}  # what of it a dry run looks at
