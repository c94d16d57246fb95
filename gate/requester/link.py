"""JSON over HTTP, in bounded time and memory, asked again while the other side is merely unwell."""

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from gate.errors import BotUnavailable, GateError, UsageError
from gate.text import printable

if TYPE_CHECKING:
    from requests import PreparedRequest

_MOST_BYTES = 256 << 10  # sixteen tokens are 90 KiB
_TIMEOUTS = (5.0, 10.0)  # seconds to connect, and between two bytes
_MOST_SECONDS = 20.0  # for a body
_LEAST_PAUSE, _MOST_PAUSE = 2.0, 30.0  # seconds between two tries, where the other side does not say
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


_NO_ANSWER = _Answer(0, {}, b"")


class Link:
    """Questions to `what` (its name, in words). No redirect is followed, for what it leads to would see the token.

    Proxies are those that the environment gives to `requests`, certificates are verified, a .netrc is not read.
    """

    def __init__(
        self,
        what: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._what = what
        self._clock, self._sleep, self._jitter = clock, sleep, jitter

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
            pause = self._pause(answer, attempt)
            if pause is None or self._clock() + pause > until:
                raise self._refused(answer, token)
            self._sleep(pause)
        raise AssertionError  # count() never ends

    def _fetch(self, method: str, url: str, token: str, body: object) -> _Answer:
        import requests  # noqa: PLC0415 (paid for when used)

        def authorize(request: "PreparedRequest") -> "PreparedRequest":
            """An `auth` of our own, because `requests` would otherwise look into .netrc, and prefer what it finds."""
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        class Session(requests.Session):
            def get_redirect_target(self, resp: requests.Response) -> None:
                """None, even unfollowed: requests would parse the target, and read the body whole."""

        headers = {"Accept": "application/json", "User-Agent": "deploy-gate"}
        try:
            with Session() as session:
                session.trust_env = not url.startswith("http://")  # what is for this machine goes through no proxy
                with session.request(
                    method, url, json=body, headers=headers, auth=authorize,
                    timeout=_TIMEOUTS, allow_redirects=False, stream=True,
                ) as response:  # fmt: skip
                    found = {name.lower(): value for name, value in response.headers.items()}
                    return _Answer(response.status_code, found, self._body(response.iter_content(1)))
        except OSError:  # every error of requests is one
            return _NO_ANSWER

    def _body(self, chunks: Iterable[bytes]) -> bytes:
        """The body, read byte by byte, as a larger read would wait for whoever sends one byte now and then."""
        body, end = bytearray(), time.monotonic() + _MOST_SECONDS
        for chunk in chunks:
            body += chunk
            if len(body) > _MOST_BYTES:
                raise self._odd(f"more than {_MOST_BYTES >> 10} KiB")
            if time.monotonic() > end:
                raise TimeoutError
        return bytes(body)

    def _pause(self, answer: _Answer, attempt: int) -> float | None:
        """Seconds until the next try, as the other side says; None where another would not change the answer."""
        if answer.status not in {0, 429} and answer.status < 500:
            return None
        after = answer.headers.get("retry-after", "")
        asked = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0
        own = min(_LEAST_PAUSE * 2.0 ** min(attempt - 1, 10), _MOST_PAUSE)
        return max(asked, own) * (1 + 0.25 * self._jitter())

    def _object(self, answer: _Answer) -> dict[str, Any]:
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

    def _refused(self, answer: _Answer, token: str) -> GateError:
        said = _said(answer.body, token)
        actual = f"HTTP {answer.status}" if answer.status else "no answer"
        if 300 <= answer.status < 400:
            return UsageError(
                f"{self._what} sends the gate elsewhere, where it does not follow.",
                hint="Give the URL that the deploy-bot calls its own.",
                actual=printable(answer.headers.get("location", "").replace(token, "(a token)"), 100),
            )
        if answer.status in {0, 429} or answer.status >= 500:
            problem = {0: "can't be reached", 429: "has had too many requests"}.get(answer.status, "is unwell")
            return BotUnavailable(
                said.get("message") or f"{self._what} {problem}.",
                hint=said.get("hint") or "Check the network and the URL, and try again. Nothing was allowed.",
                actual=actual,
            )
        return UsageError(
            f"{self._what} refuses: {said.get('message') or f'it answered {answer.status}.'}",
            hint=said.get("hint") or "Check the URL, and who may ask there.",
            expected=said.get("expected", ""),
            actual=said.get("actual") or actual,
        )


def is_safe(url: str) -> bool:
    """Whether a token may be sent to `url`: over https, or to this machine."""
    try:
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set("@# \\") and len(url) <= 2048
    return (local or parts.scheme == "https") and whole and plain


def is_token(text: str) -> bool:
    """Whether `text` can be a bearer token: visible ASCII, of bearable length."""
    return 0 < len(text) <= 16 << 10 and text.isascii() and text.isprintable() and " " not in text


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
