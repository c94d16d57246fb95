"""Errors that end an HTTP request, each with the status that tells it. All texts are safe to show (gate.errors)."""

from gate.errors import Denied, GateError, ReasonCode


class BotError(GateError):
    """Base of the deploy-bot's own errors. `status` is the HTTP status."""

    reason: ReasonCode = "usage.invalid"
    status = 400


class NotProved(BotError):
    """A credential does not prove what it must: an OIDC token, an API token, a sign-in, a session."""

    status = 401


class NotAllowed(BotError):
    """Whoever asks is known, and may not do this."""

    status = 403

    @classmethod
    def by(cls, denial: Denied) -> "NotAllowed":
        """What the gate would deny, with its reason code."""
        error = cls(denial.message, hint=denial.hint, expected=denial.expected, actual=denial.actual)
        error.reason = denial.reason
        return error


class NotFound(BotError):
    """There is no such thing, or not for whoever asks."""

    status = 404


class Conflict(BotError):
    """It is too late: the request was decided, or ran out, or changed meanwhile."""

    status = 409


class TooMany(BotError):
    """Too many tries; it may help to come back after so many seconds."""

    status = 429

    def __init__(self, message: str, *, hint: str, after: int) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Unavailable(BotError):
    """Something that the bot depends on does not answer as it must. Nothing was approved."""

    reason: ReasonCode = "bot.unavailable"
    status = 503
