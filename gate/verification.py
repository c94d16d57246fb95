"""Is this deployment approved? Pure functions of (tokens, deployment, policy, now): no I/O, no clock.

The steps run in the order of docs/reference.md, "Verification"; each looks at every approval before the next one runs,
and the first that fails names itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gate.deployment import Deployment
from gate.errors import Denied, UsageError
from gate.models import Check, Commit
from gate.people import separate_duties
from gate.policy import Environment, Policy
from gate.text import plural, printable, utc
from gate.tokens import Approval, decode

LEEWAY = 30  # seconds that clocks may differ
MAX_TOKENS = 16


def verify(tokens: Sequence[str], deployment: Deployment, policy: Policy, now: int) -> tuple[Approval, ...]:
    """Check everything but separation of duties and age; `now` is in epoch seconds.

    Raises:
        Denied: the first check that failed; its `step` is that check's name.
        UsageError: `tokens` is not a sequence of at most 16 strings.
    """
    approvals = _decode_all(tokens)
    step = STEPS[0]
    try:
        for step in STEPS:
            for approval in approvals:
                step.check(approval, deployment, policy, now)
    except Denied as denial:
        denial.step = step.name
        raise
    _check_quorum(approvals, policy.environments[deployment.environment], policy)
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


def check_age(approvals: Iterable[Approval], environment: Environment) -> None:
    """Check that no approval outlives what the environment allows, and that none leans on a passkey.

    Raises:
        Denied: `token.too_long_lived`, `passkey.invalid`.
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
        if "passkey" in approval.claims:
            raise Denied(
                "passkey.invalid",
                "The approval carries a passkey assertion, which this gate can't check yet.",
                expected="an approval without a passkey assertion",
                actual=f"one by {approval.approver} that has it",
                hint="Upgrade the gate, or approve without a passkey.",
                step="passkey",
            )


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
            hint="Ask an engineer to approve: gate approve. Hand the token in by GATE_APPROVALS or --approval.",
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


