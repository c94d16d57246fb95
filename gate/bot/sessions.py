"""Who is at the browser: sessions that live on the server, so that signing out ends them, under a cookie that says
nothing."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gate.bot.errors import NotProved, Unavailable
from gate.bot.keyring import Keyring
from gate.bot.state import Document, State
from gate.keys import base64url
from gate.models import Identity

LIFE = 4 * 3600  # seconds; a new sign-in begins a new session


class Visitor(NamedTuple):
    """Somebody who has signed in. `person` is who they were in the policy then, by these `identities`, and `provider`
    who vouches for those."""

    session: str
    person: str
    name: str
    provider: str
    identities: tuple[Identity, ...]


class Sessions:
    """The sessions in `state`. `clock` gives epoch seconds."""

    def __init__(self, state: State, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._state = state
        self._keyring = keyring
        self._clock = clock

    def begin(self, person: str, name: str, provider: str, identities: Sequence[Identity]) -> str:
        """A new session; returns the cookie's value."""
        cookie, now = secrets.token_urlsafe(32), int(self._clock())
        value = {"person": person, "name": name, "provider": provider, "identities": [list(who) for who in identities]}
        written = self._state.put(
            "session",
            _key(cookie),
            {"sealed": self._keyring.seal(f"session {_key(cookie)}", value, until=now + LIFE)},
            expires_at=now + LIFE,
            expected=0,
            now=now,
        )
        if written is None:
            raise Unavailable("The session could not be begun.", hint="Try again.")
        return cookie

    def of(self, cookie: str) -> Visitor | None:
        """Whose session the cookie is, None where it is nobody's any more."""
        if not cookie or len(cookie) > 100:
            return None
        document = self._state.get("session", _key(cookie), int(self._clock()))
        return self._visitor(document) if document else None

    def end(self, cookie: str) -> None:
        """End the session."""
        self._state.take("session", _key(cookie), int(self._clock()))

    def csrf(self, visitor: Visitor) -> str:
        """What every form of this session carries; another site can't know it."""
        return self._keyring.derive("csrf", visitor.session)

    def check_csrf(self, visitor: Visitor, given: str) -> None:
        """Check that a form is one of this session.

        Raises:
            NotProved: it is not.
        """
        if not self._keyring.matches(given, "csrf", visitor.session):
            raise NotProved(
                "This form is not from your session, so nothing was done.",
                hint="Go back, reload the page and try again.",
            )

    def _visitor(self, document: Document) -> Visitor | None:
        """Sealed, so that whoever can write the state is still nobody here."""
        sealed = str(document.value.get("sealed", ""))
        value = self._keyring.unseal(f"session {document.key}", sealed, now=int(self._clock()))
        if value is None:
            return None
        try:
            identities = tuple(Identity(kind, who) for kind, who in value.pop("identities"))
            return Visitor(session=document.key, identities=identities, **value)
        except (KeyError, TypeError, ValueError):
            raise Unavailable(
                "The bot's state holds a session that this version did not write.", hint="Sign in again."
            ) from None


def _key(cookie: str) -> str:
    """A state that leaks gives nobody a session."""
    return base64url(hashlib.sha256(cookie.encode("utf-8", "replace")).digest())
