"""The checks that look at one approval at a time (docs/reference.md, "Verification"; gate.verification has the order).

Each is a pure function of (approval, deployment, policy, now), `now` in epoch seconds, that raises Denied.
"""
# ruff: noqa: ARG001 (a step takes all four, whichever it looks at)

from collections.abc import Callable
from typing import NamedTuple

from gate.deployment import Deployment
from gate.errors import Denied
from gate.policy import Policy
from gate.text import plural, printable, utc
from gate.tokens import Approval
from gate.trace import CheckName

LEEWAY = 30  # seconds that clocks may differ


def _check_key(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
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


def _check_signature(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
    if not policy.keys[approval.kid].key.verify(approval.signature, approval.signing_input):
        raise Denied(
            "signature.invalid",
            "The approval's signature is not that of the key it names.",
            expected=f"a signature by {approval.kid}",
            actual="another, or a token that was changed",
            hint="Hand in the token exactly as it was printed, or ask for a new approval.",
        )


def _check_time(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
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


def _check_audience(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
    if approval.claims["aud"] != policy.audience:
        raise Denied(
            "audience.mismatch",
            "The approval is meant for another gate.",
            expected=policy.audience,
            actual=approval.claims["aud"],
            hint="The signer's audience and the policy's must be equal.",
        )


def _check_scope(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
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


def _check_environment(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
    if approval.claims["environment"] != deployment.environment:
        raise Denied(
            "environment.mismatch",
            "The approval is for another environment.",
            expected=deployment.environment,
            actual=approval.claims["environment"],
            hint="Ask for an approval for this environment.",
        )


def _check_run(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
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


def _check_authority(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
    if not policy.keys[approval.kid].speaks_for(approval.approver):
        raise Denied(
            "key.not_authorized",
            f"The key may not speak for {approval.approver}.",
            expected=f"an approver that the policy lists for {approval.kid}",
            actual=approval.approver,
            hint="Approve with a key that may, or widen this key's approvers in the policy.",
        )


def _check_approver(approval: Approval, deployment: Deployment, policy: Policy, now: int) -> None:
    environment = policy.environments[deployment.environment]
    if approval.approver not in environment.approvers:
        raise Denied(
            "approver.not_allowed",
            f"{approval.approver} may not approve deployments into {environment.name}.",
            expected=f"one of the {plural(len(environment.approvers), 'approver')} that the policy lists",
            actual=approval.approver,
            hint="Ask somebody who may, or add this approver to the environment in the policy.",
        )


class Step(NamedTuple):
    """One check of one approval: `check` raises Denied; `shows` puts what passed into words."""

    name: CheckName
    check: Callable[[Approval, Deployment, Policy, int], None]
    shows: Callable[[Approval], str]


STEPS = (
    Step(CheckName.KEY, _check_key, lambda approval: approval.kid),
    Step(CheckName.SIGNATURE, _check_signature, lambda approval: f"a valid {approval.alg} one"),
    Step(
        CheckName.TIME,
        _check_time,
        lambda approval: f"from {utc(approval.issued_at)} to {utc(approval.expires_at)}",
    ),
    Step(CheckName.AUDIENCE, _check_audience, lambda approval: printable(approval.claims["aud"])),
    Step(CheckName.SCOPE, _check_scope, lambda approval: str(approval.scope)),
    Step(
        CheckName.ENVIRONMENT,
        _check_environment,
        lambda approval: str(approval.claims["environment"]),
    ),
    Step(
        CheckName.RUN,
        _check_run,
        lambda approval: printable(approval.claims.get("run_id", "bound to none")),
    ),
    Step(CheckName.AUTHORITY, _check_authority, lambda approval: approval.approver),
    Step(CheckName.APPROVER, _check_approver, lambda approval: approval.approver),
)
