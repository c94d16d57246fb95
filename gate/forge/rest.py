"""Calls to a forge's REST API that read and write in a repository, each refusal saying what to do about it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from gate.authorities import HINT
from gate.errors import GateError, ReasonCode
from gate.forge import Unattributed
from gate.forge.api import Api, Connection, Query, limit
from gate.http import Answer
from gate.scope import parse_repository


class Refused(GateError):
    """The forge did not do what it was asked, or did not say that it did. `status` is its HTTP status, 0 where no
    answer came; `after` the seconds before which it wants to hear nothing more."""

    reason: ReasonCode = "bot.unavailable"

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, after: float = 0.0, untrusted: bool = False
    ) -> None:
        super().__init__(message, hint=hint, actual=f"HTTP {status}" if status else "no answer")
        self.status = status
        self.after = after
        self._untrusted = untrusted

    @property
    def is_final(self) -> bool:
        """Would asking again later get the same answer?"""
        return self._untrusted or (
            400 <= self.status < 500 and self.status not in (401, 408, 409, 429) and not self.after
        )


class Credentials(Protocol):
    """Where the tokens for a forge come from."""

    app_id: str
    """The app that the tokens act as, "" where they are a person's."""

    def token(self, repository: str) -> str:
        """A token that may act in `repository`.

        Raises:
            Refused: the forge gives none.
            UsageError: the credentials can't be read.
        """
        ...

    def forget(self, repository: str) -> None:
        """The token for `repository` was refused: the next must be another."""
        ...


class Rest:
    """The API below `prefix`. Every method answers with parsed JSON, None where there is none, or raises Refused."""

    def __init__(self, connection: Connection, prefix: str = "") -> None:
        self._connection = connection
        self._prefix = prefix

    def get(self, path: str, **query: int | str) -> Any:
        """What is at `path`."""
        return self._ask("GET", path, query)

    def post(self, path: str, body: object = None, *, repeatable: bool = False) -> Any:
        """POST `body`; asked again without an answer only if `repeatable`, which says that twice is as good as once."""
        return self._ask("POST", path, None, body, repeatable=repeatable)

    def patch(self, path: str, body: object) -> Any:
        """Set what `body` holds: twice is as good as once."""
        return self._ask("PATCH", path, None, body)

    def _ask(
        self, method: str, path: str, query: Query | None = None, body: object = None, *, repeatable: bool = True
    ) -> Any:
        try:
            answer = self._connection.ask(method, self._prefix + path, query, body, repeatable=repeatable)
        except Unattributed as error:
            raise Refused(error.message, hint="Check the API's URL.") from None
        if not 200 <= answer.status < 300:
            raise _refused(answer)
        return _value(answer)


class Forge(NamedTuple):
    """A forge's API at `api_url`, as whoever `credentials` speak for.

    `timeouts` are seconds to connect and between two bytes; `patience` bounds the retries of one connection.
    """

    api_url: str
    credentials: Credentials
    timeouts: tuple[float, float] = (5.0, 10.0)
    patience: float = 20.0

    @contextmanager
    def repository(self, repository: str) -> Iterator[Rest]:
        """The API below `repos/OWNER/NAME`, with a token for it.

        Raises:
            Refused: there is no token for it. One that is refused later is forgotten.
            UsageError: the credentials, or the API's URL, can't be used.
        """
        name = parse_repository(repository)
        api = Api(self.api_url, self.credentials.token(name), self.timeouts, self.patience)
        api.check()
        with api.connect() as connection:
            try:
                yield Rest(connection, f"repos/{name}/")
            except Refused as error:
                if error.status == 401:
                    self.credentials.forget(name)
                raise


def is_at_github(repository: str) -> bool:
    """Can `repository` be one at GitHub: owner/name, and no longer path?"""
    return repository.count("/") == 1


def _value(answer: Answer) -> Any:
    if not answer.body.strip():
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Refused("The forge's API did not answer with JSON.", hint="Check the API's URL.") from None


_EXPLAINED = {
    401: ("The forge's API refuses the credentials.", "They may have expired, or been revoked: use new ones."),
    403: ("The credentials may not do this in the repository.", "docs/bot.md lists the permissions that they need."),
    404: (
        "The forge knows no such thing, or hides it from these credentials.",
        "Is the app installed on the repository? docs/bot.md lists the permissions that it needs.",
    ),
    422: ("The forge finds the request invalid.", "Does it have this commit?"),
}


def _refused(answer: Answer) -> Refused:
    message, hint = _EXPLAINED.get(answer.status, (f"The forge's API answered {answer.status}.", "Try again later."))
    if answer.trouble:
        hint = HINT if answer.untrusted else "Check the network and the API's URL."
        message = f"The forge's API {answer.trouble}."
    after = limit(answer)
    if after is not None:
        return Refused(
            "The forge's API has had too many requests.",
            hint="Try again later.",
            status=answer.status,
            after=max(after, 1.0),
        )
    return Refused(message, hint=hint, status=answer.status, untrusted=answer.untrusted)
