"""The notary: who may say yes, to which claims, and the token that this becomes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gate.bot.eligibility import Verdict, eligibility
from gate.bot.errors import BotError, Conflict, NotAllowed, Unavailable
from gate.bot.register import Standing
from gate.errors import Denied, GateError, UsageError
from gate.issuer import Issuer
from gate.policy import Policy
from gate.signers import Signer
from gate.trace import CheckName
from gate.verification import CHECKS, judge

if TYPE_CHECKING:
    from gate.bot.logbook import Logbook

_TERMS = {CheckName.AGE, CheckName.PASSKEY}
_OWN = CHECKS.keys() - {CheckName.QUORUM, CheckName.SEPARATION}  # what looks at no other approval, and no commit
_AMR = ("mfa", "user")  # RFC 8176: a key and the gesture that unlocks it; a person was there


class Notary:
    """Issues under the name `url`, with the key that `signer` opens. Whatever is not proved goes into `logbook`."""

    def __init__(self, url: str, signer: Callable[[], Signer], logbook: "Logbook") -> None:
        self._url = url
        self._signer = signer
        self._logbook = logbook

    def verdict(self, standing: Standing, person: str) -> Verdict:
        """May the person whose canonical name is `person` approve it?"""
        try:
            issuer = self._issuer(standing.policy)
        except Unavailable as error:  # people can still read it, and say no
            return Verdict(may=False, reason=error.reason, message=error.message, hint=error.hint)
        return eligibility(standing.request, person, standing.policy, issuer, standing.now)

    def check_signer(self, policy: Policy) -> None:
        """Check that the bot's key can be used, and that `policy` trusts it.

        Raises:
            Unavailable: it can't, or does not.
        """
        issuer = self._issuer(policy)
        if issuer.kid not in policy.keys:
            raise Unavailable(
                "The policy does not list the bot's key.", hint="Add it to the policy: gate keys show prints the entry."
            )

    def claims(self, standing: Standing, person: str, reason: str, *, passkey: bool) -> dict[str, Any]:
        """The claims that the person called `person` (canonical) can agree to, by their passkey or without.

        Raises:
            NotAllowed: they may not approve it.
            BotError: no token can carry this reason.
            Unavailable: the key can't be used.
        """
        issuer = self._issuer(standing.policy)
        verdict = eligibility(standing.request, person, standing.policy, issuer, standing.now)
        if not verdict.may:
            raise verdict.refusal()
        try:
            claims = issuer.draft(
                standing.request.deployment,
                verdict.approver,
                now=standing.now,
                ttl=standing.environment.max_age,
                reason=reason,
                amr=_AMR if passkey else (),
            )
            issuer.preview(claims)
        except (Denied, UsageError) as error:  # all but the reason was checked
            raise BotError(error.message, hint=error.hint, expected=error.expected, actual=error.actual) from None
        return claims

    def check_unchanged(self, standing: Standing, person: str, claims: Mapping[str, Any]) -> None:
        """Check that what was drafted is still what would be drafted now, but for its id and its times.

        Raises:
            Conflict: it is not.
            NotAllowed, Unavailable: as `claims`.
        """
        now = self.claims(standing, person, claims.get("reason", ""), passkey=True)
        if _agreed(now) != _agreed(claims):
            raise Conflict("The request changed while it was approved.", hint="Look at it again.")

    def seal(self, standing: Standing, claims: Mapping[str, Any]) -> str:
        """The token, once everything that the gate will check holds.

        Raises:
            NotAllowed: the passkey, or anything else, does not hold.
            Unavailable: the signer can't sign, or the policy does not trust its key.
        """
        issuer, policy, deployment = self._issuer(standing.policy), standing.policy, standing.request.deployment
        try:
            preview = issuer.preview(claims)
            judge([preview], deployment, policy, standing.now, only=_TERMS)
        except Denied as denial:
            self._logbook.unproved(str(claims["sub"]), denial)
            raise NotAllowed.by(denial) from None
        try:
            token = issuer.seal(claims)
            judge([token], deployment, policy, standing.now, only=_OWN)
        except GateError as error:
            raise Unavailable(f"The approval can't be signed: {error.message}", hint=error.hint) from None
        return token

    def _issuer(self, policy: Policy) -> Issuer:
        try:
            signer = self._signer()
        except GateError as error:
            raise Unavailable(f"The bot's key can't be used: {error.message}", hint=error.hint) from None
        return Issuer.under(policy, signer, name=self._url)


def _agreed(claims: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody agrees to: everything but the id and the times, and for how long."""
    said = {name: value for name, value in claims.items() if name not in ("jti", "iat", "exp", "passkey")}
    return said | {"life": claims["exp"] - claims["iat"]}
