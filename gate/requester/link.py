"""JSON over HTTP, in bounded time and memory, asked again while anything but the other side itself answers."""

import json
import random
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gate import http
from gate.authorities import HINT
from gate.deadline import within
from gate.errors import BotUnavailable, GateError, UsageError
from gate.http import Answer
from gate.text import printable

_MOST_BYTES = 256 << 10  # sixteen tokens are 90 KiB
_TIMEOUTS = (5.0, 10.0)  # seconds to connect, and between two bytes
_MOST_SECONDS = 30.0  # for one answer
_LEAST_PAUSE, _MOST_PAUSE = 2.0, 30.0  # seconds between two tries, where the other side does not say
_PASSING = {408, 429}  # refusals that another try may not meet
_HEADERS = {"Accept": "application/json", "User-Agent": "deploy-gate"}

T = TypeVar("T")


class NotUnderstood(BotUnavailable):
    """A whole JSON object, but not one that the other side gives: it may be from what stands between."""


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that `body` is, None where it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class Link:
    """Questions to `what` (its name, in words). No redirect is followed, for what it leads to would see the token.

    `own_error` reads the texts of an error that `what` itself explains, None for what anything in between may have
    sent: a proxy, a load balancer, a portal. `tell` hears of each kind of trouble once.

    It is believed by the CAs in the file `ca`, else by those that the environment gives to `requests`, as are the
    proxies; a .netrc is not read.
    """

    def __init__(
        self,
        what: str,
        *,
        own_error: Callable[[Answer], Mapping[str, str] | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        tell: Callable[[str], object] = lambda _: None,
        ca: Path | None = None,
    ) -> None:
        self._what, self._own_error, self._ca = what, own_error, ca
        self._clock, self._sleep, self._jitter, self._tell = clock, sleep, jitter, tell
        self._told: set[str] = set()

    def call(
        self,
        method: str,
        url: str,
        token: str,
        read: Callable[[dict[str, Any]], T],
        *,
        until: float,
        body: object = None,
    ) -> T:
        """What `read` makes of the JSON object that answers. Whatever else comes, or nothing, is asked again, but not
        after `until`; only what the other side itself refuses, and a certificate that is not believed, are final.

        Raises:
            BotUnavailable: there was no such answer by then.
            UsageError: the other side itself refuses (4xx).
        """
        for attempt in count(1):
            answer = self._fetch(method, url, token, body)
            error = self._own_error(answer) if answer.status != 200 else None
            try:
                return read(self._object(answer))
            except NotUnderstood as odd:
                trouble = odd if error is None else self._refusal(answer.status, error, token)
            left = until - self._clock()
            asked = _retry_after(answer) if error else 0.0
            if isinstance(trouble, UsageError) or answer.untrusted or max(asked, _LEAST_PAUSE) > left:
                raise trouble
            if trouble.message not in self._told:
                self._told.add(trouble.message)
                self._tell(f"{trouble.message.rstrip('.')}; trying again for at most {left:.0f} s")
            own = min(_LEAST_PAUSE * 2.0 ** min(attempt - 1, 10), _MOST_PAUSE)
            self._sleep(min(max(asked, own) * (1 + 0.25 * self._jitter()), left))
        raise AssertionError  # count() never ends

    def _fetch(self, method: str, url: str, token: str, body: object) -> Answer:
        def ask() -> Answer:
            with http.connect(self._ca) as session:
                session.trust_env = not url.startswith("http://")  # what is for this machine goes through no proxy
                with session.request(
                    method, url, json=body, headers=_HEADERS, auth=http.bearer(token),
                    timeout=_TIMEOUTS, allow_redirects=False, stream=True,
                ) as response:  # fmt: skip
                    return http.read(response, _MOST_BYTES)

        try:
            return within(_MOST_SECONDS, ask)
        except http.TooLarge:
            return Answer(0, {}, b"", f"answers with more than {_MOST_BYTES >> 10} KiB")
        except OSError as error:  # every error of requests is one
            return http.unanswered(error)
        except ValueError:  # urllib3 lets a few of its own through
            return Answer(0, {}, b"", "does not speak HTTP as it must")

    def _object(self, answer: Answer) -> dict[str, Any]:
        """The JSON object of a 200.

        Raises:
            NotUnderstood: it is something else.
        """
        value = json_object(answer.body) if answer.status == 200 else None
        if value is not None:
            return value
        hint, actual = "Check the URL, and what stands between here and there. Nothing was allowed.", "no answer"
        if answer.untrusted:
            hint = HINT
        if answer.status:
            actual = f"HTTP {answer.status}" + (", but no JSON object" if answer.status == 200 else "")
        if 300 <= answer.status < 400:
            hint = "No redirect is followed. Give the URL that the deploy-bot calls its own."
            actual += f", to {_host(answer.headers.get('location', ''))}"
        trouble = answer.trouble or f"gave no answer of its own ({actual})"
        raise NotUnderstood(f"{self._what} {trouble}.", hint=hint, expected="a JSON object", actual=actual)

    def _refusal(self, status: int, error: Mapping[str, str], token: str) -> GateError:
        """The other side's own error, without the token that it was sent."""
        said = {name: printable(text.replace(token, "(a token)"), 2000) for name, text in error.items()}
        actual = said["actual"] or f"HTTP {status}"
        if status >= 500 or status in _PASSING:
            return BotUnavailable(said["message"], hint=said["hint"] or "Try again later.", actual=actual)
        return UsageError(
            f"{self._what} refuses: {said['message']}",
            hint=said["hint"] or "Check the URL, and who may ask there.",
            expected=said["expected"],
            actual=actual,
        )


def _retry_after(answer: Answer) -> float:
    """The seconds that the answer asks for, 0 where it does not."""
    after = answer.headers.get("retry-after", "")
    return float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0


def _host(location: str) -> str:
    """The host that a redirect leads to; the rest may hold secrets of a sign-in."""
    try:
        return printable(urlsplit(location).hostname or "the same host", 100)
    except ValueError:
        return "nowhere"
