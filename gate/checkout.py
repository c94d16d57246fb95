"""The checkout: the work tree that a deployment starts from."""

import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gate.cloneurl import repository_path
from gate.errors import Denied, UsageError
from gate.git import SECONDS, GitFailed, output
from gate.models import Check
from gate.scope import parse_repository, parse_sha
from gate.text import printable
from gate.trace import EXPECTED, CheckName

_GLANCE = 1.0  # seconds to look for changed files, where the policy does not ask for it
_MOST_NAMED = 3
_WHOLE_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[\w.+/-]{1,200}")  # of a tag; nothing that git could calculate with


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
        "checkout",
        "warn" if changed else "pass",
        EXPECTED[CheckName.CHECKOUT],
        f"{sha}{changed and f', but {changed}'}",
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


def commit_named(checkout: Path, name: str) -> str:
    """The whole id of the commit that `name` is, be it the commit's own id, an annotated tag's, or the name of a tag;
    `name` itself where a shallow clone can't tell.

    Raises:
        UsageError: the clone holds no such commit.
    """
    revision = name if _WHOLE_ID.fullmatch(name) else f"refs/tags/{name}"
    if _PLAIN_NAME.fullmatch(name):
        with suppress(GitFailed, UsageError):
            return parse_sha(
                output(checkout, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").rstrip("\n")
            )
    if _may_lack_commits(checkout):
        return name
    raise UsageError(
        "The clone here holds no such commit.",
        expected="the whole id of a commit, or a tag",
        actual=printable(name, 100),
        hint="Is it the id that you were asked about? A newer commit takes a `git fetch` first.",
    )


def _may_lack_commits(checkout: Path) -> bool:
    try:
        return output(checkout, "rev-parse", "--is-shallow-repository").strip() != "false"
    except GitFailed:
        return True


def origin_repository(checkout: Path) -> str:
    """`owner/name`, in lower case, of the forge's repository that the work tree was cloned from.

    It is what the remote `origin` says, which whoever can write to the checkout may change: good as a default, not as
    a proof.

    Raises:
        UsageError: there is no origin, or it has several addresses, or one that makes no name.
    """
    try:
        urls = output(checkout, "config", "--local", "--no-includes", "--get-all", "remote.origin.url").splitlines()
    except GitFailed:
        urls = []
    if len(urls) != 1:
        what = "several addresses" if urls else "no address that git can read"
        raise UsageError(f"The checkout's origin has {what}.", hint="Say which repository it is: --repository.")
    path = repository_path(urls[0])
    try:
        return parse_repository(path)
    except UsageError as error:
        raise UsageError(
            "The checkout's origin has a name that the gate can't use.",
            expected=error.expected,
            actual=printable(path or urls[0].rpartition("@")[2].partition("?")[0]),  # without what may be a password
            hint="Choose a name, and use it everywhere: --repository, and in the policy.",
        ) from None


def remote_repository(checkout: Path) -> str | None:
    """`origin_repository`, or None."""
    try:
        return origin_repository(checkout)
    except UsageError:
        return None
