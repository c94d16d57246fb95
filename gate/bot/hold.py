"""The jobs that GitHub holds (gate.bot.webhook): what it says of their run, and the answer to it."""

from typing import Any, NamedTuple

from gate.bot.errors import NotFound, Unavailable
from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.github import undelivered
from gate.bot.notices.words import code
from gate.deadline import within
from gate.forge.rest import Forge, Refused, Rest

_PATIENCE = 30.0  # seconds in all for an answer
_LOOK = 6.0  # seconds for a look: GitHub waits 10 for the webhook's response


class HeldRun(NamedTuple):
    """The run of a held job as GitHub has it now: its attempt, and the login and the id of who started that."""

    attempt: int
    actor: str
    actor_id: str


class Hold:
    """The channel that lets GitHub start a held job, or fail it.

    The address of the answer is our own, made of the configured API, not the one that GitHub's question names.
    """

    name = "github-hold"

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def look(self, repository: str, run_id: str) -> HeldRun:
        """The run whose job GitHub says that it holds: the webhook itself tells neither attempt nor who re-ran it.

        Raises:
            NotFound: the run has ended, so it has no job that waits.
            Unavailable: GitHub does not say.
        """
        try:
            run = within(_LOOK, lambda: self._run(repository, run_id))
            actor = run["triggering_actor"]
            found = HeldRun(int(run["run_attempt"]), str(actor["login"]), str(int(actor["id"])))
        except (TimeoutError, Refused, KeyError, TypeError, ValueError) as error:
            raise Unavailable(
                "GitHub does not say which attempt of the run it holds.",
                hint="Redeliver the webhook. The bot's App needs Actions: read.",
                actual=error.message if isinstance(error, Refused) else "no usable answer",
            ) from None
        if run["status"] == "completed":
            raise NotFound("The run of this webhook has ended: no job of it waits.")
        return found

    def _run(self, repository: str, run_id: str) -> dict[str, Any]:
        with self._forge.repository(repository) as rest:
            run: dict[str, Any] = rest.get(f"actions/runs/{run_id}")
        return run

    def deliver(self, notice: Notice) -> None:
        """Answer, unless no job waits for it. May be called again: a job that no longer waits is left alone, and so is
        one of another attempt, which asks for itself.

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
            "environment_name": notice.github_environment,
            "state": "approved" if notice.news == "approved" else "rejected",
            "comment": f"{code(_comment(notice), 1000)}\n\n{notice.url}",
        }
        with self._forge.repository(notice.repository) as rest:
            if rest.get(path)["run_attempt"] != notice.attempt:
                return
            try:
                rest.post(f"{path}/deployment_protection_rule", answer)
            except Refused as error:
                if not error.is_final or _waits(rest, path, notice.github_environment):
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
