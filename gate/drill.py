"""The fire drill of `gate doctor --prove`: approvals that must be refused, handed to the very stores of a policy.

They are for a repository and an environment of the drill's own, signed with a key that exists only while it runs, and
judged by a policy that differs from the real one in just that: nothing real can be allowed, or used up, by it. What it
leaves behind is an audit stream of denials, `deploy-gate/drill/drill`, and one consumed JTI that expires in a minute.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.deployment import Deployment
from gate.errors import GateError, ReasonCode
from gate.gate import Gate
from gate.issuer import Issuer
from gate.keys import TrustedKey
from gate.models import Consumption, Finding
from gate.policy import Environment, Policy, RepositoryPattern
from gate.signers.file import FileSigner
from gate.tokens import decode

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.replay import ReplayStore

_NAME, _APPROVER, _LIFE = "drill", "drill@deploy-gate.example", 60
_DEPLOYMENT = Deployment(repository=f"deploy-gate/{_NAME}", sha="0" * 40, environment=_NAME)


class _Case(NamedTuple):
    name: str
    reason: ReasonCode
    token: str
    deployment: Deployment = _DEPLOYMENT


def drill(policy: Policy, replay: "ReplayStore", audit: "AuditLog", clock: Callable[[], float]) -> Iterator[Finding]:
    """Hand in a forged, an expired, a replayed and a wrong-commit approval, and see that each is denied for that.

    Raises:
        GateError: the replay store could not even be asked.
    """
    signer, stranger = FileSigner(Ed25519PrivateKey.generate()), FileSigner(Ed25519PrivateKey.generate())
    kid = signer.public_key.thumbprint
    gate = Gate(_drilled(policy, TrustedKey(kid, signer.public_key, frozenset([_APPROVER]), frozenset())),
                replay, audit, clock=clock)  # fmt: skip
    issuer, forger = (Issuer(each, kid=kid, audience=policy.audience) for each in (signer, stranger))
    now = int(clock())
    used = issuer.issue(_DEPLOYMENT, _APPROVER, now=now, ttl=_LIFE)
    replay.consume([_use(used, now)])
    fresh = issuer.issue(_DEPLOYMENT, _APPROVER, now=now, ttl=_LIFE)
    cases = (
        _Case("forged", "signature.invalid", forger.issue(_DEPLOYMENT, _APPROVER, now=now, ttl=_LIFE)),
        _Case("expired", "token.expired", issuer.issue(_DEPLOYMENT, _APPROVER, now=now - 3600, ttl=_LIFE)),
        _Case("replayed", "replay.used", used),
        _Case("wrong-commit", "sha.mismatch", fresh, replace(_DEPLOYMENT, sha="1" * 40)),
    )
    for case in cases:
        yield _judge(case, gate)


def _drilled(policy: Policy, key: TrustedKey) -> Policy:
    environment = Environment(
        name=_NAME,
        repositories=(RepositoryPattern(tuple(_DEPLOYMENT.repository.split("/"))),),
        approvers=frozenset([_APPROVER]),
        approvals=1,
        separation_of_duties=False,
        max_age=_LIFE,
        passkey_required=False,
    )
    return replace(policy, keys={key.kid: key}, environments={_NAME: environment})


def _use(token: str, now: int) -> Consumption:
    return Consumption(
        jti=decode(token).jti,
        nonce=secrets.token_urlsafe(16),
        expires_at=now + _LIFE,
        used_at=now,
        stream=_DEPLOYMENT.stream,
        sha=_DEPLOYMENT.sha,
        approver=_APPROVER,
    )


def _judge(case: _Case, gate: Gate) -> Finding:
    try:
        decision = gate.check([case.token], case.deployment)
    except GateError as error:
        return Finding("error", f"drill: {case.name}", error.message, error.hint)
    subject, answer = f"drill: {case.name}", f"{decision.decision} ({decision.reason})"
    if decision.reason != case.reason:
        return Finding("error", subject, f"{answer}; {case.reason} was expected", decision.hint or "Please report it.")
    if decision.record is None:
        return Finding("error", subject, f"{answer}, but it could not be recorded", "See to the audit log.")
    return Finding("ok", subject, answer)
