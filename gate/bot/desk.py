"""The desk: where people answer. The approval that they draft is theirs to prove; the token that it becomes is kept for
the job that asked (gate.bot.intake).

Every change is a compare-and-set, so that any of several bots may do the next step, and one that dies in between leaves
nothing half done.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from gate.bot.eligibility import check_may
from gate.bot.errors import Conflict, NotAllowed
from gate.bot.herald import Herald
from gate.bot.keyring import Keyring
from gate.bot.notary import Notary
from gate.bot.presence import Presence
from gate.bot.register import Register, Standing, busy
from gate.bot.request import ApprovalRequest, Declined, Given
from gate.bot.state import State
from gate.errors import Denied
from gate.passkey import challenge

if TYPE_CHECKING:
    from gate.bot.logbook import Logbook

DRAFT_LIFE = 300  # seconds to find one's passkey


class Desk:
    """What people do with the requests in `register`. Their drafts are in `state`."""

    def __init__(
        self,
        *,
        register: Register,
        notary: Notary,
        keyring: Keyring,
        state: State,
        presence: Presence,
        herald: Herald,
        logbook: "Logbook",
    ) -> None:
        self._register = register
        self._notary = notary
        self._keyring = keyring
        self._state = state
        self._presence = presence
        self._herald = herald
        self._logbook = logbook

    def draft(self, key: str, question: str, person: str, session: str, reason: str) -> tuple[dict[str, Any], bytes]:
        """The claims that the person is about to agree to, kept for a few minutes, and the challenge for their passkey.
        `question` is the one that the page showed.

        Raises:
            NotAllowed: they may not approve it.
            Conflict: something else is asked now, or no job waits for it.
        """
        standing = self._awaited(key)
        claims = self._notary.claims(standing, person, reason, passkey=True)
        standing.check_question(question)
        slot, now = self._keyring.derive("draft", session, key), self._register.now
        document = self._state.get("draft", slot, now)
        written = self._state.put(
            "draft",
            slot,
            {"claims": claims, "question": question},
            expires_at=now + DRAFT_LIFE,
            expected=document.version if document else 0,
            now=now,
        )
        if written is None:
            raise busy()
        return claims, challenge(claims)

    def approve(
        self, key: str, question: str, person: str, session: str, assertion: Mapping[str, str] | None, reason: str
    ) -> ApprovalRequest:
        """Take the person's yes to the question that the page showed: check it as the gate will, sign, record, and keep
        the token for the job.

        Raises:
            NotAllowed: they may not approve it, or the passkey did not vouch for these claims.
            Conflict: something else is asked now, no job waits for it, or the draft is used up or another was begun
                since.
            Unavailable: it can't be signed or recorded now; nothing was approved.
        """
        standing = self._awaited(key)
        if assertion is None:
            claims = self._notary.claims(standing, person, reason, passkey=False)
        else:
            claims = self._drafted(standing, session) | {"passkey": dict(assertion)}
            self._notary.check_unchanged(standing, person, claims)
        standing.check_question(question)
        token = self._notary.seal(standing, claims)
        given = Given(
            approver=claims["sub"],
            person=person,
            token=token,
            issued_at=claims["iat"],
            expires_at=claims["exp"],
            reason=claims.get("reason", ""),
            passkey=assertion is not None,
        )
        self._logbook.approved(standing.request.deployment, given)
        return self._closed(standing, "approved", Standing.check_question, lambda newest: _approved(newest, given))

    def decline(self, key: str, question: str, person: str, reason: str) -> ApprovalRequest:
        """Take the person's no to the question that the page showed, which is final. Whoever says no to it says no to
        what the job adds meanwhile: otherwise a job that keeps adding could not be declined.

        Raises:
            NotAllowed: they may not decide on it.
            Conflict: it is no longer open, or was asked anew.
        """
        standing = self._register.find(key)
        try:
            approver = check_may(standing.request, person, standing.environment, standing.policy)
        except Denied as denial:
            raise NotAllowed.by(denial) from None
        standing.check_open()
        standing.check_generation(question)
        declined = Declined(approver, reason, self._register.now)
        self._logbook.declined(standing.request.deployment, declined)
        return self._closed(
            standing, "declined", Standing.check_generation, lambda newest: replace(newest.request, declined=declined)
        )

    def _awaited(self, key: str) -> Standing:
        """The request, whose job fetches the answer."""
        standing = self._register.find(key)
        if standing.status == "open" and self._presence.is_gone(standing.request):
            raise Conflict(
                "Its job is gone: it no longer asks, so an approval would do nothing.",
                hint="Run the job again: it asks under this same link.",
            )
        return standing

    def _drafted(self, standing: Standing, session: str) -> dict[str, Any]:
        slot = self._keyring.derive("draft", session, standing.request.id)
        document = self._state.take("draft", slot, self._register.now)
        value: Mapping[str, Any] = document.value if document else {}
        if value.get("question") != standing.question or not isinstance(value.get("claims"), dict):
            raise Conflict(
                "This approval was begun too long ago, or in another tab, or was sent already.",
                hint="Look at the request again, and approve it from there.",
            )
        return dict(value["claims"])

    def _closed(
        self,
        seen: Standing,
        news: Literal["approved", "declined"],
        check: Callable[[Standing, str], None],
        change: Callable[[Standing], ApprovalRequest],
    ) -> ApprovalRequest:
        """Change the request that somebody saw while it was open, and have it told if that closed it; `check` compares
        it with the question that they saw. The errand is written first: whoever dies now leaves it to another bot."""

        def checked(newest: Standing) -> ApprovalRequest:
            newest.check_open()
            check(newest, seen.question)
            return change(newest)

        self._herald.announce(seen.request, news)
        standing = self._register.change(seen.request.id, checked)
        if standing.status == news:
            # Once more, lest the first one was given up as untold meanwhile.
            self._herald.announce(standing.request, news, due_at=self._register.now)
            self._herald.hurry(standing.request, news)
        return standing.request


def _approved(newest: Standing, given: Given) -> ApprovalRequest:
    request = newest.request
    if request.approval_by(given.person, newest.policy.people, newest.now):
        raise Conflict("You have approved this already.", hint="It waits for somebody else.")
    return replace(request, approvals=(*request.live(newest.now), given))
