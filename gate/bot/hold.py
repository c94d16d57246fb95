"""The answer to a job that GitHub holds (gate.bot.webhook), delivered like every other notice."""

from typing import Any

from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.github import undelivered
from gate.bot.notices.words import code
from gate.forge.rest import Forge, Refused, Rest
from gate.http import within

_PATIENCE = 30.0  # seconds in all


class Hold:
    """The channel that lets GitHub start a held job, or fail it.

    The address of the answer is our own, made of the configured API, not the one that GitHub's question names.
    """

    name = "github-hold"

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def deliver(self, notice: Notice) -> None:
        """Answer, unless nobody waits for it. May be called again: a job that no longer waits is left alone.

        Raises:
            Undelivered: GitHub did not take the answer.
        """
        if not notice.held or notice.news == "asked":
            return
        try:
            within(_PATIENCE, lambda: self._answer(notice))
        except TimeoutError:
            raise Undelivered("GitHub took too long.") from None
        except Refused as error:
            raise undelivered(error) from None
        except (KeyError, TypeError, AttributeError):
            raise Undelivered("GitHub's answer is not what its documentation says.") from None

    def _answer(self, notice: Notice) -> None:
        path = f"actions/runs/{notice.run_id}"
        answer = {
            "environment_name": notice.environment,
            "state": "approved" if notice.news == "approved" else "rejected",
            "comment": f"{code(_comment(notice), 1000)}\n\n{notice.url}",
        }
        with self._forge.repository(notice.repository) as rest:
            try:
                rest.post(f"{path}/deployment_protection_rule", answer)
            except Refused as error:
                if not error.is_final or _waits(rest, path, notice.environment):
                    raise


def _waits(rest: Rest, path: str, environment: str) -> bool:
    pending: list[dict[str, Any]] = rest.get(f"{path}/pending_deployments")
    return any(entry["environment"]["name"].lower() == environment.lower() for entry in pending)


def _comment(notice: Notice) -> str:
    if notice.news == "approved":
        return f"Approved by {', '.join(notice.approved_by)}."
    if notice.news == "declined":
        return f"Declined by {notice.declined_by}: {notice.reason}"
    return "Nobody approved in time."
