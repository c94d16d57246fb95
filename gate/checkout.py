"""The checkout: the work tree that a deployment starts from."""

from pathlib import Path

from gate.cloneurl import repository_path
from gate.errors import Denied, UsageError
from gate.git import GitFailed, output
from gate.scope import parse_repository, parse_sha


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
