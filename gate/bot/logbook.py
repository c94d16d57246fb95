"""The logbook: what people do here, as records of an audit log (docs/audit.md)."""

import secrets
import time
from collections.abc import Callable

from gate import __version__
from gate.audit import AuditLog
from gate.bot.errors import Unavailable
from gate.bot.request import Declined, Given
from gate.chain import append, end
from gate.deployment import Deployment
from gate.errors import Denied, GateError
from gate.record import BOT_STREAM, EventKind, Happening, digest
from gate.record.event import MAX_MESSAGE, MAX_WHO
from gate.replay import ReplayStore
from gate.text import printable


class Logbook:
    """Writes to the log and the heads that `stores` gives; each method raises Unavailable where that can't be done."""

    def __init__(
        self, stores: Callable[[], tuple[AuditLog, ReplayStore]], clock: Callable[[], float] = time.time
    ) -> None:
        self._stores = stores
        self._clock = clock

    def check(self) -> None:
        """Check that both stores can be read, and agree."""
        try:
            end(*self._stores(), BOT_STREAM)
        except GateError as error:
            raise Unavailable(f"The bot's own log can't be used: {error.message}", hint=error.hint) from None

    def approved(self, deployment: Deployment, given: Given) -> None:
        """An engineer approved. The token stays out of it: it can still be used."""
        how = "with a passkey" if given.passkey else "without a passkey"
        why = f": {given.reason}" if given.reason else ""
        self._write("approval", given.approver, f"{how}{why}", deployment, token=given.token)

    def declined(self, deployment: Deployment, declined: Declined) -> None:
        """An engineer said no."""
        self._write("refusal", declined.by, declined.reason, deployment)

    def unproved(self, who: str, denial: Denied) -> None:
        """Somebody in this person's session could not prove to be them. It stands among the bot's own events: whoever
        fails must not fill a deployment's stream."""
        self._write("sign_in_failure", who, f"{denial.reason}: {denial.message}")

    def enrolled(self, who: str, credential_id: str) -> None:
        """An engineer made a passkey, which counts once the policy lists it."""
        self._write("enrolment", who, f"its id is {credential_id}")

    def sign_in_failed(self, who: str, why: str) -> None:
        """Somebody could not sign in."""
        self._write("sign_in_failure", who, why)

    def _write(
        self,
        kind: EventKind,
        who: str,
        message: str,
        deployment: Deployment | None = None,
        token: str = "",
    ) -> None:
        entry = Happening(
            invocation=secrets.token_urlsafe(16),
            happened_at=int(self._clock()),
            event=kind,
            who=printable(who, MAX_WHO)[:MAX_WHO],
            message=printable(message, MAX_MESSAGE)[:MAX_MESSAGE],
            deployment=deployment,
            token_digests=(digest(token.encode()),) if token else (),
            gate=__version__,
        )
        try:
            append(*self._stores(), entry)
        except GateError as error:
            raise Unavailable(
                f"It could not be recorded, so it does not count: {error.message}", hint=error.hint
            ) from None
