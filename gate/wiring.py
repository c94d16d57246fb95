"""From a policy's location to its parts: the one place that chooses backends, each opened when it is first needed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gate.errors import AuditUnavailable, PolicyError, ReplayUnavailable, UsageError
from gate.files import read_regular
from gate.policy import Policy
from gate.policyfile import check_pin, compile_policy
from gate.strictyaml import MAX_BYTES
from gate.text import printable
from gate.uris import parse_uri

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore


class LoadedPolicy(NamedTuple):
    """A compiled policy, and the folder that its relative paths start at (None: it came from S3)."""

    policy: Policy
    base: Path | None

    def replay_store(self) -> "ReplayStore":
        """The policy's replay store.

        Raises:
            PolicyError: its URI is not one that this gate knows.
        """
        from gate.replay import open_replay_store  # noqa: PLC0415 (paid for when used)

        try:
            return open_replay_store(self.policy.replay, self.base)
        except UsageError as error:
            raise _in_policy("replay", error) from None

    def audit_log(self) -> "AuditLog":
        """The policy's audit log.

        Raises:
            PolicyError: its URI is not one that this gate knows.
        """
        from gate.audit import open_audit_log  # noqa: PLC0415 (paid for when used)

        try:
            return open_audit_log(self.policy.audit, self.base)
        except UsageError as error:
            raise _in_policy("audit", error) from None


def load_policy(
    location: str, *, pin: str = "", untrusted: Sequence[Path] = (), unsafe_from_checkout: bool = False
) -> LoadedPolicy:
    """Read and compile the policy at `location`, a path or `s3://BUCKET/KEY?region=R`.

    `pin` is the SHA-256 (gate.sha256) that its bytes must have. `untrusted` are the folders that the commit under
    deployment decides on: a policy inside could have been changed by the very commit that it judges, so it needs its
    pin; a replay store or an audit log inside starts anew with each checkout. `unsafe_from_checkout` accepts both.

    Raises:
        PolicyError: it can't be read, is not the pinned one, lies in such a folder, or does not compile.
        UsageError: the pin is no SHA-256.
    """
    data, path = _read(location)
    folders = [] if unsafe_from_checkout else untrusted
    if pin:
        check_pin(data, pin)
    elif path and any(_is_below(Path(location), folder) for folder in folders):
        raise PolicyError(
            "The policy lies inside the checkout, where the commit that it judges can change it.",
            expected="a policy outside the checkout, or its --policy-sha256",
            actual=printable(location),
            hint="Keep it elsewhere, or review it and pin it: --policy-sha256 with the output of sha256sum.",
        )
    loaded = LoadedPolicy(_compiled(data, location), path.parent if path else None)
    for folder in folders:
        _check_state(loaded, folder)
    return loaded


def _compiled(data: bytes, location: str) -> Policy:
    try:
        return compile_policy(data)
    except PolicyError as error:
        name = printable(location.partition("?")[0].rpartition("/")[2], 60)
        raise PolicyError(
            f"{name}: {error.message}", hint=error.hint, expected=error.expected, actual=error.actual
        ) from None


def _check_state(loaded: LoadedPolicy, folder: Path) -> None:
    for field, text in (("replay", loaded.policy.replay), ("audit", loaded.policy.audit)):
        uri = parse_uri(text)
        if uri.scheme in ("sqlite", "file") and _is_below(uri.path(loaded.base), folder):
            raise PolicyError(
                f"The policy's {field} lies inside the checkout, and is lost or replaced with it.",
                expected="a place that no commit and no clean-up reaches",
                actual=printable(text),
                hint=f"Write {uri.scheme}:///absolute/path, outside of the checkout.",
            )


def _is_below(path: Path, folder: Path) -> bool:
    """True if whoever can write to `folder` decides what is found at `path`, be it only by a link."""
    path, folder = path.absolute(), folder.resolve()
    spellings = (Path(os.path.normpath(path)), path.parent.resolve() / path.name, path.resolve())
    return any(spelling.is_relative_to(folder) for spelling in spellings)


def open_history(checkout: Path | None, *, api_url: str, token: str) -> "History | None":
    """Whom to ask who wrote the commits: the checkout first, then the GitHub whose API is at `api_url`, if any."""
    sources: list[History] = []
    if checkout:
        from gate.forge.git import LocalGit  # noqa: PLC0415 (paid for when used)

        sources.append(LocalGit(checkout))
    if api_url:
        from gate.forge.github import GitHub  # noqa: PLC0415 (paid for when used)

        sources.append(GitHub(api_url, token or None))
    if not sources:
        return None
    from gate.forge.firstwhole import FirstWhole  # noqa: PLC0415 (paid for when used)

    return FirstWhole(sources)


def _in_policy(field: str, error: UsageError) -> PolicyError:
    return PolicyError(f"The policy's {field}: {error.message}", hint=error.hint)


def _read(location: str) -> tuple[bytes, Path | None]:
    if location.startswith("s3://"):
        return _read_s3(location), None
    try:
        path = Path(location).resolve()
        return read_regular(path, MAX_BYTES + 1), path
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        why = getattr(error, "strerror", None) or "not a path to a file"
        raise PolicyError(
            f"The policy {printable(location)} can't be read ({why}).",
            hint="`gate init` writes one. --policy or GATE_POLICY says where it is; to a deploy-bot, its bot.yaml.",
        ) from None


def _read_s3(location: str) -> bytes:
    from gate.audit.s3 import read_object  # noqa: PLC0415 (paid for when used)

    try:
        return read_object(parse_uri(location), MAX_BYTES + 1)
    except (AuditUnavailable, ReplayUnavailable, UsageError) as error:
        raise PolicyError(f"The policy can't be read from S3: {error.message}", hint=error.hint) from None
