"""What is asked for: the body of a job's request, merged with what its credential proves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gate.bot.claims import Job
from gate.bot.errors import BotError, NotAllowed
from gate.bot.jobs import ApiToken
from gate.deployment import Deployment
from gate.errors import UsageError
from gate.policy import Policy
from gate.scope import parse_repository, parse_sha
from gate.text import printable

_MOST_ATTEMPTS = 100_000
_MEMBERS = {"repository", "sha", "environment", "run_id", "attempt", "actors", "rerun", "waits"}


class Asked(NamedTuple):
    """A deployment that somebody asks approval for.

    `job` is who asks, with what they said filled in where nothing was proved. `said` names the members of `job` and
    `deployment` that are the job's word alone, in whole or in part (`actors` that were added to a proved one). Where it
    has `sha`, a job may ask for another commit than the one that its run stands at, which is then `job.sha`. `rerun`
    says that the bot is to run the job again, `waits` that it waits for the answer.
    """

    deployment: Deployment
    job: Job
    said: frozenset[str]
    rerun: bool
    waits: bool = True

    @property
    def asker(self) -> str:
        """Who counts as one where it is counted how often somebody asks: an API token, or a repository, as far as its
        CI vouches for it. Jobs that are proved to be of an environment, into which the CI lets not every job, are not
        kept out by those that are not."""
        named = [name for name in ("repository", "environment") if name not in self.said]
        return " ".join([self.job.issuer, *(getattr(self.deployment, name) for name in named)])


class _Body(NamedTuple):
    repository: str
    sha: str
    environment: str
    run_id: str
    attempt: int
    actors: tuple[str, ...]
    rerun: bool
    waits: bool


def resolve(who: Job | ApiToken, body: Mapping[str, Any], policy: Policy) -> Asked:
    """What `who` asks for with this body, the JSON object of `POST /api/requests`; all of it is optional that a proof
    gives. Environments are called as `policy` calls them.

    Raises:
        BotError: a member is unknown, malformed, or missing.
        NotAllowed: a member contradicts what is proved, or is beyond what the API token may ask for.
    """
    try:
        said = _read(body)
        said = said._replace(environment=policy.environment_called(said.environment))
        _check_rerun(who, said)
        who = _in_policy(who, policy) if isinstance(who, Job) else who
        job = _merged(who, said) if isinstance(who, Job) else _within_bounds(who, said)
        deployment = Deployment(
            repository=job.repository,
            sha=said.sha or job.sha,
            environment=job.environment,
            actors=job.actors,
            run_id=job.run_id,
            repository_id=job.repository_id,
        )
    except UsageError as error:
        raise BotError(error.message, hint=error.hint, expected=error.expected, actual=error.actual) from None
    return Asked(deployment, job, _only_said(said, job, who), said.rerun, said.waits)


def _in_policy(job: Job, policy: Policy) -> Job:
    """The job, with its environment called as `policy` calls it."""
    return job._replace(ci_environment=job.environment, environment=policy.environment_called(job.environment))


def _check_rerun(who: Job | ApiToken, said: _Body) -> None:
    """The bot runs a job again with its own rights, so only for a run that is proved to be the one that asks."""
    if said.rerun and not (isinstance(who, Job) and who.forge == "github" and "run_id" in who.proved):
        raise NotAllowed(
            "Only a job that GitHub vouches for can be run again by the bot.",
            hint="Wait for the approval instead. It takes GitHub's OIDC token, and a bot that acts at that GitHub: "
            "see `github` in bot.yaml.",
        )


def _read(body: Mapping[str, Any]) -> _Body:
    if unknown := sorted(body.keys() - _MEMBERS):
        raise BotError(f"The request has an unknown member {printable(unknown[0], 60)!r}.")
    repository, sha, environment = _text(body, "repository"), _text(body, "sha"), _text(body, "environment")
    return _Body(
        parse_repository(repository) if repository else "",
        parse_sha(sha) if sha else "",
        environment,
        _text(body, "run_id"),
        _attempt(body.get("attempt", 0)),
        _actors(body.get("actors", [])),
        _flag(body, "rerun", default=False),
        _flag(body, "waits", default=True),
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise BotError(f"The request's {name} is not a text.")
    return value


def _attempt(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_ATTEMPTS:
        raise BotError("The request's attempt is not a number of one.", expected=f"1 to {_MOST_ATTEMPTS}")
    return value


def _actors(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(actor, str) and actor for actor in value):
        raise BotError("The request's actors are not a list of logins or e-mail addresses.")
    return tuple(value)


def _flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise BotError(f"The request's {name} is neither true nor false.")
    return value


def _merged(job: Job, said: _Body) -> Job:
    """The proved job; what is said of it fills gaps, adds actors, and contradicts nothing but the sha."""
    for name in ("repository", "environment", "run_id", "attempt"):
        proved, claimed = getattr(job, name), getattr(said, name)
        if name in job.proved and claimed and claimed != proved:
            raise NotAllowed(
                f"The request says another {name} than the job's OIDC token proves.",
                hint="Leave it out, or ask from the job that is to deploy.",
                expected=str(proved),
                actual=printable(str(claimed), 100),
            )
    return job._replace(
        environment=job.environment or _needed(said.environment, "environment"),
        attempt=job.attempt if "attempt" in job.proved else said.attempt or 1,
        actors=tuple(dict.fromkeys((*job.actors, *(actor for actor in said.actors if not _proves(job, actor))))),
    )


def _proves(job: Job, actor: str) -> bool:
    """Whether the token proves that actor, be it in more words: with a namespace, or an id that the job lacks."""
    logins = [proved.partition("#")[0] for proved in job.actors]
    return actor in {*logins, *(login.partition(":")[2] for login in logins)}


def _within_bounds(token: ApiToken, said: _Body) -> Job:
    repository, environment = _needed(said.repository, "repository"), _needed(said.environment, "environment")
    if not any(pattern.matches(repository) for pattern in token.repositories):
        raise _beyond(token, "repository", repository)
    if token.environments and environment not in token.environments:
        raise _beyond(token, "environment", environment)
    return Job(
        issuer=f"token:{token.name}",
        repository=repository,
        sha=_needed(said.sha, "sha"),
        environment=environment,
        run_id=said.run_id,
        attempt=said.attempt or 1,
        actors=said.actors,
    )


def _needed(value: str, name: str) -> str:
    if not value:
        raise BotError(
            f"The request does not say its {name}, and the job's credential does not prove one.", expected=name
        )
    return value


def _beyond(token: ApiToken, name: str, value: str) -> NotAllowed:
    return NotAllowed(
        f"The API token {token.name} may not ask for this {name}.",
        hint="What it may ask for is in bot.yaml, under jobs: tokens:.",
        expected=f"a {name} that bot.yaml lists for {token.name}",
        actual=value,
    )


def _only_said(said: _Body, job: Job, who: Job | ApiToken) -> frozenset[str]:
    """The facts that come from the body, and from nowhere else."""
    proved = who if isinstance(who, Job) else Job("", "")
    names = {name for name in ("repository", "environment", "run_id", "attempt", "sha") if getattr(said, name)}
    found = {name for name in names if getattr(said, name) != getattr(proved, name) or name not in proved.proved}
    return frozenset(found | ({"actors"} if set(job.actors) - set(proved.actors) else set()))
