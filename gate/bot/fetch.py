"""Asking others for a JSON object, in bounded time and memory."""

from typing import TYPE_CHECKING, Any

from gate import http
from gate.authorities import HINT, distrust
from gate.bot.errors import Unavailable
from gate.canonical import JsonError, parse_object
from gate.deadline import within

if TYPE_CHECKING:
    from gate.http import Authorize

MOST_BYTES = 512 * 1024


def get_object(whose: str, url: str, seconds: float, authorize: "Authorize" = http.nobody) -> dict[str, Any]:
    """The JSON object at `url`, which must answer within `seconds`, and without a redirect; `whose` is for errors.

    Raises:
        Unavailable: anything else comes, or nothing.
    """

    def get() -> http.Answer:
        headers = {"Accept": "application/json", "User-Agent": "deploy-gate"}
        with (
            http.connect() as session,
            session.get(url, headers=headers, auth=authorize, timeout=seconds, stream=True) as response,
        ):
            return http.read(response, MOST_BYTES)

    try:
        answer = within(seconds, get)
        if answer.status != 200:
            raise unavailable(whose, "does not answer as it must", f"HTTP {answer.status}")
        return parse_object(answer.body)
    except http.TooLarge:
        raise unavailable(whose, "answers with more than is read", f"more than {MOST_BYTES >> 10} KiB") from None
    except JsonError as error:
        raise unavailable(whose, "does not answer as it must", str(error)) from None
    except OSError as error:  # every error of requests is one
        raise unanswered(whose, error) from None
    except ValueError:  # urllib3 lets a few of its own through
        raise unavailable(whose, "does not answer as it must") from None


def unanswered(whose: str, error: OSError) -> Unavailable:
    """The error for somebody from whom no answer came but this error of `requests`."""
    return unavailable(whose, http.trouble(error), hint=HINT if distrust(error) else "")


def unavailable(whose: str, what: str, actual: str = "", hint: str = "") -> Unavailable:
    """The error for somebody who does not do as they must."""
    again = "Try again. If it stays so, check the URL in the bot's configuration, and the bot's network."
    return Unavailable(f"{whose} {what}.", hint=hint or again, actual=actual)
