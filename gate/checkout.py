"""The checkout: the work tree that a deployment starts from."""

from itertools import islice
from pathlib import Path

from gate.cloneurl import repository_path
from gate.errors import Denied, UsageError
from gate.git import SECONDS, GitFailed, output
from gate.models import Check
from gate.scope import parse_repository, parse_sha
from gate.text import printable
from gate.verification import CHECKS

_GLANCE = 1.0  # seconds to look for changed files, where the policy does not ask for it
_MOST_NAMED = 3


def find(start: Path) -> Path | None:
    """The top of the work tree that `start` lies in, None outside of every one."""
    try:
        folder = start.resolve()
    except RuntimeError:  # links in a circle, before Python 3.13
        return None
    return next((top for top in (folder, *folder.parents) if (top / ".git").exists()), None)


def head(checkout: Path) -> str:
    """The whole id of the commit that the work tree with this top stands at.

    Raises:
        Denied: `checkout.mismatch`: there is no commit yet, or git can't read the repository.
    """
    try:
        return parse_sha(output(checkout, "rev-parse", "--verify", "HEAD^{commit}").rstrip("\n"))
    except (GitFailed, UsageError) as error:
        why = str(error) if isinstance(error, GitFailed) else "HEAD is not a commit"
        raise Denied(
            "checkout.mismatch",
            f"It can't be told which commit the checkout stands at: {why}.",
            expected="a checkout with a commit",
            actual=why,
            hint="Check out the commit that is to be deployed, with git installed.",
        ) from None


def check_checkout(checkout: Path | None, sha: str, *, clean: bool) -> Check:
    """The check that the work tree, where there is one, stands at `sha`: a warning where tracked files are not as in
    that commit, and a denial where it must be `clean`.

    Raises:
        Denied: `checkout.mismatch`.
    """
    if checkout is None:
        if clean:
            raise _unclean("no checkout")
        return Check("checkout", "skip", "", "there is none")
    actual = head(checkout)
    if actual != sha:
        raise Denied(
            "checkout.mismatch",
            "The checkout does not stand at the commit that is to be deployed.",
            expected=sha,
            actual=actual,
            hint="Check out the approved commit, and nothing else, before the gate.",
        )
    changed = _changed(checkout, sha, clean=clean)
    return Check(
        "checkout", "warn" if changed else "pass", CHECKS["checkout"], f"{sha}{changed and f', but {changed}'}"
    )


def _changed(checkout: Path, sha: str, *, clean: bool) -> str:
    """Which tracked files are not those of the commit, in words; "" if all are, or if that can't be told in time."""
    from gate.worktree import changes  # noqa: PLC0415 (paid for when used)

    try:
        names = [printable(name, 80) for name in islice(changes(checkout, sha, SECONDS if clean else _GLANCE), 4)]
    except GitFailed as error:
        if clean:
            raise _unclean(f"it can't be told whether there are: {error}") from None
        return ""
    more = " and more" if len(names) > _MOST_NAMED else ""
    changed = f"changed: {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
    if changed and clean:
        raise _unclean(changed)
    return changed


def _unclean(actual: str) -> Denied:
    return Denied(
        "checkout.mismatch",
        "The policy asks for a checkout without changed files.",
        expected="every tracked file as in the commit",
        actual=actual,
        hint="Run the gate in the checkout that is deployed, before any step that changes its files: git status.",
    )


def remote_repository(checkout: Path) -> str | None:
    """`owner/name`, in lower case, of the forge's repository that the work tree was cloned from.

    It is what the remote `origin` says, which whoever can write to the checkout may change: good as a default, not as
    a proof. None where it names no forge, or several.
    """
    try:
        urls = output(checkout, "config", "--local", "--no-includes", "--get-all", "remote.origin.url").splitlines()
        return parse_repository(repository_path(urls[0])) if len(urls) == 1 else None
    except (GitFailed, UsageError):
        return None
