"""From a policy's location to its parts: the one place that chooses backends, each opened when it is first needed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gate.errors import AuditUnavailable, PolicyError, ReplayUnavailable, UsageError
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
    location: str, *, pin: str = "", checkout: Path | None = None, unsafe_from_checkout: bool = False
) -> LoadedPolicy:
    """Read and compile the policy at `location`, a path or `s3://BUCKET/KEY?region=R`.

    `pin` is the SHA-256 (hex) that its bytes must have. A policy inside `checkout`, the tree under deployment, could
    have been changed by the very commit that it judges: it needs its pin, or `unsafe_from_checkout`.

    Raises:
        PolicyError: it can't be read, is not the pinned one, lies in the checkout, or does not compile.
    """
    data, path = _read(location)
    if pin:
        check_pin(data, pin)
    elif path and checkout and not unsafe_from_checkout and _is_below(location, checkout.resolve()):
        raise PolicyError(
            "The policy lies inside the checkout, where the commit that it judges can change it.",
            expected="a policy outside the checkout, or its --policy-sha256",
            actual=printable(location),
            hint="Keep it elsewhere, or review it and pin it: --policy-sha256 with the output of sha256sum.",
        )
    return LoadedPolicy(compile_policy(data), path.parent if path else None)


def _is_below(location: str, folder: Path) -> bool:
    """True if whoever can write to `folder` decides what is read at `location`, be it only by a link."""
    path = Path(location).absolute()
    spellings = (Path(os.path.normpath(path)), path.parent.resolve() / path.name, path.resolve())
    return any(spelling.is_relative_to(folder) for spelling in spellings)


def open_history(checkout: Path | None, *, api_url: str, token: str) -> "History | None":
    """Whom to ask who wrote the commits: the checkout first, then GitHub's API where there is its URL or a token."""
    sources: list[History] = []
    if checkout:
        from gate.forge.git import LocalGit  # noqa: PLC0415 (paid for when used)

        sources.append(LocalGit(checkout))
    if api_url or token:
        from gate.forge.github import GitHub  # noqa: PLC0415 (paid for when used)

        sources.append(GitHub(api_url or "https://api.github.com", token or None))
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
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), path
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise PolicyError(
            f"The policy {printable(location)} can't be read ({why}).",
            hint="`gate init` writes one; --policy or GATE_POLICY says where it is.",
        ) from None


def _read_s3(location: str) -> bytes:
    from gate.audit.s3 import read_object  # noqa: PLC0415 (paid for when used)

    try:
        return read_object(parse_uri(location), MAX_BYTES + 1)
    except (AuditUnavailable, ReplayUnavailable, UsageError) as error:
        raise PolicyError(f"The policy can't be read from S3: {error.message}", hint=error.hint) from None
