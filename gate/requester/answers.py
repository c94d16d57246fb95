"""What a deploy-bot answers to a job, read strictly; members that are not known here are left alone (docs/bot.md)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from gate.errors import BotUnavailable
from gate.http import Answer
from gate.requester.link import NotUnderstood, json_object
from gate.text import plural, printable

Status = Literal["open", "approved", "declined", "expired"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PATH = re.compile(r"/[A-Za-z0-9._~/?=&%-]{0,400}")
_SECRET = re.compile(r"[!-~]{16,512}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,8192}\.[A-Za-z0-9_-]{1,8192}\.[A-Za-z0-9_-]{1,1024}")
_MOST_TOKENS = 16
_ERROR = {"reason", "message", "hint", "expected", "actual"}

T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """How a request stands. `expires_at` is in epoch seconds, `poll_after` in seconds.

    `approvers` are those who approved so far, of `needed`; `tokens` are theirs, once it is approved. Who declined, and
    why, is only there where somebody did.
    """

    status: Status
    needed: int
    approvers: tuple[str, ...]
    expires_at: int
    poll_after: float
    tokens: tuple[str, ...] = field(default=(), repr=False)
    declined_by: str = ""
    decline_reason: str = ""

    @property
    def progress(self) -> str:
        """`1 of 2 approvals (alice@example.com)`."""
        who = f" ({', '.join(self.approvers)})" if self.approvers else ""
        return f"{len(self.approvers)} of {plural(self.needed, 'approval')}{who}"

    @property
    def news(self) -> tuple[Status, tuple[str, ...]]:
        """What people want to hear of when it changes."""
        return self.status, self.approvers


@dataclass(frozen=True)
class Asked:
    """A request: its id, the link for people, the secret for which its tokens are handed out, and how it stood."""

    id: str
    url: str
    secret: str = field(repr=False)
    standing: Standing


def read_asked(answer: dict[str, Any], base: str) -> Asked:
    """The answer to a question; its link must lead to the bot at `base`, where it was asked.

    Raises:
        NotUnderstood: a member is missing, or not what it must be.
        BotUnavailable: it is the answer of a bot that calls itself otherwise.
    """
    url, secret = _member(answer, "url", _text(600)), _member(answer, "secret", _matching(_SECRET))
    asked = Asked(_member(answer, "id", _matching(_ID)), url, secret, _standing(answer))
    if not (url.startswith(f"{base}/") and _PATH.fullmatch(url.removeprefix(base))):
        raise BotUnavailable(
            "The deploy-bot's link leads away from the deploy-bot, so it is not shown.",
            hint="Give the URL that the deploy-bot calls its own (`url` in its bot.yaml).",
            expected=f"a link that begins with {base}/",
            actual="another one",
        )
    return asked


def read_standing(answer: dict[str, Any]) -> Standing:
    """The answer to "how does it stand?".

    Raises:
        NotUnderstood: a member is missing, or not what it must be.
    """
    standing = _standing(answer)
    if standing.status == "approved":
        tokens = _member(answer, "tokens", _list(_matching(_TOKEN), _MOST_TOKENS))
        if not tokens:
            raise _odd("tokens")
        return _with(standing, tokens=tokens)
    if standing.status == "declined":
        who, why = (_free_text(answer.get(name)) for name in ("declined_by", "decline_reason"))
        return _with(standing, declined_by=who or "Somebody", decline_reason=why)
    return standing


def read_error(answer: Answer) -> dict[str, str] | None:
    """The texts of an error as the deploy-bot explains it, None where something else answered in its place."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    error = (json_object(answer.body) or {}).get("error") if kind == "application/json" else None
    if not isinstance(error, dict) or not error.keys() >= _ERROR:
        return None
    texts = {name: error[name] for name in _ERROR}
    return texts if all(isinstance(text, str) for text in texts.values()) and texts["message"] else None


def _with(standing: Standing, **changes: Any) -> Standing:
    return Standing(**(vars(standing) | changes))


def _standing(answer: dict[str, Any]) -> Standing:
    def approver(value: Any) -> str | None:
        return _text(254)(value.get("approver")) if isinstance(value, dict) else None

    return Standing(
        status=_member(answer, "status", lambda value: value if value in get_args(Status) else None),
        needed=_member(answer, "needed", _number(1, 100, int)),
        approvers=_member(answer, "approvals", _list(approver, 100)),
        expires_at=_member(answer, "expires_at", _number(0, 1 << 40, int)),
        poll_after=_member(answer, "poll_after", _number(0, 600, int, float)),
    )


def _member(answer: dict[str, Any], name: str, read: Callable[[Any], T | None]) -> T:
    value = read(answer.get(name))
    if value is None:
        raise _odd(name)
    return value


def _odd(name: str) -> NotUnderstood:
    return NotUnderstood(
        f"The deploy-bot's answer is not one that the gate understands: see {name!r}.",
        hint="Check that this is the deploy-bot's URL, and that both are of one version.",
    )


def _text(most: int) -> Callable[[Any], str | None]:
    """A reader of at most `most` characters that all print."""
    return lambda value: value if isinstance(value, str) and value.isprintable() and len(value) <= most else None


def _free_text(value: Any) -> str:
    """What somebody typed, made fit to show: a "no" stays one, whatever it looks like."""
    return printable(value, 500) if isinstance(value, str) else ""


def _matching(pattern: "re.Pattern[str]") -> Callable[[Any], str | None]:
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


def _number(least: int, most: int, *kinds: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) in kinds and least <= value <= most else None


def _list(read: Callable[[Any], T | None], most: int) -> Callable[[Any], tuple[T, ...] | None]:
    def read_all(value: Any) -> tuple[T, ...] | None:
        if not isinstance(value, list) or len(value) > most:
            return None
        found = tuple(item for item in map(read, value) if item is not None)
        return found if len(found) == len(value) else None

    return read_all
