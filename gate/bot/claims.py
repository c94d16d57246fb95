"""What a CI's OIDC token says of the job that it was given to.

GitHub: "OpenID Connect reference"; GitLab: "ID token authentication". `sub` is never parsed: its form is the project's
own choice at both, and changed in 2026. The token is already verified when it comes here.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from gate.bot import githubhost
from gate.bot.errors import NotProved
from gate.errors import UsageError
from gate.identity import address, named, namespace_of
from gate.scope import parse_repository, parse_sha
from gate.text import printable

Kind = Literal["github", "gitlab"]

_NUMBER = re.compile(r"[1-9][0-9]{0,19}")
_MOST_TEXT = 254  # of what becomes a part of the deployment (gate.deployment)
_MOST_REF = 1000


class Job(NamedTuple):
    """A job, as far as it is known. Whatever is not known is "" or empty.

    `issuer` is the OIDC issuer that vouches for it, or `token:NAME` of the API token that it showed. `repository` is in
    lower case; `event` is what started the run (at GitLab: the pipeline's source); `run_url` is where a person can see
    the run; `forge` is "github" or "gitlab", where the issuer tells, or "elsewhere". `proved` names the members that
    the CI proved: the others are the job's own word. On pull requests, `sha` is a merge commit that stands on no
    branch. `ci_environment` is what the CI calls the environment, where `environment` is the policy's (gate.bot.asked).
    """

    issuer: str
    repository: str
    repository_id: str = ""
    sha: str = ""
    environment: str = ""
    run_id: str = ""
    attempt: int = 1
    actors: tuple[str, ...] = ()
    ref: str = ""
    workflow: str = ""
    run_url: str = ""
    event: str = ""
    forge: str = ""
    proved: frozenset[str] = frozenset()
    ci_environment: str = ""


def read_job(kind: Kind, issuer: str, claims: Mapping[str, Any]) -> Job:
    """The job that verified `claims` of an issuer of this kind are about.

    Raises:
        NotProved: a claim that is needed is not there, or is not of its form.
    """
    read = _Reader(claims)
    try:
        job = _github(issuer, read) if kind == "github" else _gitlab(issuer, read)
    except UsageError as error:
        raise NotProved(
            f"The CI's token can't be used: {error.message}",
            hint=error.hint,
            expected=error.expected,
            actual=error.actual,
        ) from None
    job = job._replace(forge=kind)
    facts = {*Job._fields} - {"issuer", "proved", "run_url", "forge", "ci_environment"}
    without = {"attempt"} if kind == "gitlab" else set[str]()  # GitLab's token does not tell
    return job._replace(proved=frozenset(name for name in facts - without if getattr(job, name)))


def _github(issuer: str, read: "_Reader") -> Job:
    repository, run_id = read.text("repository", _MOST_TEXT), read.number("run_id")
    host = githubhost.of_issuer(issuer)
    return Job(
        issuer=issuer,
        repository=parse_repository(repository),
        repository_id=read.number("repository_id"),
        sha=parse_sha(read.text("sha")),
        environment=read.optional("environment"),
        run_id=run_id,
        attempt=int(read.number("run_attempt")),
        actors=(named(githubhost.namespace(issuer), read.text("actor"), read.optional("actor_id")),),
        ref=read.optional("ref"),
        workflow=read.optional("job_workflow_ref"),
        run_url=f"{host}/{repository}/actions/runs/{run_id}" if host else "",
        event=read.optional("event_name"),
    )


def _gitlab(issuer: str, read: "_Reader") -> Job:
    path, pipeline = read.text("project_path", _MOST_TEXT), read.number("pipeline_id")
    namespace = namespace_of(urlsplit(issuer).hostname or "")
    return Job(
        issuer=issuer,
        repository=parse_repository(path),
        repository_id=read.number("project_id"),
        sha=parse_sha(read.text("sha")),
        environment=read.optional("environment"),
        run_id=pipeline,
        actors=(
            named(namespace, read.text("user_login"), read.optional("user_id")),
            address(namespace, read.text("user_email")),
        ),
        ref=read.optional("ref_path") or read.optional("ref"),
        workflow=read.optional("ci_config_ref_uri"),
        run_url=f"{issuer.removesuffix('/')}/{path}/-/pipelines/{pipeline}",
        event=read.optional("pipeline_source"),
    )


class _Reader:
    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims

    def text(self, name: str, most: int = _MOST_TEXT) -> str:
        value = self._claims.get(name)
        if not isinstance(value, str) or not value or not value.isprintable() or len(value) > most:
            raise _wrong(name, f"a text of 1 to {most} printable characters", value)
        return value

    def number(self, name: str) -> str:
        """A positive number; both CIs write theirs as a text."""
        value = self._claims.get(name)
        if not isinstance(value, str) or not _NUMBER.fullmatch(value):
            raise _wrong(name, "a number, as a text", value)
        return value

    def optional(self, name: str) -> str:
        return self.text(name, _MOST_REF) if self._claims.get(name) not in (None, "") else ""


def _wrong(name: str, expected: str, value: object) -> UsageError:
    actual = "none" if value is None else printable(str(value), 60)
    return UsageError(f"its claim {name} is not what it must be.", expected=expected, actual=actual)
