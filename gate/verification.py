"""Is this deployment approved? `judge` makes every check of an approval, in the one order that there is
(docs/reference.md, "Verification"): no I/O, no clock. Each check looks at every approval before the next one is made,
and the first that fails names itself.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.models import Commit
from gate.policy import Environment, Policy
from gate.separation import separate_duties
from gate.steps import STEPS, Step
from gate.text import plural
from gate.tokens import Approval, decode
from gate.trace import CheckName, Trace

MAX_TOKENS = 16

Given = Sequence[str | Approval]


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
        )
    if not environment.covers(deployment.repository):
        raise Denied(
            "repository.not_allowed",
            f"The policy does not let this repository into {environment.name}.",
            expected=f"one of {', '.join('/'.join(pattern.segments) for pattern in environment.repositories)}",
            actual=deployment.repository,
            hint="Add the repository to the environment in the policy.",
        )
    return environment


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
        )
    if policy.party is None:
        raise Denied(
            "passkey.invalid",
            f"The approval by {approval.approver} carries a passkey's assertion, which this policy can't check.",
            expected="a policy that lists passkeys",
            actual="one without",
            hint="Add passkeys to the policy, or approve without one.",
        )
    from gate.passkey import check_assertion  # noqa: PLC0415 (paid for when used)

    check_assertion(approval.claims, policy.passkeys(approval.approver), policy.party)
    return True


def _decode_all(tokens: Given) -> tuple[Approval, ...]:
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
        )
    approvals = tuple([decode(str(token)) for token in dict.fromkeys(tokens)])
    if len(approvals) > 1 and len({approval.jti for approval in approvals}) < len(approvals):
        raise Denied(
            "replay.used",
            "Two of the approvals have the same JTI.",
            expected="a JTI of its own in each",
            actual="one JTI twice",
            hint="An approval works once. Ask for a second one.",
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
        )


class _Case:
    """What is judged, and what is known of it so far."""

    def __init__(
        self, given: Given, deployment: Deployment, policy: Policy, now: int, commits: Callable[[], Iterable[Commit]]
    ) -> None:
        self.given, self.deployment, self.policy, self.now, self.commits = given, deployment, policy, now, commits
        self.approvals = tuple([one for one in given if isinstance(one, Approval)])
        self.counted = self.approvals

    @property
    def environment(self) -> Environment:
        return self.policy.environments[self.deployment.environment]


def _unknown() -> Iterable[Commit]:
    raise Denied("approver.is_author", "Who wrote the commits is not known.", hint="Say where the commits are from.")


class _Skipped(Exception):
    """The check has nothing to look at; says why."""


def _deployment(case: _Case) -> str:
    environment = check_deployment(case.deployment, case.policy)
    return f"{case.deployment.repository} into {environment.name}"


def _parse(case: _Case) -> str:
    case.approvals = case.counted = _decode_all(case.given)
    return plural(len(case.approvals), "token")


def _each(step: Step) -> Callable[[_Case], str]:
    def check(case: _Case) -> str:
        for approval in case.approvals:
            step.check(approval, case.deployment, case.policy, case.now)
        return ", ".join(dict.fromkeys(map(step.shows, case.approvals)))

    return check


def _quorum(case: _Case) -> str:
    _check_quorum(case.approvals, case.environment, case.policy)
    return ", ".join(approval.approver for approval in case.approvals)


def _separation(case: _Case) -> str:
    if not case.environment.separation_of_duties:
        raise _Skipped("the policy turns it off")
    commits = tuple(case.commits())
    case.counted = check_separation(case.approvals, case.deployment, case.policy, commits)
    return plural(len(commits), "commit")


def _age(case: _Case) -> str:
    check_age(case.approvals, case.environment)
    return f"at most {case.environment.max_age} s"


def _passkey(case: _Case) -> str:
    if proved := check_passkeys(case.approvals, case.environment, case.policy):
        return f"of {', '.join(approval.approver for approval in proved)}"
    raise _Skipped("none asked for, none given")


CHECKS: dict[CheckName, Callable[[_Case], str]] = {
    CheckName.DEPLOYMENT: _deployment,
    CheckName.PARSE: _parse,
    **{step.name: _each(step) for step in STEPS},
    CheckName.QUORUM: _quorum,
    CheckName.SEPARATION: _separation,
    CheckName.AGE: _age,
    CheckName.PASSKEY: _passkey,
}


def judge(
    given: Given,
    deployment: Deployment,
    policy: Policy,
    now: int,
    *,
    only: Collection[CheckName] = frozenset(CHECKS),
    commits: Callable[[], Iterable[Commit]] = _unknown,
    trace: Trace | None = None,
) -> tuple[Approval, ...]:
    """Make the checks `only`, by default all, of the approvals that are `given` as tokens, or already parsed, which
    leaves out `PARSE`; returns the approvals. `now` is in epoch seconds. `commits` gives the commits that are new, once
    `SEPARATION` asks for them. What becomes of each check is added to `trace`.

    Raises:
        Denied: the first check that failed; its `step` is that check's name.
        UsageError: `given` is not a sequence of at most 16 tokens.
    """
    if CheckName.PARSE not in only and not all(isinstance(one, Approval) for one in given):
        raise UsageError("Tokens are judged only once they are parsed.")  # or there would be nothing to look at
    trace = trace or Trace()
    case = _Case(given, deployment, policy, now, commits)
    for name, check in CHECKS.items():
        if name not in only:
            continue
        trace.step = name
        try:
            trace.ok(name, check(case))
            if name in (CheckName.QUORUM, CheckName.SEPARATION):
                trace.counted = case.counted
        except _Skipped as skipped:
            trace.skip(name, str(skipped))
        except Denied as denial:
            denial.step = denial.step or name.value
            raise
    return case.approvals
