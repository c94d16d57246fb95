"""Who the deploy-bot is at GitHub: an app, with a token of its own for each repository, or a plain token.

The app needs, where it is installed: contents read, statuses write, deployments write, pull requests write; and actions
write, where jobs ask to be run again, or actions read, where it answers for a deployment protection rule.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

from gate.errors import UsageError
from gate.forge.api import Api
from gate.forge.rest import Refused, Rest
from gate.scope import parse_repository

_WANTED = {
    "actions": "write",
    "contents": "read",
    "deployments": "write",
    "pull_requests": "write",
    "statuses": "write",
}
_BACKDATED = 60  # seconds: GitHub's clock may be behind ours
_LIFE = 540  # seconds; together ten minutes, the most that GitHub takes
_MARGIN = 300  # seconds that a token must have left


class PlainToken:
    """One token for every repository. `read` gives it whenever it is needed, so it may be exchanged meanwhile."""

    app_id = ""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def token(self, repository: str) -> str:  # noqa: ARG002 (the same for each)
        """The token.

        Raises:
            UsageError: it can't be read.
        """
        return self._read()

    def forget(self, repository: str) -> None:
        """Nothing is kept."""

    def check(self) -> None:
        """Check that the token is there.

        Raises:
            UsageError: it can't be read.
        """
        self._read()


class _Token(NamedTuple):
    text: str
    expires_at: float


class App:
    """A GitHub App at the API `api_url`. `read_key` gives its private key, as PEM, whenever it is needed.

    Tokens are kept in memory until five minutes before they expire (GitHub gives them an hour), each restricted to one
    repository, and to those of the permissions above that were granted.
    """

    def __init__(
        self,
        api_url: str,
        app_id: str,
        read_key: Callable[[], str],
        *,
        clock: Callable[[], float] = time.time,
        timeouts: tuple[float, float] = (5.0, 10.0),
        patience: float = 10.0,
    ) -> None:
        self.app_id = app_id
        self._api_url = api_url
        self._read_key = read_key
        self._clock = clock
        self._timeouts = timeouts
        self._patience = patience
        self._lock = Lock()
        self._tokens: dict[str, _Token] = {}

    def token(self, repository: str) -> str:
        """An installation token for `repository`.

        Raises:
            Refused: the app is not installed there, or is suspended, or GitHub does not answer as it should.
            UsageError: the private key can't be read, or is no RSA key.
        """
        name = parse_repository(repository)
        with self._lock:
            known = self._tokens.get(name)
        if known is None or known.expires_at - self._clock() < _MARGIN:
            known = self._fetch(name)
            with self._lock:
                self._tokens[name] = known
        return known.text

    def check(self) -> None:
        """Check that the private key is one.

        Raises:
            UsageError: it can't be read, or is no RSA key.
        """
        self._proof()

    def forget(self, repository: str) -> None:
        """The token for `repository` was refused: get another next time."""
        with self._lock:
            self._tokens.pop(parse_repository(repository), None)

    def _fetch(self, name: str) -> _Token:
        api = Api(self._api_url, self._proof(), self._timeouts, self._patience)
        api.check()
        with api.connect() as connection:
            rest = Rest(connection)
            try:
                return _issued(rest, name)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise Refused(
                    "GitHub's answer is not what its documentation says.", hint="Check the API's URL."
                ) from None

    def _proof(self) -> str:
        """A JWT that says, for ten minutes, that it is the app who asks (GitHub, "Generating a JSON Web Token")."""
        import jwt  # noqa: PLC0415 (paid for when used)

        now = int(self._clock())
        claims = {"iat": now - _BACKDATED, "exp": now + _LIFE, "iss": self.app_id}
        key = self._read_key()
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            raise UsageError(
                "The GitHub App's private key is no RSA key in PEM.",
                hint="Generate one in the app's settings, and give the file as it was downloaded.",
            ) from None


def _issued(rest: Rest, name: str) -> _Token:
    installation = _installation(rest, name)
    body = {"repositories": [name.partition("/")[2]], "permissions": _granted(installation["permissions"])}
    answer = rest.post(f"app/installations/{int(installation['id'])}/access_tokens", body, repeatable=True)
    if not isinstance(answer["token"], str):
        raise TypeError
    expires_at = datetime.fromisoformat(answer["expires_at"].replace("Z", "+00:00"))
    return _Token(answer["token"], expires_at.timestamp())


def _installation(rest: Rest, name: str) -> Mapping[str, Any]:
    try:
        installation: Mapping[str, Any] = rest.get(f"repos/{name}/installation")
    except Refused as error:
        if error.status != 404:
            raise
        raise Refused(
            f"The GitHub App is not installed on {name}.", hint="Install it there, or ask the owner to.", status=404
        ) from None
    if installation["suspended_at"]:
        raise Refused(f"The GitHub App is suspended on {name}.", hint="Ask the repository's owner.", status=403)
    return installation


def _granted(permissions: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted permissions that there are; what is missing is refused where it is needed, and only there."""
    granted = {
        name: "read" if permissions[name] == "read" else level for name, level in _WANTED.items() if name in permissions
    }
    if not granted:  # a token asked for without any would have all that the app has
        raise Refused("The GitHub App has none of the permissions that it needs.", hint="docs/bot.md lists them.")
    return granted
