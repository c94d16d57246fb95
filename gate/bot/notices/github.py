"""GitHub: a commit status, the status of a deployment, a comment on pull requests, and a job that is run again."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.comment import comment_on_pulls
from gate.bot.notices.rerun import rerun
from gate.bot.notices.words import summary
from gate.deadline import within
from gate.forge.rest import Forge, Refused, Rest, is_at_github

_PATIENCE = 60.0  # seconds in all
_STATUS = {"asked": "pending", "approved": "success", "declined": "failure", "expired": "error"}
_OVER = {"success", "inactive"}  # where a deployment that is done stays


class GitHub:
    """The channel to the repositories that `forge` has. Others, of longer paths, are passed over.

    Each of the four is looked at before it is touched, so a notice may be delivered twice, or late: nothing is said
    twice, and what came after stands. They do not wait for each other: what one is refused, another may still do.
    """

    name = "github"

    def __init__(self, forge: Forge, *, patience: float = _PATIENCE) -> None:
        self._forge = forge
        self._patience = patience

    def deliver(self, notice: Notice) -> None:
        """Say it wherever it has a place.

        Raises:
            Undelivered: some of it could not be said, or the run could not be started again.
        """
        if notice.forge not in ("github", "") or not is_at_github(notice.repository):
            return
        try:
            troubles = within(self._patience, lambda: self._deliver(notice))
        except TimeoutError:
            raise Undelivered("GitHub took too long.") from None
        except Refused as error:
            raise undelivered(error) from None
        if troubles:
            raise min(troubles, key=lambda trouble: (trouble.final, -trouble.after))

    def _deliver(self, notice: Notice) -> list[Undelivered]:
        app_id = self._forge.credentials.app_id
        with self._forge.repository(notice.repository) as rest:
            return [
                *_trouble(lambda: rerun(rest, notice)),
                *_trouble(lambda: _set_status(rest, notice)),
                *_trouble(lambda: _set_deployment_status(rest, notice)),
                *_trouble(lambda: comment_on_pulls(rest, notice, app_id)),
            ]


def _trouble(step: Callable[[], None]) -> Iterator[Undelivered]:
    """Take the step; gives what it was refused.

    Raises:
        Refused: the next step would be refused too.
    """
    try:
        step()
    except Undelivered as error:
        yield error
    except Refused as error:
        if error.after or error.status in (0, 401):
            raise
        yield undelivered(error)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        yield Undelivered("GitHub's answer is not what its documentation says.")


def undelivered(error: Refused) -> Undelivered:
    """What a refusal means for a notice."""
    return Undelivered(f"{error.message} ({error.actual})", hint=error.hint, final=error.is_final, after=error.after)


def _set_status(rest: Rest, notice: Notice) -> None:
    context = f"deploy-gate/{notice.environment}"
    status = {"state": _STATUS[notice.news], "target_url": notice.url, "description": summary(notice)}
    said = rest.get(f"commits/{notice.sha}/statuses", per_page=100)
    ours = [entry for entry in said if entry["context"].lower() == context.lower()]
    if not _is_superseded(ours, notice.url) and not _is_passed(ours, notice, status, "target_url"):
        rest.post(f"statuses/{notice.sha}", {**status, "context": context}, repeatable=True)


def _set_deployment_status(rest: Rest, notice: Notice) -> None:
    """Only of the newest deployment that GitHub made for the job: an approval is no deployment, so none is made here,
    and none is called a success."""
    found = rest.get("deployments", sha=notice.sha, environment=notice.github_environment, per_page=1)
    if not found:
        return
    approved = "queued" if notice.rerun else "in_progress"
    state = {"asked": "pending", "approved": approved, "declined": "failure", "expired": "error"}[notice.news]
    status = {"state": state, "log_url": notice.url, "description": summary(notice)}
    path = f"deployments/{int(found[0]['id'])}/statuses"
    said = rest.get(path, per_page=100)
    if not (said and said[0]["state"] in _OVER) and not _is_passed(said, notice, status, "log_url"):
        rest.post(path, {**status, "auto_inactive": False})


def _is_superseded(said: list[Mapping[str, Any]], url: str) -> bool:
    """Does another request have the context now, which the one at `url` had before?"""
    urls = [entry["target_url"] for entry in said]
    return url in urls and urls[0] != url


def _is_passed(said: list[Mapping[str, Any]], notice: Notice, status: Mapping[str, str], link: str) -> bool:
    """Was this said already, or something that comes after it? `said` are statuses, the newest first, `link` the member
    that names a request's page."""
    ours = [entry for entry in said if entry.get(link) == notice.url]
    if any(all(entry.get(name) == value for name, value in status.items()) for entry in ours):
        return True
    return notice.news == "asked" and any(entry["state"] != "pending" for entry in ours)
