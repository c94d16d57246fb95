"""Notices: telling people, and forges, that an approval is asked for, and what came of it."""

from typing import Literal, NamedTuple, Protocol

from gate.errors import GateError, ReasonCode

News = Literal["asked", "approved", "declined", "expired"]


class Undelivered(GateError):
    """A notice could not be delivered now; it is tried again, unless `final`, but not before `after` seconds."""

    reason: ReasonCode = "bot.unavailable"

    def __init__(self, message: str, *, hint: str = "", final: bool = False, after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.final = final
        self.after = after


class Notice(NamedTuple):
    """What happened to one request for approval. Times are epoch seconds.

    `url` is the page of the request: always a link, never a button that approves. `title` is the first line of the
    commit's message, and like `reason` it is text of others, to be shown as such. `approvers` are those who may
    approve. `rerun` says that the job ended, and is to be run again once approved, `held` that
    GitHub holds it until it gets an answer. `forge` is "github" or "gitlab", "" where it is not known. `attempt` is the
    attempt of the run that asked, and `ci_environment` what its CI calls the environment.
    """

    news: News
    request_id: str
    url: str
    repository: str
    sha: str
    environment: str
    run_id: str
    actors: tuple[str, ...]
    title: str
    needed: int
    approved_by: tuple[str, ...]
    declined_by: str
    reason: str
    approvers: tuple[str, ...]
    expires_at: int
    rerun: bool = False
    held: bool = False
    forge: str = ""
    attempt: int = 1
    ci_environment: str = ""

    @property
    def github_environment(self) -> str:
        """What GitHub calls the environment."""
        return self.ci_environment or self.environment


class Channel(Protocol):
    """A place where notices go. `name` is unique among a bot's channels, and is part of no secret."""

    name: str

    def deliver(self, notice: Notice) -> None:
        """Deliver it, in bounded time. May be called twice for one notice, and should then say it once.

        Raises:
            Undelivered: it could not.
            UsageError: its settings can't be used, e.g. a secret is gone.
        """
        ...
