"""A forge's REST API: JSON over HTTP in bounded time and memory, or in plain words why not."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from gate import http
from gate.authorities import HINT
from gate.deadline import within
from gate.errors import UsageError
from gate.forge import Unattributed
from gate.http import Answer
from gate.text import printable

if TYPE_CHECKING:
    from requests import Session

_MOST_BYTES = 32 << 20  # the first page of a comparison carries the patches of up to 300 files
_TRIES = 5
TRY_SECONDS = 30.0  # for one answer, to its end
_REDIRECTS = {301, 302, 307, 308}
_HEADERS = {
    "Accept": "application/vnd.github+json",
    "User-Agent": "deploy-gate",
    "X-GitHub-Api-Version": "2022-11-28",
}
Query = Mapping[str, "int | str"]


class NotThere(Unattributed):
    """The API knows no such thing, or hides it from this token (404)."""


class Api(NamedTuple):
    """The API at `url` (https, or http on this machine), asked with `token` where there is one.

    `timeouts` are seconds to connect and between two bytes; `patience` bounds all retries of a connection together.
    It is believed by the CAs in the file `ca`, else by those that the environment gives to `requests`, as are the
    proxies; a .netrc is not read.
    """

    url: str
    token: str | None
    timeouts: tuple[float, float]
    patience: float
    ca: Path | None = None

    def check(self) -> None:
        """Check what was given.

        Raises:
            UsageError: `url` is not one that a token may be sent to, or `token` can't be one.
        """
        if not http.is_safe(self.url):
            raise UsageError(
                "The forge's API URL is not one that a token may be sent to.",
                expected="https://HOST, or https://HOST/api/v3 for GitHub Enterprise Server",
                actual=printable(self.url.rpartition("@")[2], 100),
            )
        if self.token and not http.is_token(self.token):
            raise UsageError("The forge's token has characters that no token has.", hint="Look for a stray line end.")

    @contextmanager
    def connect(self) -> Iterator["Connection"]:
        """A connection, kept open between requests."""
        with http.connect(self.ca) as session:
            yield Connection(self, session)


class Connection:
    """Requests to an API, one after the other."""

    def __init__(self, api: Api, session: "Session") -> None:
        self._api = api
        self._session = session
        self._authorize = http.bearer(api.token) if api.token else http.nobody
        self._deadline = time.monotonic() + api.patience

    def get(self, path: str, **query: int) -> dict[str, Any]:
        """The object at `path`, relative to the API's URL.

        Raises:
            NotThere: there is none, or none that this token may see.
            Unattributed: it may not be read, or the forge does not answer as it should.
        """
        answer = self.ask("GET", path, query)
        if answer.status == 200:
            return _object(answer)
        raise _refused(answer, has_token=bool(self._api.token))

    def ask(
        self, method: str, path: str, query: Query | None = None, body: object = None, *, repeatable: bool = True
    ) -> Answer:
        """The answer to one request, whatever its status, after redirects, and after retries where these may help; its
        status is 0 where no answer came, or none that was whole.

        `body` is sent as JSON. What is not `repeatable` is sent again only if it surely was not done: after a redirect,
        or a rate limit.

        Raises:
            Unattributed: the answer is too large, or redirects to another host.
        """
        url = f"{self._api.url.rstrip('/')}/{path}"
        for attempt in count(1):
            answer = self._fetch(method, url, query, body)
            if 200 <= answer.status < 300 or attempt == _TRIES:
                break
            if answer.status in _REDIRECTS:
                url = _redirected(url, answer)
            elif not (repeatable or limit(answer) is not None) or not self._waited(_pause(answer, attempt)):
                break
        return answer

    def _fetch(self, method: str, url: str, query: Query | None, body: object) -> Answer:
        def fetch() -> Answer:
            with self._session.request(
                method,
                url,
                params=query,
                json=body,
                headers=_HEADERS,
                auth=self._authorize,
                timeout=self._api.timeouts,
                allow_redirects=False,
                stream=True,
            ) as response:
                return http.read(response, _MOST_BYTES)

        try:
            return within(TRY_SECONDS, fetch)
        except http.TooLarge:
            raise Unattributed(
                "The forge's API answered with more than the gate reads.",
                hint="Run the gate in a full clone (fetch-depth: 0).",
                actual=f"more than {_MOST_BYTES >> 20} MiB",
            ) from None
        except OSError as error:  # every error of requests is one
            return http.unanswered(error)

    def _waited(self, seconds: float) -> bool:
        """Wait, unless that would take longer than there is patience left."""
        if time.monotonic() + seconds > self._deadline:
            return False
        time.sleep(seconds)
        return True


def limit(answer: Answer) -> float | None:
    """Seconds to wait out a primary or a secondary rate limit, None where the answer is none: GitHub says 403 for both,
    or 429, and mostly how long; where it does not, its documentation asks for a minute."""
    spent = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    if answer.status != 429 and not (answer.status == 403 and (spent or b"rate limit" in answer.body)):
        return None
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 9 else 60.0


def _redirected(url: str, answer: Answer) -> str:
    """Where a renamed repository now is; never on another host, which would see the token."""
    try:
        target = urljoin(url, answer.headers.get("location", ""))
        elsewhere = urlsplit(target)[:2] != urlsplit(url)[:2]
    except ValueError:
        elsewhere = True
    if elsewhere:
        raise Unattributed(
            "The forge's API redirects to another host, which the gate does not follow.",
            hint="Check the API's URL.",
            actual=printable(answer.headers.get("location", ""), 100),
        )
    return target.partition("?")[0]


def _pause(answer: Answer, attempt: int) -> float:
    """Seconds to wait before the next try; infinite where another would not change the answer."""
    seconds = limit(answer)
    if seconds is not None:
        return seconds
    passes = answer.status >= 500 or (answer.trouble and not answer.untrusted)
    return 0.25 * 2**attempt if passes else inf


def _object(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unattributed(
            "The forge's API did not answer with a JSON object.", hint="Check the API's URL.", actual="something else"
        )
    return value


_EXPLAINED = {
    401: ("The forge's API refuses the token.", "It may have expired, or been revoked: use a new one."),
    403: ("The token may not read this repository's commits.", "Give it the permission `contents: read`."),
    404: (
        "The forge knows no such repository or commit, or hides it from this token.",
        "Check the repository's name, and that the token has the permission `contents: read`.",
    ),
}


def _refused(answer: Answer, *, has_token: bool) -> Unattributed:
    message, hint = _EXPLAINED.get(answer.status, (f"The forge's API answered {answer.status}.", "Try again later."))
    if answer.trouble:
        hint = HINT if answer.untrusted else "Check the network and the API's URL, and try again."
        message = f"The forge's API {answer.trouble}."
    if limit(answer) is not None:
        message, hint = "The forge's API has had too many requests.", "Try again later, or with a token of its own."
    if not has_token and 400 <= answer.status < 500:
        hint = "Give the gate a token that may read the repository (in GitHub Actions: permissions: contents: read)."
    kind = NotThere if answer.status == 404 else Unattributed
    return kind(message, hint=hint, actual=f"HTTP {answer.status}" if answer.status else "no answer")
