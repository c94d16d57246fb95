"""GitHub: the history that its compare API tells (REST, "Compare two commits").

Commits come in pages of at most 100, oldest first. Each page repeats `total_commits`, which says whether all are there.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from gate.deadline import within
from gate.errors import UsageError
from gate.forge import Unattributed
from gate.forge.api import Api, Connection, NotThere
from gate.forge.authorship import Role, with_co_authors
from gate.forge.base import find_base
from gate.identity import named, namespace_of
from gate.models import Commit, Identity
from gate.scope import parse_repository, parse_sha

MOST_COMMITS = 10_000
_PAGE = 100
_MOST_BASES = 20  # requests before the gate gives up

_T = TypeVar("_T")


class GitHub:
    """The history of a repository at the GitHub whose API is at `api_url`.

    `timeouts` are seconds to connect and between two bytes, `patience` those that one call may take in all. It is
    believed by the CAs in the file `ca`, if there is one.

    Raises:
        UsageError: `api_url` is not one that a token may be sent to, or `token` can't be one.
    """

    def __init__(
        self,
        api_url: str,
        token: str | None,
        *,
        timeouts: tuple[float, float] = (5.0, 15.0),
        patience: float = 60.0,
        ca: Path | None = None,
    ) -> None:
        self._api = Api(api_url, token, timeouts, patience, ca)
        self._api.check()

    def commits(self, repository: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        """The commits that are new in `sha`, oldest first; see `History.commits`. Asks about the first 20 of `allowed`.

        Raises:
            Unattributed: GitHub does not tell, or not all, or not in time.
        """
        path, head, namespace = _path(repository), parse_sha(sha), _namespace(self._api.url)
        return self._within(lambda connection: _range(_Comparisons(connection, path, head, namespace), allowed))

    def holds(self, repository: str, shas: Iterable[str]) -> str | None:
        """The first of these commits, 20 at the most, that GitHub knows in the repository or, as it keeps them
        together, in a fork; see `History.holds`.

        Raises:
            Unattributed: GitHub does not tell, or not in time, or there are more.
        """
        path, asked = _path(repository), [parse_sha(sha) for sha in shas]
        return self._within(lambda connection: _held(connection, path, asked))

    def _within(self, ask: Callable[[Connection], _T]) -> _T:
        try:
            return within(self._api.patience, lambda: self._connected(ask))
        except TimeoutError:
            raise Unattributed(
                "The forge's API took too long to say who wrote the commits.",
                hint="Try again, or run the gate in a full clone (fetch-depth: 0).",
                actual=f"no whole answer within {self._api.patience:.0f} s",
            ) from None
        except (KeyError, IndexError, TypeError, AttributeError, UsageError):
            raise _strange("an object of another form") from None

    def _connected(self, ask: Callable[[Connection], _T]) -> _T:
        with self._api.connect() as connection:
            return ask(connection)


def _path(repository: str) -> str:
    owner_and_name = parse_repository(repository)
    if owner_and_name.count("/") != 1:
        raise Unattributed(
            "The repository is not one at GitHub, so its API can't say who wrote the commits.",
            hint="Run the gate in a full clone.",
            actual=owner_and_name,
        )
    return f"repos/{owner_and_name}"


def _held(api: Connection, path: str, shas: Sequence[str]) -> str | None:
    if len(shas) > _MOST_BASES:
        raise Unattributed(
            "There are too many commits to ask the forge about.",
            hint="Run the gate in a full clone (fetch-depth: 0).",
            actual=f"{len(shas)}, of at most {_MOST_BASES}",
        )
    for sha in shas:
        try:
            if api.get(f"{path}/git/commits/{sha}")["sha"] == sha:
                return sha
        except NotThere:
            continue
        raise _strange("another commit")
    api.get(path)  # otherwise it is the repository that it does not show
    return None


class _Comparisons:
    """The comparisons of earlier commits with `sha`, in the repository at `path`."""

    def __init__(self, api: Connection, path: str, sha: str, namespace: str) -> None:
        self._api = api
        self._path = path
        self.sha = sha
        self.namespace = namespace  # of the accounts that it names
        self._first = ("", dict[str, Any]())  # of the base asked about last: its first page

    def own(self) -> dict[str, Any]:
        """The commit `sha` itself."""
        own = self._api.get(
            f"{self._path}/commits/{self.sha}", per_page=1
        )  # of the files that it lists, not of commits
        if own["sha"] != self.sha:
            raise _strange("another commit")
        return own

    def page(self, base: str, number: int) -> dict[str, Any]:
        """One page of a comparison, from 1; the first one is asked for once."""
        if (base, number) == (self._first[0], 1):
            return self._first[1]
        answer = self._api.get(f"{self._path}/compare/{base}...{self.sha}", per_page=_PAGE, page=number)
        if answer["base_commit"]["sha"] != base:
            raise _strange("another comparison")
        if number == 1:
            self._first = base, answer
        return answer

    def has_below(self, base: str) -> bool:
        """Is `base` an ancestor of `sha`? One that GitHub does not have, or of another history, is none."""
        try:
            status = self.page(base, 1)["status"]
        except NotThere:
            self.own()  # otherwise it is `sha`, or the repository, that it does not have or show
            return False
        if status not in ("ahead", "behind", "diverged"):
            raise _strange("another comparison")
        return bool(status == "ahead")


def _namespace(api_url: str) -> str:
    host = urlsplit(api_url).hostname or ""
    return namespace_of(host.removeprefix("api.") if host.endswith((".github.com", ".ghe.com")) else host)


def _range(comparisons: _Comparisons, allowed: Iterable[str]) -> list[Commit]:
    base = find_base(islice(allowed, _MOST_BASES), comparisons.sha, comparisons.has_below)
    if base == comparisons.sha:
        return []
    if base is None:
        own = comparisons.own()
        if not own["parents"]:
            return [_commit(own, comparisons.namespace)]
        base = parse_sha(own["parents"][0]["sha"])
    return _compared(comparisons, base)


def _compared(comparisons: _Comparisons, base: str) -> list[Commit]:
    commits: dict[str, Commit] = {}
    for number in count(1):
        answer = comparisons.page(base, number)
        total = _total(answer)
        found = [_commit(item, comparisons.namespace) for item in answer["commits"]]
        commits |= _distinct(found, commits)
        if len(commits) >= total or not found:
            break
    _check_whole(answer, commits, base, comparisons.sha)
    return list(commits.values())


def _total(answer: dict[str, Any]) -> int:
    total = answer["total_commits"]
    if type(total) is not int:
        raise _strange("another comparison")
    if total > MOST_COMMITS:
        raise Unattributed(
            "There are too many commits since the last allowed deployment to look at each.",
            hint="Run the gate in a full clone (fetch-depth: 0), or deploy something older first.",
            actual=f"{total:,} commits",
        )
    return total


def _distinct(found: Iterable[Commit], known: dict[str, Commit]) -> dict[str, Commit]:
    commits: dict[str, Commit] = {}
    for commit in found:
        if commit.sha in known or commit.sha in commits:
            raise _strange("the same commit twice")
        commits[commit.sha] = commit
    return commits


def _check_whole(answer: dict[str, Any], commits: dict[str, Commit], base: str, sha: str) -> None:
    """The base is where both histories meet, and the commits end at the one to be deployed."""
    if len(commits) != answer["total_commits"]:
        raise _strange(f"{len(commits)} of {answer['total_commits']} commits")
    if answer["status"] != "ahead" or answer["merge_base_commit"]["sha"] != base or sha not in commits:
        raise _strange("commits that do not lead from the base to the one to be deployed")


def _commit(item: dict[str, Any], namespace: str) -> Commit:
    message, signed = item["commit"]["message"], (item["commit"].get("verification") or {}).get("verified") is True
    author, committer = item["author"] or {}, item["committer"] or {}
    by_github = committer.get("login") == "web-flow"
    people = with_co_authors(
        _role(item, "author", namespace, attested=signed and (by_github or author.get("id") == committer.get("id"))),
        message,
    )
    return Commit(
        parse_sha(item["sha"]), people, message, _role(item, "committer", namespace, attested=signed and not by_github)
    )


def _role(item: dict[str, Any], role: str, namespace: str, *, attested: bool) -> Role:
    """The account that GitHub found for an address, where it found one, and the address.

    The address is only what the commit says, and so is the account that goes with it, until a signature attests it: by
    a key of that account, or by GitHub's own where the commit was made in the browser, by whoever had signed in.
    """
    account, email = item[role] or {}, (item["commit"][role] or {}).get("email")
    login, number = account.get("login"), account.get("id")
    if not all(value is None or isinstance(value, str) for value in (login, email)):
        raise TypeError
    kind: Literal["account", "login"] = "account" if attested and account.get("type") == "User" and number else "login"
    known = () if login is None else (Identity(kind, named(namespace, login, str(number or ""))),)
    return known if email is None else (*known, Identity("email", email))


def _strange(actual: str) -> Unattributed:
    return Unattributed(
        "GitHub's answer is not whole, or not what its documentation says.",
        hint="Try again, or run the gate in a full clone (fetch-depth: 0).",
        actual=actual,
    )
