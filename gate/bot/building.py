"""From settings to a site: the one place where the bot chooses its parts."""

import time
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeVar

from gate.audit import AuditLog, open_audit_log
from gate.bot import githubhost
from gate.bot.deliveries import Deliveries
from gate.bot.desk import Desk
from gate.bot.dev import DevSignIn
from gate.bot.enrolment import Enrolment
from gate.bot.errors import NotFound
from gate.bot.facts import Lookup
from gate.bot.herald import Herald
from gate.bot.history import History
from gate.bot.hold import Hold
from gate.bot.intake import Intake
from gate.bot.jobs import Doorkeeper
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits
from gate.bot.logbook import Logbook
from gate.bot.notary import Notary
from gate.bot.notices import Channel, News, Notice
from gate.bot.notices.github import GitHub as GitHubChannel
from gate.bot.policysource import PolicySource
from gate.bot.presence import Presence
from gate.bot.providers import Provider, open_provider
from gate.bot.register import Register
from gate.bot.sessions import Sessions
from gate.bot.settings import Settings
from gate.bot.site import Site
from gate.bot.startup import check_secrets
from gate.bot.state import open_state
from gate.bot.views import Views
from gate.errors import GateError
from gate.forge.github import GitHub
from gate.forge.rest import Forge
from gate.replay import ReplayStore, open_replay_store
from gate.signers import Signer, open_signer

T = TypeVar("T")

_FAILURE_LIVES = 5.0  # seconds
_PATIENCE = 8.0  # seconds that a job's question waits for GitHub


def build(settings: Settings, *, pin: Callable[[], str], dev: bool = False) -> Site:
    """The site of these settings; `pin` gives the PIN of a `pkcs11:` key. Nothing is contacted yet.

    Raises:
        GateError: a part can't be what the settings say, or a secret is missing.
    """
    if not dev:
        check_secrets(settings)
    clock = time.time
    keyring = Keyring(settings.session_key.read().encode())
    policy = PolicySource(settings.policy)
    state = open_state(settings.state, settings.base)
    register = Register(state, keyring, policy, clock)
    forge = settings.github.forge() if settings.github else None
    stores = _once(_open_stores)  # connecting takes longer than a record
    own = settings.audit, settings.replay, settings.base
    logbook = Logbook(lambda: stores(*own), clock)
    notary = Notary(settings.url, _signer(settings, pin), logbook)
    limits, github, presence = Limits(), own_github(settings), Presence(state, clock)
    hold = Hold(forge) if forge else None
    channels: list[Channel] = [hold, GitHubChannel(forge)] if hold and forge else []
    channels += settings.notices
    herald = Herald(state, channels, lambda *asked: _tell(register, settings.url, *asked), clock)
    trial = DevSignIn(Path(settings.policy)) if dev else None
    providers: list[Provider] = [] if trial else [open_provider(way) for way in settings.sign_in]
    return Site(
        url=settings.url,
        policy=policy,
        state=state,
        keyring=keyring,
        register=register,
        notary=notary,
        intake=Intake(
            register=register,
            keyring=keyring,
            policy=policy,
            lookup=_lookup(settings, forge),
            herald=herald,
            limits=limits,
            life=settings.request_life,
        ),
        desk=Desk(
            register=register,
            notary=notary,
            keyring=keyring,
            state=state,
            presence=presence,
            herald=herald,
            logbook=logbook,
        ),
        herald=herald,
        deliveries=Deliveries(state, clock),
        presence=presence,
        logbook=logbook,
        sessions=Sessions(state, keyring, clock),
        enrolment=Enrolment(state, keyring, clock),
        doorkeeper=Doorkeeper(settings.jobs, settings.url, github),
        providers=(trial,) if trial else tuple(providers),
        history=History(lambda: [stores(*place) for place in dict.fromkeys((_places(policy), own))]),
        limits=limits,
        views=Views(),
        github=github,
        webhook_secret=settings.github.webhook_secret if settings.github else None,
        hold=hold,
        dev=trial,
        clock=clock,
    )


def own_github(settings: Settings) -> str:
    """The issuer of that GitHub at which the bot acts: its API and its webhooks speak of its jobs alone. "" where there
    is none."""
    found = [one.url for one in settings.jobs.oidc if one.kind == "github"]
    if settings.github is None:
        return ""
    if len(found) == 1 and not githubhost.of_issuer(found[0]):  # of one that does not tell, it is that one
        return found[0]
    return next((url for url in found if githubhost.of_issuer(url) == githubhost.of_api(settings.github.api_url)), "")


def _open_stores(audit: str, replay: str, base: Path | None) -> tuple[AuditLog, ReplayStore]:
    return open_audit_log(audit, base), open_replay_store(replay, base)


def _places(policy: PolicySource) -> tuple[str, str, Path | None]:
    """Where the policy says that decisions are recorded."""
    loaded = policy.current()
    return loaded.policy.audit, loaded.policy.replay, loaded.base


def _signer(settings: Settings, pin: Callable[[], str]) -> Callable[[], Signer]:
    """Opened when it is first needed, and once: a key in KMS is asked for its public half at each opening."""
    return _once(lambda: open_signer(settings.signer, settings.base, pin))


def _once(make: Callable[..., T]) -> Callable[..., T]:
    """`make`, called once for the same arguments: `cache` alone would let two threads in at first, and there are
    PKCS#11 modules that can't be opened twice. Where it fails it is called again after a moment: whoever waited behind
    it would wait for the same once more."""
    made, lock = cache(make), Lock()
    failed: dict[tuple[Hashable, ...], tuple[float, GateError]] = {}

    def get(*args: Hashable) -> T:
        with lock:
            since, trouble = failed.get(args, (0.0, None))
            if trouble and time.monotonic() - since < _FAILURE_LIVES:
                raise trouble.with_traceback(None)
            try:
                return made(*args)
            except GateError as error:
                failed[args] = time.monotonic(), error
                raise

    return get


def _lookup(settings: Settings, forge: Forge | None) -> Lookup:
    if settings.github is None or forge is None:
        return Lookup(None)
    api_url, credentials = settings.github.api_url, forge.credentials
    return Lookup(
        lambda repository: GitHub(api_url, credentials.token(repository), patience=_PATIENCE),
        githubhost.of_api(api_url),
    )


def _tell(register: Register, url: str, key: str, generation: int, news: News) -> Notice | None:
    """The notice, None where the request has gone on, or what was to be told did not come about."""
    try:
        standing = register.find(key)
    except NotFound:
        return None
    request, deployment = standing.request, standing.request.deployment
    is_so = standing.status == ("open" if news == "asked" else news)
    if request.generation != generation or not is_so:
        return None
    facts, declined = request.facts, request.declined
    return Notice(
        news=news,
        request_id=f"{request.id}.{generation}",
        url=f"{url}/requests/{request.id}",
        repository=deployment.repository,
        sha=deployment.sha,
        environment=deployment.environment,
        run_id=deployment.run_id,
        actors=deployment.actors,
        title=facts.commits[0].title if facts and facts.commits else "",
        needed=standing.environment.approvals,
        approved_by=tuple(given.approver for given in request.approvals),
        declined_by=declined.by if declined else "",
        reason=declined.reason if declined else "",
        approvers=tuple(sorted(standing.environment.approvers)),
        expires_at=request.expires_at,
        rerun=request.rerun,
        held=bool(request.held),
        forge=request.forge,
        attempt=request.attempt,
        ci_environment=request.ci_environment,
    )
