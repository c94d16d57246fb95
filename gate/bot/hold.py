"""The answer to a job that GitHub holds (gate.bot.webhook), delivered like every other notice."""

from gate.bot.notices import Notice
from gate.bot.webhook import ProtectionRequest, respond
from gate.forge.rest import Forge


class Hold:
    """The channel that lets GitHub start a held job, or fail it."""

    name = "github-hold"

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def deliver(self, notice: Notice) -> None:
        """Answer, unless nobody waits for it.

        Raises:
            Undelivered: GitHub did not take the answer.
        """
        if notice.held and notice.news != "asked":
            held = ProtectionRequest(
                repository=notice.repository,
                repository_id="",
                sha=notice.sha,
                environment=notice.environment,
                run_id=notice.run_id,
                actor="",
                event="",
                delivery="",
            )
            approved = notice.news == "approved"
            respond(self._forge, held, approved=approved, comment=_comment(notice), url=notice.url)


def _comment(notice: Notice) -> str:
    if notice.news == "approved":
        return f"Approved by {', '.join(notice.approved_by)}."
    if notice.news == "declined":
        return f"Declined by {notice.declined_by}: {notice.reason}"
    return "Nobody approved in time."
