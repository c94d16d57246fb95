"""What is looked at when the bot starts, rather than when somebody needs it at night."""

import logging
from collections.abc import Iterator

from gate.bot.errors import Unavailable
from gate.bot.logs import configure
from gate.bot.settings import Settings
from gate.bot.site import Site

_LOG = logging.getLogger(__name__)


def check_secrets(settings: Settings) -> None:
    """Read every secret once.

    Raises:
        UsageError: one is not there, or empty, or not what it must be; it is not repeated.
    """
    settings.session_key.read()
    for way in settings.sign_in:
        way.client_secret.read()
    for channel in settings.notices:
        channel.check()
    if settings.github:
        settings.github.check()


def begin(site: Site) -> None:
    """Log from now on, first what keeps people from approving just now."""
    configure()
    for trouble in troubles(site):
        _LOG.warning("not ready", extra={"error": trouble})


def troubles(site: Site) -> Iterator[str]:
    """What keeps people from approving just now, each in a sentence. It may be mended while the bot runs."""
    try:
        policy = site.policy.current().policy
        site.check_signer()
        site.logbook.check()
    except Unavailable as error:
        yield f"{error.message.rstrip('.')}. {error.hint}".strip()
        return
    party = policy.party
    if party and party.origin != site.url:
        yield f"The policy's passkeys are for {party.origin}, this bot is at {site.url}: nobody can use one here."
