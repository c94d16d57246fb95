"""From a policy's location to its parts: the one place that chooses backends, each opened when it is first needed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gate.authorities import read_authorities
from gate.errors import AuditUnavailable, PolicyError, ReplayUnavailable, UsageError
from gate.files import is_decided_by, read_regular
from gate.policy import Policy
from gate.policyfile import check_pin, compile_policy
from gate.strictyaml import MAX_BYTES
from gate.text import printable
from gate.uris import Uri, parse_uri

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.forge import History
    from gate.replay import ReplayStore


_EXAMPLES = {
    "replay": "sqlite:///var/lib/gate/replay.db",
    "audit": "file:///var/lib/gate/audit",
    "ca": "/etc/ssl/acme-ca.pem",
}


class LoadedPolicy(NamedTuple):
    """A compiled policy, the folder that its relative paths start at, the bytes that it was compiled from, and the file
    of the CAs by which servers are believed. No folder: it came from S3, or lies where the commit under deployment
    decides which folder that is. No file: those that everybody believes."""

    policy: Policy
    base: Path | None
    data: bytes
    ca: Path | None = None

    def replay_store(self) -> "ReplayStore":
        """The policy's replay store.

        Raises:
            PolicyError: its URI is not one that this gate knows.
        """
        from gate.replay import open_replay_store  # noqa: PLC0415 (paid for when used)

        try:
            return open_replay_store(self.policy.replay, self.base, self.ca)
        except UsageError as error:
            raise _in_policy("replay", error) from None

    def audit_log(self) -> "AuditLog":
        """The policy's audit log.

        Raises:
            PolicyError: its URI is not one that this gate knows.
        """
        from gate.audit import open_audit_log  # noqa: PLC0415 (paid for when used)

        try:
            return open_audit_log(self.policy.audit, self.base, self.ca)
        except UsageError as error:
            raise _in_policy("audit", error) from None


def load_policy(
    location: str,
    *,
    pin: str = "",
    untrusted: Sequence[Path] = (),
    unsafe_from_checkout: bool = False,
    ca_file: Path | None = None,
) -> LoadedPolicy:
    """Read and compile the policy at `location`, a path or `s3://BUCKET/KEY?region=R`.

    `pin` is the SHA-256 (gate.sha256) that its bytes must have. `untrusted` are the folders that the commit under
    deployment decides on: a policy inside could have been changed by the very commit that it judges, so it needs its
    pin; a replay store or an audit log inside starts anew with each checkout. `unsafe_from_checkout` accepts both.
    `ca_file` takes the place of the policy's own `ca`.

    Raises:
        PolicyError: it can't be read, is not the pinned one, lies in such a folder, or does not compile; or what it
            names is of no use.
        UsageError: the pin is no SHA-256, or `ca_file` is of no use.
    """
    if ca_file:
        _check_ca_file(ca_file, () if unsafe_from_checkout else untrusted)
    data, path = _read(location, ca_file)
    folders = [] if unsafe_from_checkout else untrusted
    inside = path is not None and _is_decided_by(Path(location), folders)
    if pin:
        check_pin(data, pin)
    elif inside:
        raise PolicyError(
            "The policy lies inside the checkout, where the commit that it judges can change it.",
            expected="a policy outside the checkout, or its --policy-sha256",
            actual=printable(location),
            hint="Keep it elsewhere, or review it and pin it: --policy-sha256 with the output of sha256sum.",
        )
    loaded = LoadedPolicy(_compiled(data, location), None if path is None or inside else path.parent, data)
    if folders:
        _check_places(loaded, folders, is_inside=inside)
    return loaded._replace(ca=ca_file or _authorities(loaded))


def _check_ca_file(path: Path, folders: Sequence[Path]) -> None:
    if _is_decided_by(path, folders):
        raise UsageError(
            "The CA file lies inside the checkout, where the commit under deployment decides who is believed.",
            expected="a file that no commit reaches, and no link from there leads to",
            actual=printable(str(path)),
            hint="Put it where only an administrator of the machine can write, and name that place.",
        )
    read_authorities(path)


def _authorities(loaded: LoadedPolicy) -> Path | None:
    """The file of CAs that the policy names, which must be of use."""
    try:
        found = _ca_uri(loaded.policy.ca).option_path("ca", loaded.base)
        if found:
            read_authorities(found)
    except UsageError as error:
        raise _in_policy("ca", error) from None
    return found


def _ca_uri(ca: str) -> Uri:
    """The policy's `ca` as an option, which is read by the rules of every other."""
    return Uri(ca, "policy", "", {"ca": ca} if ca else {})


