"""JSON over HTTP, in bounded time and memory, asked again while the other side is merely unwell."""

import json
import random
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from gate import http
from gate.errors import BotUnavailable, GateError, UsageError
from gate.http import Answer
from gate.text import printable

_MOST_BYTES = 256 << 10  # sixteen tokens are 90 KiB
_TIMEOUTS = (5.0, 10.0)  # seconds to connect, and between two bytes
_MOST_SECONDS = 30.0  # for one answer
_LEAST_PAUSE, _MOST_PAUSE = 2.0, 30.0  # seconds between two tries, where the other side does not say
_HEADERS = {"Accept": "application/json", "User-Agent": "deploy-gate"}


class Link:
    """Questions to `what` (its name, in words). No redirect is followed, for what it leads to would see the token.
    `tell` hears of it when one has to be asked again.

    Proxies are those that the environment gives to `requests`, certificates are verified, a .netrc is not read.
    """

    def __init__(
        self,
        what: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._what = what
        self._clock, self._sleep, self._jitter, self._tell = clock, sleep, jitter, tell

    def call(self, method: str, url: str, token: str, *, until: float, body: object = None) -> dict[str, Any]:
        """The JSON object that answers; while there is no answer, a 429 or a 5xx, ask again, but not after `until`.

        Raises:
            BotUnavailable: there was no such answer by then, or it is no JSON object of bearable size.
            UsageError: the other side refuses (4xx), or sends us elsewhere.
        """
        for attempt in count(1):
            answer = self._fetch(method, url, token, body)
            if answer.status == 200:
                return self._object(answer)
            left = until - self._clock()
            pause = self._pause(answer, attempt, left)
            if pause is None or pause > left:
                raise self._refused(answer, token)
            if attempt == 1:
                self._tell(f"{self._what} {_trouble(answer)}; trying again for at most {left:.0f} s")
            self._sleep(pause)
        raise AssertionError  # count() never ends

    def _fetch(self, method: str, url: str, token: str, body: object) -> Answer:
        def ask() -> Answer:
            with http.connect() as session:
                session.trust_env = not url.startswith("http://")  # what is for this machine goes through no proxy
                with session.request(
                    method, url, json=body, headers=_HEADERS, auth=http.bearer(token),
                    timeout=_TIMEOUTS, allow_redirects=False, stream=True,
                ) as response:  # fmt: skip
                    return http.read(response, _MOST_BYTES)

        try:
            return http.within(_MOST_SECONDS, ask)
        except http.TooLarge:
            raise self._odd(f"more than {_MOST_BYTES >> 10} KiB") from None
        except OSError as error:  # every error of requests is one
            return http.unanswered(error)

    def _pause(self, answer: Answer, attempt: int, left: float) -> float | None:
        """Seconds until the next try, as the other side says, or by ourselves with one at the end of the time that is
        `left`; None where another would not change the answer."""
        if answer.status not in {0, 429} and answer.status < 500:
            return None
        after = answer.headers.get("retry-after", "")
        asked = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0
        own = min(_LEAST_PAUSE * 2.0 ** min(attempt - 1, 10), _MOST_PAUSE)
        pause = max(asked, own) * (1 + 0.25 * self._jitter())
        return left if max(asked, _LEAST_PAUSE) <= left < pause else pause

    def _object(self, answer: Answer) -> dict[str, Any]:
        value = _json(answer.body)
        if not isinstance(value, dict):
            raise self._odd("something else")
        return value

    def _odd(self, actual: str) -> BotUnavailable:
        return BotUnavailable(
            f"{self._what} did not answer with a JSON object.",
            hint="Check the URL, and what stands between here and there.",
            expected=f"a JSON object of at most {_MOST_BYTES >> 10} KiB",
            actual=actual,
        )

    def _refused(self, answer: Answer, token: str) -> GateError:
        said = _said(answer.body, token)
        actual = f"HTTP {answer.status}" if answer.status else "no answer"
        if 300 <= answer.status < 400:
            return UsageError(
                f"{self._what} sends the gate elsewhere, where it does not follow.",
                hint="Give the URL that the deploy-bot calls its own.",
                actual=printable(answer.headers.get("location", "").replace(token, "(a token)"), 100),
            )
        if answer.status in {0, 429} or answer.status >= 500:
            return BotUnavailable(
                said.get("message") or f"{self._what} {_trouble(answer)}.",
                hint=said.get("hint") or "Check the network and the URL, and try again. Nothing was allowed.",
                actual=actual,
            )
        return UsageError(
            f"{self._what} refuses: {said.get('message') or f'it answered {answer.status}.'}",
            hint=said.get("hint") or "Check the URL, and who may ask there.",
            expected=said.get("expected", ""),
            actual=said.get("actual") or actual,
        )


def _trouble(answer: Answer) -> str:
    return answer.trouble or ("has had too many requests" if answer.status == 429 else "is unwell")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _said(body: bytes, token: str) -> dict[str, str]:
    """The texts of an error that the other side explains, without the token that it was sent."""
    value = _json(body)
    error = value.get("error") if isinstance(value, dict) else None
    members = error.items() if isinstance(error, dict) else ()
    return {name: printable(text.replace(token, "(a token)"), 500) for name, text in members if isinstance(text, str)}
