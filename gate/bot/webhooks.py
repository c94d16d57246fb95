"""GitHub's webhooks: a job that GitHub holds until the bot answers (gate.bot.webhook)."""

import logging

from starlette.responses import Response

from gate.bot import githubhost
from gate.bot.asked import resolve
from gate.bot.claims import Job
from gate.bot.errors import BotError, NotFound
from gate.bot.hold import HeldRun, Hold
from gate.bot.metrics import ASKED
from gate.bot.site import BotCall, Site
from gate.bot.webhook import ProtectionRequest, receive
from gate.identity import named

_LOG = logging.getLogger(__name__)


class Webhooks:
    """The handler of a site for GitHub."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def github(self, call: BotCall) -> Response:
        """`POST /webhooks/github`. GitHub shows the response, and the log has why one was refused: its people look at
        the one, and the bot's at the other.

        Raises:
            NotFound, NotProved, BotError: there is no secret, or it is not signed with it, or can't be read.
        """
        try:
            self._take(call)
        except BotError as error:
            _LOG.warning("webhook refused", extra={"error": " ".join(filter(None, (error.message, error.actual)))})
            raise
        return Response(status_code=204)

    def _take(self, call: BotCall) -> None:
        site = self._site
        if site.webhook_secret is None or site.hold is None:
            raise NotFound("This bot takes no webhooks.", hint="Set github: webhook_secret in bot.yaml.")
        # No limit by address: all of GitHub's come from the same few, and anybody can have GitHub send some.
        held = receive(call.body, call.request.headers, site.webhook_secret.read())
        if held is None:
            return
        site.doorkeeper.check_speaks(site.github, held.repository)
        if site.deliveries.has(held.delivery):
            _LOG.info("webhook ignored", extra={"error": "This delivery was taken before."})
            return
        self._enter(held, site.hold)
        ASKED.inc()

    def _enter(self, held: ProtectionRequest, hold: Hold) -> None:
        job = _job(held, hold.look(held.repository, held.run_id), self._site.github)
        self._site.intake.ask(resolve(job, {}, self._site.policy.current().policy), held=held.delivery)
        self._site.deliveries.add(held.delivery)


def _job(held: ProtectionRequest, run: HeldRun, issuer: str) -> Job:
    """A job that can't ask yet. Its request is the very one that it finds once it runs and asks itself: same issuer,
    run, environment and commit."""
    namespace = githubhost.namespace(issuer)
    actors = named(namespace, held.actor, held.actor_id), named(namespace, run.actor, run.actor_id)
    return Job(
        issuer=issuer,
        repository=held.repository,
        repository_id=held.repository_id,
        sha=held.sha,
        environment=held.environment,
        run_id=held.run_id,
        attempt=run.attempt,
        actors=tuple(dict.fromkeys(actors)),
        event=held.event,
        ref=held.ref,
        forge="github",
        proved=frozenset({"attempt"}),
    )