def _is_decided_by(path: Path, folders: Sequence[Path]) -> bool:
    try:
        return is_decided_by(path, folders)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        raise PolicyError(
            f"It can't be told where {printable(str(path))} leads.", hint="Name it without links."
        ) from None


def _check_places(loaded: LoadedPolicy, folders: Sequence[Path], *, is_inside: bool) -> None:
    """Check that nothing that the policy names lies where the commit decides, or is found only from there."""
    policy = loaded.policy
    named = {"replay": partial(parse_uri, policy.replay), "audit": partial(parse_uri, policy.audit)}
    for field, uri in (named | {"ca": partial(_ca_uri, policy.ca)}).items():
        try:
            paths = [*uri().paths(loaded.base)]
        except UsageError as error:
            if not is_inside:
                raise _in_policy(field, error) from None
            raise PolicyError(
                f"The policy lies inside the checkout, and its {field} has no absolute path: the commit that it judges "
                "decides where a relative one starts.",
                expected=_EXAMPLES[field],
                actual=error.message,
                hint="Write absolute paths in it, those in options included; or keep the policy elsewhere.",
            ) from None
        for path in [path for path in paths if _is_decided_by(path, folders)]:
            raise PolicyError(
                f"The policy's {field} lies inside the checkout, and is lost or replaced with it.",
                expected="a place that no commit and no clean-up reaches, and no link from there leads to",
                actual=printable(str(path)),
                hint="Write an absolute path outside of the checkout, without links through it.",
            )


def _compiled(data: bytes, location: str) -> Policy:
    try:
        return compile_policy(data)
    except PolicyError as error:
        name = printable(location.partition("?")[0].rpartition("/")[2], 60)
        raise PolicyError(
            f"{name}: {error.message}", hint=error.hint, expected=error.expected, actual=error.actual
        ) from None


def open_history(
    checkout: Path | None, *, api_url: str, token: str, forge_first: bool = False, ca: Path | None = None
) -> "History | None":
    """Whom to ask who wrote the commits: the checkout first, then the GitHub whose API is at `api_url`, if any,
    believed by the CAs in the file `ca`; with `forge_first` the other way round: only a forge attests accounts."""
    sources: list[History] = []
    if checkout:
        from gate.forge.git import LocalGit  # noqa: PLC0415 (paid for when used)

        sources.append(LocalGit(checkout))
    if api_url:
        from gate.forge.github import GitHub  # noqa: PLC0415 (paid for when used)

        sources.append(GitHub(api_url, token or None, ca=ca))
    if not sources:
        return None
    if forge_first:
        sources.reverse()
    from gate.forge.firstwhole import FirstWhole  # noqa: PLC0415 (paid for when used)

    return FirstWhole(sources)


def _in_policy(field: str, error: UsageError) -> PolicyError:
    return PolicyError(f"The policy's {field}: {error.message}", hint=error.hint)


def _read(location: str, ca_file: Path | None) -> tuple[bytes, Path | None]:
    if location.startswith("s3://"):
        return _read_s3(location, ca_file), None
    try:
        path = Path(location).resolve()
        return read_regular(path, MAX_BYTES + 1), path
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        why = getattr(error, "strerror", None) or "not a path to a file"
        raise PolicyError(
            f"The policy {printable(location)} can't be read ({why}).",
            hint="`gate init` writes one. --policy or GATE_POLICY says where it is; to a deploy-bot, its bot.yaml.",
        ) from None


def _read_s3(location: str, ca_file: Path | None) -> bytes:
    from gate.audit.s3 import read_object  # noqa: PLC0415 (paid for when used)

    try:
        return read_object(parse_uri(location).believing(ca_file, None), MAX_BYTES + 1)
    except (AuditUnavailable, ReplayUnavailable, UsageError) as error:
        raise PolicyError(f"The policy can't be read from S3: {error.message}", hint=error.hint) from None
