"""Why a service does not do what it is asked. All texts are safe to show (gate.errors)."""

from gate.errors import Denied, GateError, ReasonCode


class BotError(GateError):
    """Base of a service's own errors: by itself, what was sent makes no sense."""

    reason: ReasonCode = "usage.invalid"


class NotProved(BotError):
    """A credential does not prove what it must: an OIDC token, an API token, a sign-in, a session."""


class NotAllowed(BotError):
    """Whoever asks is known, and may not do this."""

    @classmethod
    def by(cls, denial: Denied) -> "NotAllowed":
        """What the gate would deny, with its reason code."""
        error = cls(denial.message, hint=denial.hint, expected=denial.expected, actual=denial.actual)
        error.reason = denial.reason
        return error


class NotFound(BotError):
    """There is no such thing, or not for whoever asks."""


class Conflict(BotError):
    """It is too late: the request was decided, or ran out, or changed meanwhile."""


class TooMany(BotError):
    """Too many tries; it may help to come back after so many seconds."""

    def __init__(self, message: str, *, hint: str, after: int) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Unavailable(BotError):
    """Something that the bot depends on does not answer as it must. Nothing was approved."""

    reason: ReasonCode = "bot.unavailable"
