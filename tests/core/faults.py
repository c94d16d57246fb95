"""Faults that the parser can't see: each makes one check fail, and its token passes all the checks before that one."""

from dataclasses import dataclass, field, replace
from typing import Any

from tests.core.authenticator import Authenticator
from tests.core.mint import ED25519, NOW, OLD, OTHER_SHA, SCOPE, SHA, STRANGER, token


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: with the claims, with how the token is made, or with what it is held against."""

    reason: str
    step: str
    claims: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    deployment: dict[str, Any] = field(default_factory=dict)

    def over(self, other: "Fault") -> "Fault":
        """Both faults; where they touch the same thing, this one."""
        return replace(
            self,
            claims=other.claims | self.claims,
            made=other.made | self.made,
            deployment=other.deployment | self.deployment,
        )

    @property
    def token(self) -> str:
        """The token that has it."""
        return token(**self.made, **self.claims)


OVER_SOMETHING_ELSE = Authenticator().assert_(b"something else")
OTHER = f"deploy:other/shop:{SHA}"
IN_ORDER = [
    Fault("environment.unknown", "deployment", {"environment": "dev"}, deployment={"environment": "dev"}),
    Fault("repository.not_allowed", "deployment", {"scope": OTHER}, deployment={"repository": "other/shop"}),
    Fault("token.malformed", "parse", {"role": "x"}),
    Fault("key.unknown", "key", made={"kid": "nobody"}),
    Fault("signature.invalid", "signature", made={"key": STRANGER}),
    Fault("token.not_yet_valid", "time", {"nbf": NOW + 1000}),
    Fault("audience.mismatch", "audience", {"aud": "another-gate"}),
    Fault("sha.mismatch", "scope", deployment={"sha": OTHER_SHA}),
    Fault("environment.mismatch", "environment", {"environment": "elsewhere"}),
    Fault("run.mismatch", "run", {"run_id": "7"}),
    Fault("key.not_authorized", "authority", {"sub": "mallory@evil.example"}),
    Fault("approver.not_allowed", "approver", {"sub": "eve@example.com"}),
    Fault("approvals.insufficient", "quorum", {"environment": "pair"}, deployment={"environment": "pair"}),
    Fault("token.too_long_lived", "age", {"exp": NOW + 3601}),
    Fault("passkey.invalid", "passkey", {"passkey": OVER_SOMETHING_ELSE}),
]
OTHERS = [
    Fault("token.too_large", "parse", {"passkey": {"id": "x" * 4000}}),
    Fault("signature.invalid", "key", made={"alg": "ES256", "kid": "ed-key", "key": ED25519}),
    Fault("key.outside_window", "key", {"iat": NOW + 1}, made={"kid": "old-key", "key": OLD}),
    Fault("key.outside_window", "key", {"iat": 1793491199}, made={"kid": "old-key", "key": OLD}),
    Fault("token.not_yet_valid", "time", {"iat": NOW + 31}),
    Fault("token.expired", "time", {"iat": NOW - 900, "exp": NOW - 30}),
    Fault("repository.mismatch", "scope", {"scope": OTHER}),
    Fault("repository.mismatch", "scope", {"scope": f"deploy:acme/shop2:{SHA}"}),
    Fault("repository.mismatch", "scope", {"scope": f"deploy:acme/shop/x:{SHA}"}),
    Fault("repository.mismatch", "scope", {"scope": f"deploy:other/shop:{OTHER_SHA}"}),
    Fault("sha.mismatch", "scope", {"scope": f"{SCOPE}{'0' * 24}"}),
    Fault("environment.mismatch", "environment", {"environment": "Production"}),
    Fault("run.mismatch", "run", {"run_id": "7"}, deployment={"run_id": "8"}),
    Fault("run.mismatch", "run", {"repository_id": "7"}, deployment={"repository_id": "70"}),
    Fault("run.mismatch", "run", {"request_id": "7"}, deployment={"run_id": "7"}),
    Fault("key.not_authorized", "authority", {"sub": "bob@example.com"}, made={"alg": "ES256"}),
    Fault("approver.not_allowed", "approver", {"sub": "dave"}),
    Fault("approver.not_allowed", "approver", {"sub": "alice.@example.com"}),
    Fault("passkey.missing", "passkey", {"environment": "guarded"}, deployment={"environment": "guarded"}),
]
