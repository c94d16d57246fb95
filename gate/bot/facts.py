"""What the forge says of the commits that are new in a deployment, for people to read before they say yes."""

import json
from collections.abc import Callable, Iterable, Sequence

from gate.bot.githubhost import GITHUB_COM
from gate.bot.request import CommitLine, Facts
from gate.deployment import Deployment
from gate.errors import GateError
from gate.forge import History
from gate.lineage import Lineage
from gate.models import Commit, Identity
from gate.rollback import rollback
from gate.text import printable
from gate.wiring import LoadedPolicy

_LONGEST_MESSAGE, _LONGEST_LINE = 1200, 300  # characters; people read on at the forge
_MOST_LINES, _MOST_READ = 40, 20_000  # lines, and characters of them
_LISTED = 20  # commits that the page names
_MOST_ROLES = 1_000  # that one document carries,
_MOST_TEXT = 100_000  # and so many bytes of them


class Lookup:
    """Looks facts up in the history that `open_history` gives for a repository; `web_url` is where people read it."""

    def __init__(self, open_history: Callable[[str], History] | None, web_url: str = GITHUB_COM) -> None:
        self._open_history = open_history
        self._web_url = web_url

    def covers(self, forge: str) -> bool:
        """Whether there is anybody to ask about the jobs of that forge's CI."""
        return self._open_history is not None and forge in ("github", "")

    def facts(self, deployment: Deployment, forge: str, loaded: LoadedPolicy) -> Facts:
        """The facts, or what kept them from being known: never raises for a forge or a store that is down."""
        if self._open_history is None or not self.covers(forge):
            trouble = "This bot has no access to the forge, so it can't say who wrote the commits."
            return Facts(newest=self.newest(deployment, loaded), trouble=trouble)
        try:
            return self._ask(self._open_history(deployment.repository), deployment, loaded)
        except GateError as error:
            return Facts(newest=self.newest(deployment, loaded), trouble=error.message)

    def newest(self, deployment: Deployment, loaded: LoadedPolicy) -> str:
        """The commit that was allowed last; "" where none was, or that can't be told."""
        try:
            return _lineage(deployment, loaded).newest()
        except GateError:
            return ""

    def _ask(self, history: History, deployment: Deployment, loaded: LoadedPolicy) -> Facts:
        repository, sha = deployment.repository, deployment.sha
        lineage = _lineage(deployment, loaded)
        commits = sorted_newest_first(history.commits(repository, lineage.shas(history), sha), sha)
        looked_at = [*lineage.given]
        base = looked_at[-1] if looked_at else ""  # what stopped the search is what it was for (gate.forge.base)
        newest = looked_at[0] if looked_at else ""
        back = rollback(history, repository, looked_at, sha)
        people = loaded.policy.people
        roles = {role: commit.sha for commit in commits for role in people.hands(commit)}
        facts = Facts(
            commits=tuple(_line(commit, sha, people.hands(commit)) for commit in commits[:_LISTED]),
            total=len(commits),
            base=base,
            diff_url=self._diff_url(deployment, base),
            newest=newest,
            rollback=back,
            rollback_url=f"{self._web_url}/{repository}/compare/{sha}...{newest}" if back else "",
        )
        if len(roles) > _MOST_ROLES or _length(roles) > _MOST_TEXT:
            return facts._replace(trouble="More people than the page can tell had a hand in it.")
        return facts._replace(
            roles=tuple((sha, tuple((who.kind, who.value) for who in role)) for role, sha in roles.items())
        )

    def _diff_url(self, deployment: Deployment, base: str) -> str:
        page = f"{self._web_url}/{deployment.repository}"
        if base and base != deployment.sha:
            return f"{page}/compare/{base}...{deployment.sha}"
        return f"{page}/commit/{deployment.sha}"


def _lineage(deployment: Deployment, loaded: LoadedPolicy) -> Lineage:
    return Lineage(loaded.audit_log(), loaded.replay_store(), deployment, loaded.policy)


def sorted_newest_first(commits: Iterable[Commit], sha: str) -> Sequence[Commit]:
    """The commits with `sha` first, whichever way round they came."""
    listed = list(commits)
    return listed[::-1] if listed and listed[-1].sha == sha else listed


def _length(roles: Iterable[Sequence[Identity]]) -> int:
    """Bytes that they take in a document."""
    return sum(len(json.dumps(who.value)) for role in roles for who in role)


def _line(commit: Commit, deployed: str, hands: Iterable[Sequence[Identity]]) -> CommitLine:
    title, _, rest = commit.message.strip().partition("\n")
    told = rest.strip() if commit.sha == deployed else ""
    people = dict.fromkeys(map(_name, hands))
    return CommitLine(commit.sha, _short(title, 120), _short(", ".join(people), 80), _paragraphs(told))


def _short(text: str, limit: int) -> str:
    """Fit to show, and short even where much of it has to be written as escapes."""
    shown = printable(text, limit)
    return shown if len(shown) <= 2 * limit else f"{shown[: 2 * limit - 1]}…"


def _paragraphs(text: str) -> str:
    """Its lines made fit to show, not too many, and never two empty ones in a row: what stands below is to be seen.
    It ends in an ellipsis wherever that leaves something out."""
    lines = [printable(line.rstrip(), _LONGEST_LINE) for line in text[:_MOST_READ].splitlines()]
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    shown = "\n".join(kept[:_MOST_LINES])[:_LONGEST_MESSAGE]
    return shown if shown == "\n".join(kept) and len(text) <= _MOST_READ else f"{shown}\n…"


def _name(role: Sequence[object]) -> str:
    shown = [printable(str(getattr(who, "value", "")), 80) for who in role]
    return shown[0] if shown else "somebody without a name"
