"""An OIDC issuer: what its metadata says, the keys it signs with, and whether a token is one of its own.

OpenID Connect Discovery 1.0 §4; RFC 7517 (keys), RFC 7519 (tokens), RFC 8725 (what not to believe in them).
"""

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

from gate import http
from gate.bot.errors import NotProved, Unavailable
from gate.bot.fetch import get_object, unavailable
from gate.bot.jose import Algorithm, Keys, check_claims, open_token, usable_keys
from gate.text import printable

_KEYS_LIVE = 3600.0
_FAILURE_LIVES = 5.0
_BETWEEN_REFRESHES = 30.0  # however many unknown key ids come in: forged ones must not make us hammer an issuer


class Metadata(NamedTuple):
    """What an issuer says of itself: its endpoints, "" where it names none, and all of its metadata."""

    jwks: str
    authorization: str
    token: str
    userinfo: str
    members: Mapping[str, Any]


class _Known(NamedTuple):
    metadata: Metadata
    keys: Keys
    since: float


class Issuer:
    """The issuer at exactly `url` (https, or http on this machine). Safe to use from many threads.

    `patience` is what one request to the issuer may take, in seconds; `clock` tells the age of what was seen.
    """

    def __init__(self, url: str, *, patience: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._name = f"The issuer {url}"
        self._patience = patience
        self._clock = clock
        self._lock = Lock()
        self._known: _Known | None = None
        self._asked = float("-inf")
        self._failure: tuple[Unavailable, float] | None = None

    def metadata(self) -> Metadata:
        """The issuer's metadata, at most an hour old.

        Raises:
            Unavailable: it can't be read, or is not what an issuer's metadata must be.
        """
        return self._current().metadata

    def verify(self, token: str, *, audience: str, leeway: int = 30) -> dict[str, Any]:
        """The claims of a token that this issuer signed for `audience` (perhaps among others), and that is current.

        Raises:
            NotProved: it is not that.
            Unavailable: that can't be told, because the issuer's keys can't be read.
        """
        opened = open_token(token)
        if opened.claims.get("iss") != self.url:
            raise NotProved(
                "The token is from another issuer.", expected=self.url, actual=printable(str(opened.claims.get("iss")))
            )
        key = self._key(opened.kid, opened.alg)
        return check_claims(opened, key, issuer=self.url, audience=audience, leeway=leeway)

    def _key(self, kid: str | None, alg: Algorithm) -> dict[str, Any]:
        known = self._current()
        fitting = known.keys.fitting(kid, alg)
        if not fitting and kid is not None:  # perhaps a new one
            fitting = self._refreshed(known).keys.fitting(kid, alg)
        if len(fitting) != 1:
            raise NotProved(
                "The token is not signed by a key that its issuer lists.",
                hint="If the issuer has just changed its keys, try again in a minute.",
                expected=f"the id of one {alg} key of {self.url}",
                actual="no key id" if kid is None else printable(kid, 100),
            )
        return fitting[0]

    def _current(self) -> _Known:
        known = self._known
        if known and self._clock() - known.since < _KEYS_LIVE:
            return known
        return self._look(known, at_most_every=0.0)

    def _refreshed(self, known: _Known) -> _Known:
        return self._look(known, at_most_every=_BETWEEN_REFRESHES)

    def _look(self, seen: _Known | None, *, at_most_every: float) -> _Known:
        """What is known after another look at the issuer, unless somebody has looked since `seen`."""
        if not self._lock.acquire(timeout=2 * self._patience):
            raise self._unavailable("took too long to answer")
        try:
            now = self._clock()
            if self._failure and now - self._failure[1] < _FAILURE_LIVES:
                raise self._failure[0].with_traceback(None)
            if self._known is None or (self._known is seen and now - self._asked >= at_most_every):
                self._asked = now
                self._known = self._fetch(now)
            return self._known
        finally:
            self._lock.release()

    def _fetch(self, now: float) -> _Known:
        self._failure = None
        try:
            return self._read(now)
        except Unavailable as error:
            self._failure = error, self._clock()
            raise

    def _read(self, now: float) -> _Known:
        members = self._get(f"{self.url.removesuffix('/')}/.well-known/openid-configuration")
        if members.get("issuer") != self.url:
            raise self._unavailable("names another issuer in its metadata", printable(str(members.get("issuer"))))
        metadata = Metadata(
            self._endpoint(members, "jwks_uri"),
            self._endpoint(members, "authorization_endpoint"),
            self._endpoint(members, "token_endpoint"),
            self._endpoint(members, "userinfo_endpoint"),
            members,
        )
        if not metadata.jwks:
            raise self._unavailable("names no keys in its metadata")
        keys = usable_keys(self._get(metadata.jwks))
        if not keys.keys:
            raise self._unavailable("lists no key that a signature can be checked with")
        return _Known(metadata, keys, now)

    def _endpoint(self, members: Mapping[str, Any], name: str) -> str:
        """A URL out of the metadata, as safe as the issuer's own; it may have a query, and be on another host."""
        url = members.get(name, "")
        if url == "":
            return ""
        if not isinstance(url, str) or not http.is_safe(url, query=True):
            raise self._unavailable("names an endpoint that is not https", printable(str(url)))
        if self.url.startswith("https:") and not url.startswith("https:"):
            raise self._unavailable("names an endpoint that is not https", printable(url))
        return url

    def _get(self, url: str) -> dict[str, Any]:
        return get_object(self._name, url, self._patience)

    def _unavailable(self, what: str, actual: str = "") -> Unavailable:
        return unavailable(self._name, what, actual)
