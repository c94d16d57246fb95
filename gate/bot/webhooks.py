"""GitHub's webhooks: a job that GitHub holds until the bot answers (gate.bot.webhook)."""

from starlette.responses import Response

from gate.bot import githubhost
from gate.bot.asked import Asked
from gate.bot.claims import Job
from gate.bot.errors import NotFound
from gate.bot.metrics import ASKED
from gate.bot.site import Site
from gate.bot.web import Call
from gate.bot.webhook import ProtectionRequest, receive
from gate.deployment import Deployment
from gate.identity import named


class Webhooks:
    """The handler of a site for GitHub."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def github(self, call: Call) -> Response:
        """`POST /webhooks/github`.

        Raises:
            NotFound, NotProved, BotError: there is no secret, or it is not signed with it, or can't be read.
        """
        secret = self._site.webhook_secret
        if secret is None:
            raise NotFound("This bot takes no webhooks.", hint="Set github: webhook_secret in bot.yaml.")
        # No limit by address: all of GitHub's come from the same few, and anybody can have GitHub send some.
        held = receive(call.body, call.request.headers, secret.read())
        if held is not None:
            self._site.doorkeeper.check_speaks(self._site.github, held.repository)
            self._site.intake.ask(_asked(held, self._site.github), held=held.delivery)
            ASKED.inc()
        return Response(status_code=204)


def _asked(held: ProtectionRequest, issuer: str) -> Asked:
    """The request of a job that can't ask yet. It is the very one that the job finds once it runs and asks itself:
    same issuer, run, environment and commit."""
    deployment = Deployment(
        repository=held.repository,
        sha=held.sha,
        environment=held.environment,
        actors=(named(githubhost.namespace(issuer), held.actor, held.actor_id),),
        run_id=held.run_id,
        repository_id=held.repository_id,
    )
    job = Job(
        issuer=issuer,
        repository=held.repository,
        repository_id=held.repository_id,
        sha=held.sha,
        environment=held.environment,
        run_id=held.run_id,
        actors=deployment.actors,
        event=held.event,
        ref=held.ref,
        forge="github",
    )
    return Asked(deployment, job, frozenset(), rerun=False)
