"""What a CI's own variables say of the run: pure reading, no judging (docs/ci.md).

Each reader below names the variables that the vendor documents. Values come back as they are: whether a repository or a
sha is well-formed is for `gate.scope` to say.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gate.cloneurl import repository_path
from gate.errors import UsageError
from gate.identity import address, fold, named, namespace_of
from gate.text import printable


class CiRun(NamedTuple):
    """One run of a CI; "" is what it does not tell.

    `ci` is the CI's display name, `repository` the path at its forge, `actors` are the identities (gate.identity) of
    whoever started the run or started it again, with the account's id only where the CI attests it, `workspace` is the
    folder of the checkout, `attempt` counts the times that the run was started. Where the run's sha is not the code
    under deployment, `sha` is "" and `why_no_sha` the sentence that says so: it must then be given explicitly.
    """

    ci: str
    repository: str = ""
    sha: str = ""
    actors: tuple[str, ...] = ()
    run_id: str = ""
    repository_id: str = ""
    workspace: str = ""
    why_no_sha: str = ""
    attempt: str = ""


_SERVER = re.compile(r"(?:https?://)?([A-Za-z0-9.-]+)(?::[0-9]+)?/?")
_Read = Callable[[str], str]

# Events whose GITHUB_SHA is what a plain checkout of the run holds, and what a deployment of it ships. All others name
# a merge that nobody wrote (pull_request*) or the default branch's head (workflow_run, issue_comment, and most).
_DIRECT_EVENTS = {
    "push",
    "workflow_dispatch",
    "repository_dispatch",
    "schedule",
    "release",
    "merge_group",
    "deployment",
    "deployment_status",
}


def detect(environ: Mapping[str, str], ci: str = "") -> CiRun | None:
    """The run that `environ` belongs to, None outside every CI that is known here. `ci`, one of `CIS`, is the CI that
    the caller says it is: an earlier step can set another's variables, and GitHub's attest who started the run.

    Raises:
        UsageError: the variables of two CIs are set, or not those of `ci`.
    """

    def read(name: str) -> str:
        if name == "GITHUB_ACTOR_ID" and ci != "github":
            return ""  # which attests an account in GitHub Actions alone
        return environ.get(name, "")

    found = [one for one in _CIS if one.present(read) and ci in ("", one.name)]
    if ci and not found:
        raise UsageError(
            f"This is said to be {ci}, whose variables are not set.", hint="Correct --ci, or leave it out."
        )
    if not found:
        return None
    markers = [one.marker for one in found] + [name for name in _UNKNOWN if not ci and read(name)]
    if len(markers) > 1:
        raise UsageError(
            f"{' and '.join(markers)} are both set, so it is not clear which CI this is.",
            hint="Say it on the command line, e.g. --ci codebuild: an earlier step can have set the other's.",
        )
    run = found[0].reader(read)
    return run._replace(sha="") if run.why_no_sha else run


def is_ci(environ: Mapping[str, str]) -> bool:
    """Whether `environ` is that of a job, be it of a CI that is not known here."""

    def read(name: str) -> str:
        return environ.get(name, "")

    unknown = read("CI").lower() not in ("", "0", "false") or any(map(read, _UNKNOWN))
    return unknown or any(one.present(read) for one in _CIS)


def _users(namespace: str, *logins: str) -> tuple[str, ...]:
    """What a CI calls its users, each once."""
    return tuple(dict.fromkeys(named(namespace, login) for login in logins if login))


def _addresses(namespace: str, *addresses: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address(namespace, text) for text in addresses if text))


def _forge(server: str, default: str) -> str:
    """The namespace of the logins at this server, a URL or a host; one of nobody's where that can't be read."""
    found = _SERVER.fullmatch(server or default)
    return namespace_of(found[1]) if found else "?"


def _change(kind: str, number: str) -> str:
    return f"This run tests {kind} {printable(number, 40)}, which is not what a deployment ships." if number else ""


def _github(read: _Read) -> CiRun:
    event = read("GITHUB_EVENT_NAME")
    about_other_code = f"On the event {printable(event, 40) or '(unknown)'}, GITHUB_SHA is not the commit to deploy."
    return CiRun(
        ci="GitHub Actions",
        repository=read("GITHUB_REPOSITORY"),
        sha=read("GITHUB_SHA"),
        actors=_github_actors(read),
        run_id=read("GITHUB_RUN_ID"),
        repository_id=read("GITHUB_REPOSITORY_ID"),
        workspace=read("GITHUB_WORKSPACE"),
        why_no_sha="" if event in _DIRECT_EVENTS else about_other_code,
        attempt=read("GITHUB_RUN_ATTEMPT"),
    )


def _github_actors(read: _Read) -> tuple[str, ...]:
    """GitHub sets both variables anew for each step, and gives an id only for the first. Whoever ran it again is one
    more, unless it is the same login."""
    namespace, actor, again = (
        _forge(read("GITHUB_SERVER_URL"), "github.com"),
        read("GITHUB_ACTOR"),
        "GITHUB_TRIGGERING_ACTOR",
    )
    first = (named(namespace, actor, read("GITHUB_ACTOR_ID")),) if actor else ()
    return first + (_users(namespace, read(again)) if fold(read(again)) != fold(actor) else ())


def _gitlab(read: _Read) -> CiRun:
    namespace = _forge(read("CI_SERVER_HOST"), "gitlab.com")
    change = read("CI_MERGE_REQUEST_IID") or read("CI_EXTERNAL_PULL_REQUEST_IID")
    if not change and read("CI_PIPELINE_SOURCE") in {"merge_request_event", "external_pull_request_event"}:
        change = "(unknown)"
    return CiRun(
        ci="GitLab CI",
        repository=read("CI_PROJECT_PATH"),
        sha=read("CI_COMMIT_SHA"),
        actors=(  # whoever starts a pipeline can set these, so that no id beside them would attest anything
            *_users(namespace, read("GITLAB_USER_LOGIN")),
            *_addresses(namespace, read("GITLAB_USER_EMAIL")),
        ),
        run_id=read("CI_PIPELINE_ID"),
        repository_id=read("CI_PROJECT_ID"),
        workspace=read("CI_PROJECT_DIR"),
        why_no_sha=_change("merge request", change),
    )


def _jenkins(read: _Read) -> CiRun:
    return CiRun(
        ci="Jenkins",
        repository=repository_path(read("GIT_URL")),
        sha=read("GIT_COMMIT"),
        actors=(  # where the plug-in build-user-vars is
            *_users("jenkins", read("BUILD_USER_ID")),
            *_addresses("jenkins", read("BUILD_USER_EMAIL")),
        ),
        run_id=read("BUILD_TAG"),
        workspace=read("WORKSPACE"),
        why_no_sha=_change("change", read("CHANGE_ID")),
    )


def _buildkite(read: _Read) -> CiRun:
    change, commit = read("BUILDKITE_PULL_REQUEST"), read("BUILDKITE_COMMIT")
    return CiRun(
        ci="Buildkite",
        repository=repository_path(read("BUILDKITE_REPO")),
        sha="" if commit == "HEAD" else commit,  # a build of whatever was newest; the checkout knows
        actors=_addresses("buildkite", read("BUILDKITE_BUILD_CREATOR_EMAIL"), read("BUILDKITE_UNBLOCKER_EMAIL")),
        run_id=read("BUILDKITE_BUILD_ID"),
        workspace=read("BUILDKITE_BUILD_CHECKOUT_PATH"),
        why_no_sha=_change("pull request", "" if change == "false" else change),
    )


def _circleci(read: _Read) -> CiRun:
    # CIRCLE_PULL_REQUEST is also set on a branch that merely has a pull request open; its CIRCLE_SHA1 is no merge.
    owner, name = read("CIRCLE_PROJECT_USERNAME"), read("CIRCLE_PROJECT_REPONAME")
    return CiRun(
        ci="CircleCI",
        repository=repository_path(read("CIRCLE_REPOSITORY_URL")) or (f"{owner}/{name}" if owner and name else ""),
        sha=read("CIRCLE_SHA1"),
        actors=_users("circleci", read("CIRCLE_USERNAME")),
        run_id=read("CIRCLE_WORKFLOW_ID"),
        why_no_sha=_change("pull request", read("CIRCLE_PR_NUMBER")),
    )


def _codebuild(read: _Read) -> CiRun:
    version = read("CODEBUILD_SOURCE_VERSION")
    event = read("CODEBUILD_WEBHOOK_EVENT")
    change = version if version.startswith("pr/") else event if event.startswith("PULL_REQUEST") else ""
    return CiRun(
        ci="CodeBuild",
        repository=repository_path(read("CODEBUILD_SOURCE_REPO_URL")),
        sha=read("CODEBUILD_RESOLVED_SOURCE_VERSION"),
        actors=_users("codebuild", read("CODEBUILD_INITIATOR")),
        run_id=read("CODEBUILD_BUILD_ID"),
        workspace=read("CODEBUILD_SRC_DIR"),
        why_no_sha=_change("pull request", change),
    )


class _Ci(NamedTuple):
    name: str
    marker: str
    present: Callable[[_Read], bool]
    reader: Callable[[_Read], CiRun]


_CIS = (
    _Ci("github", "GITHUB_ACTIONS", lambda read: read("GITHUB_ACTIONS") == "true", _github),
    _Ci("gitlab", "GITLAB_CI", lambda read: read("GITLAB_CI") == "true", _gitlab),
    _Ci("jenkins", "BUILD_TAG=jenkins-…", lambda read: read("BUILD_TAG").startswith("jenkins-"), _jenkins),
    _Ci("buildkite", "BUILDKITE", lambda read: read("BUILDKITE") == "true", _buildkite),
    _Ci("circleci", "CIRCLECI", lambda read: read("CIRCLECI") == "true", _circleci),
    _Ci("codebuild", "CODEBUILD_BUILD_ID", lambda read: bool(read("CODEBUILD_BUILD_ID")), _codebuild),
)
CIS = tuple(one.name for one in _CIS)
_UNKNOWN = ("TF_BUILD", "TEAMCITY_VERSION")  # what CIs set whose variables are not read here
