"""One repository at the tests' GitHub: its commits, pull requests, deployments and runs, as GitHub's own examples."""

import json
from datetime import datetime, timezone
from itertools import count
from typing import Any, NamedTuple

from tests.bot.description import example

REPOSITORY = "acme/shop"
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
APP_ID = "123"


class Request(NamedTuple):
    """What a client asked for. `path` is without the API's prefix."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """What it gets."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)


class Gone(Exception):
    """There is no such thing here."""


def sha(number: int) -> str:
    """The id of commit `number`; short forms differ as well."""
    return f"{number:08x}" * 5


class Shop:
    """The repository `name`, with a straight history of commits, and what was written to it."""

    def __init__(self, name: str = REPOSITORY) -> None:
        self.name = name
        self.commits: list[dict[str, Any]] = []
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        self.pulls: list[tuple[dict[str, Any], set[str]]] = []
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.deployments: list[dict[str, Any]] = []
        self.deployment_statuses: dict[int, list[dict[str, Any]]] = {}
        self.runs: dict[int, dict[str, Any]] = {}
        self.waiting: dict[int, list[str]] = {}
        self.reviews: list[dict[str, Any]] = []
        self.public_key: Any = None  # of the app
        self.permissions: dict[str, str] = {}
        self.suspended = False
        self.now = datetime.now(timezone.utc)
        self.numbers = count(1)
        self.issued: dict[str, tuple[datetime, dict[str, str]]] = {}

    def add_commit(self, message: str = "Fix all the bugs", login: str = "bob", email: str = "bob@example.com") -> str:
        """Put a commit on top of the history; its id."""
        made = {**self._example("commit"), "files": []}
        made["sha"] = sha(len(self.commits) + 1)
        made["parents"] = [{"url": made["url"], "html_url": made["html_url"], "sha": sha(len(self.commits))}]
        made["commit"] = {**made["commit"], "message": message}
        made["commit"]["author"] = {**made["commit"]["author"], "email": email}
        made["commit"]["committer"] = {**made["commit"]["committer"], "email": "noreply@github.com"}
        made["author"] = {**made["author"], "login": login}
        made["committer"] = {**made["committer"], "login": "web-flow"}
        self.commits.append(made)
        return str(made["sha"])

    def add_pull(self, *shas: str, locked: bool = False) -> int:
        """A pull request that holds the commits; its number."""
        made = {**self._example("pull-request-simple-items")[0], "requested_teams": [], "locked": locked}
        made["number"] = 7 + len(self.pulls)
        self.pulls.append((made, set(shas)))
        self.comments[made["number"]] = []
        return int(made["number"])

    def add_deployment(self, of: str, environment: str = "production") -> int:
        """A deployment, as Actions makes one for a job with an environment; its id."""
        made = {**self._example("deployment-items")[0], "id": 40 + len(self.deployments)}
        made |= {"sha": of, "environment": environment}
        self.deployments.insert(0, made)
        self.deployment_statuses[made["id"]] = []
        return int(made["id"])

    def add_run(self, run_id: int, of: str, *, status: str = "completed", conclusion: str | None = "failure") -> None:
        """A workflow run, at its first attempt."""
        made = {**self._example("workflow-run"), "id": run_id, "head_sha": of}
        self.runs[run_id] = made | {"status": status, "conclusion": conclusion, "run_attempt": 1}

    def add_comment(self, number: int, body: str, *, by_app: str = "") -> dict[str, Any]:
        """A comment on a pull request, by a person, or by the app of that id."""
        made = self._example("issue-comment")
        made |= {"id": 1000 * number + len(self.comments[number]), "body": body}
        if by_app:
            made["performed_via_github_app"] = {**self._example("integration"), "id": int(by_app)}
        self.comments[number].append(made)
        return dict(made)

    def _example(self, name: str) -> Any:
        text = json.dumps(example(name))
        for theirs in ("octocat/Hello-World", "octo-org/octo-repo", "octocat/example"):
            text = text.replace(theirs, self.name)
        return json.loads(text)

    def known(self, of: str) -> dict[str, Any]:
        """The commit."""
        for commit in self.commits:
            if commit["sha"] == of:
                return commit
        raise Gone

    def run(self, run_id: str) -> dict[str, Any]:
        """The run."""
        if int(run_id) not in self.runs:
            raise Gone
        return self.runs[int(run_id)]

    def like(self, name: str, /, **changed: Any) -> dict[str, Any]:
        """GitHub's example of that name, with `changed` put in."""
        return {**self._example(name), **changed}
