"""The issuer: turns an engineer's yes into an approval token."""

import secrets
from collections.abc import Mapping
from typing import Any

from gate.deployment import Deployment
from gate.errors import UsageError
from gate.keys import base64url
from gate.policy import Policy
from gate.signers import Signer
from gate.tokens import MAX_REASON, Approval, decode, encode, is_approver

_JTI_BYTES = 24


class Issuer:
    """Issues approval tokens under one name, with one signer.

    `kid` is what the policy calls the signer's key; by default its RFC 7638 thumbprint.
    """

    def __init__(self, signer: Signer, *, name: str = "gate", audience: str = "deploy-gate", kid: str = "") -> None:
        self._signer = signer
        self._name = name
        self._audience = audience
        self._kid = kid or signer.public_key.thumbprint

    @classmethod
    def under(cls, policy: Policy, signer: Signer, *, name: str = "gate") -> "Issuer":
        """An issuer that uses the names that the policy has for the signer's key and for its audience."""
        kids = [kid for kid, trusted in policy.keys.items() if trusted.key.spki == signer.public_key.spki]
        return cls(signer, name=name, audience=policy.audience, kid=kids[-1] if kids else "")

    @property
    def kid(self) -> str:
        """What its tokens call the signer's key."""
        return self._kid

    def issue(
        self,
        deployment: Deployment,
        approver: str,
        *,
        now: int,
        ttl: int,
        reason: str = "",
        amr: tuple[str, ...] = (),
    ) -> str:
        """A token by which `approver` approves `deployment`: `draft`, and `seal` at once.

        Raises:
            UsageError, Denied, SignerError: as `draft` and `seal` do.
        """
        return self.seal(self.draft(deployment, approver, now=now, ttl=ttl, reason=reason, amr=amr))

    def draft(
        self,
        deployment: Deployment,
        approver: str,
        *,
        now: int,
        ttl: int,
        reason: str = "",
        amr: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """The claims by which `approver` approves `deployment`, from `now` (epoch seconds) for `ttl` seconds.

        The run, the repository id and the request id of the deployment, where it has them, bind the token.

        Raises:
            UsageError: the approver is not an e-mail address or a login, or `ttl` is not positive.
        """
        if not is_approver(approver):
            raise UsageError("The approver is not an e-mail address or a login in plain ASCII.", actual=ascii(approver))
        if len(reason) > MAX_REASON or not reason.encode("utf-8", "ignore").decode() == reason:
            raise UsageError(f"The reason is not a text of at most {MAX_REASON} characters.", hint="Say it shorter.")
        if ttl <= 0:
            raise UsageError("The approval's life is not positive.", actual=f"{ttl} s")
        return {
            "iss": self._name,
            "sub": approver,
            "aud": self._audience,
            "scope": str(deployment.scope),
            "environment": deployment.environment,
            "jti": secrets.token_urlsafe(_JTI_BYTES),
            "iat": now,
            "exp": now + ttl,
            **_present(
                reason=reason,
                run_id=deployment.run_id,
                repository_id=deployment.repository_id,
                request_id=deployment.request_id,
                amr=list(amr),
            ),
        }

    def preview(self, claims: Mapping[str, Any]) -> Approval:
        """What a token of these claims will say, without a signature that holds.

        Raises:
            Denied: the gate would refuse the token (`token.malformed`, `token.too_large`).
        """
        return decode(f"{encode(self._signer.public_key.alg, self._kid, claims)}.{base64url(bytes(64))}")

    def seal(self, claims: Mapping[str, Any]) -> str:
        """The token of these claims, signed.

        Raises:
            Denied: the gate would refuse the token (`token.malformed`, `token.too_large`).
            SignerError: the signer can't sign.
        """
        signing_input = encode(self._signer.public_key.alg, self._kid, claims)
        return f"{signing_input}.{base64url(self._signer.sign(signing_input.encode('ascii')))}"


def _present(**claims: Any) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value}