def _check_key(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    trusted = policy.keys.get(approval.kid)
    if trusted is None:
        raise Denied(
            "key.unknown",
            "The approval is signed with a key that the policy does not list.",
            expected=f"one of {', '.join(policy.keys)}",
            actual=approval.kid,
            hint="Approve with a listed key, or add this one to the policy: gate keys show.",
        )
    # The header may only agree with the key; it never chooses (RFC 8725 §3.1).
    if trusted.key.alg != approval.alg:
        raise Denied(
            "signature.invalid",
            "The approval names another algorithm than its key has.",
            expected=trusted.key.alg,
            actual=approval.alg,
            hint="Nobody but the signer can mend this. Ask for a new approval.",
        )
    if not trusted.in_window(approval.issued_at):
        raise Denied(
            "key.outside_window",
            "The approval was issued outside the time for which the policy trusts its key.",
            expected=f"issued from {_bound(trusted.not_before)} to {_bound(trusted.not_after)}",
            actual=f"issued at {utc(approval.issued_at)}",
            hint="Approve with the key that is trusted today.",
        )


def _bound(time: int | None) -> str:
    return "ever" if time is None else utc(time)


def _check_signature(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    if not policy.keys[approval.kid].key.verify(approval.signature, approval.signing_input):
        raise Denied(
            "signature.invalid",
            "The approval's signature is not that of the key it names.",
            expected=f"a signature by {approval.kid}",
            actual="another, or a token that was changed",
            hint="Hand in the token exactly as it was printed, or ask for a new approval.",
        )


def _check_time(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    starts = max(approval.issued_at, approval.claims.get("nbf", 0))
    if now + LEEWAY < starts:
        raise Denied(
            "token.not_yet_valid",
            "The approval is not valid yet.",
            expected=f"now to be {utc(starts)} or later",
            actual=f"{utc(now)}, which is {starts - now} s too early",
            hint="Compare the clocks of signer and gate, or wait.",
        )
    if now >= approval.expires_at + LEEWAY:
        raise Denied(
            "token.expired",
            f"The approval by {approval.approver} has expired.",
            expected=f"now to be before {utc(approval.expires_at)}",
            actual=f"{utc(now)}, which is {now - approval.expires_at} s too late",
            hint="Ask for a new approval, shortly before the deploy.",
        )


def _check_audience(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    if approval.claims["aud"] != policy.audience:
        raise Denied(
            "audience.mismatch",
            "The approval is meant for another gate.",
            expected=policy.audience,
            actual=approval.claims["aud"],
            hint="The signer's audience and the policy's must be equal.",
        )


def _check_scope(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    if approval.scope == deployment.scope:
        return
    if approval.scope.repository != deployment.repository:
        raise Denied(
            "repository.mismatch",
            "The approval is for another repository.",
            expected=deployment.repository,
            actual=approval.scope.repository,
            hint="Ask for an approval of this repository.",
        )
    raise Denied(
        "sha.mismatch",
        "The approval is for another commit.",
        expected=deployment.sha,
        actual=approval.scope.sha,
        hint="Deploy the commit that was approved, or ask for an approval of this one.",
    )


def _check_environment(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    if approval.claims["environment"] != deployment.environment:
        raise Denied(
            "environment.mismatch",
            "The approval is for another environment.",
            expected=deployment.environment,
            actual=approval.claims["environment"],
            hint="Ask for an approval for this environment.",
        )
    if deployment.environment not in policy.environments:
        raise Denied(
            "environment.unknown",
            "The policy does not list this environment.",
            expected=f"one of {', '.join(policy.environments)}",
            actual=deployment.environment,
            hint="Correct the name, or add the environment to the policy.",
        )


def _check_run(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    for claim in ("run_id", "repository_id", "request_id"):
        bound = approval.claims.get(claim)
        if bound is not None and bound != getattr(deployment, claim):
            raise Denied(
                "run.mismatch",
                f"The approval is bound to another {claim.replace('_', ' ')}.",
                expected=getattr(deployment, claim) or "none that the gate was told",
                actual=printable(bound),
                hint=f"Ask for an approval of this run, or tell the gate: --{claim.replace('_', '-')}.",
            )


def _check_authority(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    if not policy.keys[approval.kid].speaks_for(approval.approver):
        raise Denied(
            "key.not_authorized",
            f"The key may not speak for {approval.approver}.",
            expected=f"an approver that the policy lists for {approval.kid}",
            actual=approval.approver,
            hint="Approve with a key that may, or widen this key's approvers in the policy.",
        )


def _check_repository(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    environment = policy.environments[deployment.environment]
    if not environment.covers(deployment.repository):
        raise Denied(
            "repository.not_allowed",
            f"The policy does not let this repository into {environment.name}.",
            expected=f"one of {', '.join('/'.join(pattern.segments) for pattern in environment.repositories)}",
            actual=deployment.repository,
            hint="Add the repository to the environment in the policy.",
        )


def _check_approver(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:  # noqa: ARG001
    environment = policy.environments[deployment.environment]
    if approval.approver not in environment.approvers:
        raise Denied(
            "approver.not_allowed",
            f"{approval.approver} may not approve deployments into {environment.name}.",
            expected=f"one of the {plural(len(environment.approvers), 'approver')} that the policy lists",
            actual=approval.approver,
            hint="Ask somebody who may, or add this approver to the environment in the policy.",
        )


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


class Step(NamedTuple):
    """One check of one approval: `check` raises Denied; `expected` and `shows` put a pass into words."""

    name: str
    check: Callable[[Approval, Deployment, Policy, int], None]
    expected: str
    shows: Callable[[Approval], str]


STEPS = (
    Step("key", _check_key, "a key that the policy trusts", lambda approval: approval.kid),
    Step("signature", _check_signature, "a signature by that key", lambda approval: f"a valid {approval.alg} one"),
    Step(
        "time",
        _check_time,
        "within the approval's life",
        lambda approval: f"from {utc(approval.issued_at)} to {utc(approval.expires_at)}",
    ),
    Step("audience", _check_audience, "this gate's audience", lambda approval: printable(approval.claims["aud"])),
    Step("scope", _check_scope, "this repository and commit", lambda approval: str(approval.scope)),
    Step("environment", _check_environment, "this environment", lambda approval: str(approval.claims["environment"])),
    Step(
        "run",
        _check_run,
        "bound to this run, or to none",
        lambda approval: printable(approval.claims.get("run_id", "bound to none")),
    ),
    Step("authority", _check_authority, "an approver the key may speak for", lambda approval: approval.approver),
    Step(
        "repository", _check_repository, "a repository the policy lets in", lambda approval: approval.scope.repository
    ),
    Step("approver", _check_approver, "an approver the policy lists", lambda approval: approval.approver),
)

# Every check of a decision, in the order in which they are made, and what each expects.
CHECKS = {
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
