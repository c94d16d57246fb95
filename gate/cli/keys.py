"""`gate keys`: make a key, show what the policy needs of it, rotate and revoke."""

import base64
import secrets
import shutil
import time
from pathlib import Path

import click

from gate import rotation
from gate.cli import complain, policy_option
from gate.cli.group import Group
from gate.cli.pin import ask_pin
from gate.errors import AuditUnavailable, GateError, PolicyError, UsageError
from gate.fields import seconds
from gate.keys import ALGORITHMS, Algorithm, PublicKey
from gate.policy import Policy
from gate.signers import create_key, open_signer
from gate.text import plural
from gate.wiring import LoadedPolicy, load_policy


@click.group(cls=Group)
def keys() -> None:
    """Make a key, show the policy entry of its public part, rotate and revoke keys."""


@keys.command()
@click.argument("uri")
@click.option("--alg", type=click.Choice(ALGORITHMS), default="Ed25519", show_default=True, help="The algorithm.")
@click.option("--approvers", default="", help="Whom the key may speak for, separated by commas, e.g. *@example.com.")
def new(uri: str, alg: Algorithm, approvers: str) -> None:
    """Make a key at URI, and print its entry for the policy's `keys`.

    \b
    Example:
      gate keys new file:release.pem --approvers "*@example.com"
    """
    click.echo(entry(create_key(uri, Path.cwd(), alg, ask_pin).public_key, approvers))


@keys.command()
@click.argument("uri")
@click.option("--approvers", default="", help="Whom the key may speak for, separated by commas, e.g. *@example.com.")
def show(uri: str, approvers: str) -> None:
    """Print the entry for the policy's `keys` of the key at URI.

    \b
    Example:
      gate keys show file:release.pem
    """
    click.echo(entry(open_signer(uri, Path.cwd(), ask_pin).public_key, approvers))


@keys.command()
@click.argument("uri")
@click.option("--kid", default="", help="The key to rotate.  [default: the only one that is trusted today]")
@click.option("--overlap", default="1d", show_default=True, help="How long both keys are trusted, e.g. 4h.")
@policy_option
def rotate(uri: str, kid: str, overlap: str, policy: str) -> None:
    """Put the key at URI into the policy beside the one that it follows.

    Both are trusted while they overlap: publish the policy, then let the signers change over. What the old key signed
    by the end stays good until it expires. The policy before and after is archived beside the log (gate policy
    archive). Make the new key first: gate keys new.

    \b
    Example:
      gate keys rotate file:2027.pem --overlap 4h
    """
    path, before = _editable(policy)
    length = seconds(overlap)
    if length is None:
        raise UsageError("--overlap is not a duration.", expected="e.g. 4h or 1d", actual=overlap)
    now = int(time.time())
    old = kid or _only_trusted(before.policy, now)
    key = open_signer(uri, Path.cwd(), ask_pin).public_key
    _succeed(path, before, rotation.rotate(before.data.decode(), old, key, now, length))
    click.echo(f"{key.thumbprint} is trusted from now on, {old} for {overlap} more. Publish {path}.")


@keys.command()
@click.argument("kid")
@policy_option
def revoke(kid: str, policy: str) -> None:
    """Trust the key KID for nothing any more, from the moment that the policy is published.

    Approvals that it signed and that were not used yet are refused from then on.

    \b
    Example:
      gate keys revoke prod-2026-11
    """
    path, before = _editable(policy)
    _succeed(path, before, rotation.revoke(before.data.decode(), kid, int(time.time())))
    click.echo(f"{kid} is revoked. Publish {path}; a gate that reads the old policy still trusts the key.")


def _editable(location: str) -> tuple[Path, LoadedPolicy]:
    """The policy and its path. One in S3 is edited where it is kept, and published again."""
    if "://" in location:
        raise UsageError("Only a policy in a file can be changed here.", hint="Change your copy, and publish that.")
    return Path(location).resolve(), load_policy(location)


def _only_trusted(policy: Policy, now: int) -> str:
    trusted = [kid for kid, key in policy.keys.items() if key.in_window(now)]
    if len(trusted) != 1:
        raise UsageError(f"{plural(len(trusted), 'key')} are trusted today.", hint="Say which one to rotate: --kid.")
    return trusted[0]


def _succeed(path: Path, before: LoadedPolicy, after: str) -> None:
    """Archive the policy as it was and as it is to be, and write it. Where the log can't be written from here, what the
    policy was is kept beside it: no key is rotated or revoked any later for that."""
    try:
        log = before.audit_log()
        for data in (before.data, after.encode()):
            log.archive(data)
    except GateError as error:
        kept = path.with_name(f"{path.stem}-{before.policy.sha256[:12]}{path.suffix}")
        _write(kept, before.data, like=path)
        hint = f"Where it can be written: gate policy archive --policy {kept}, and the same for {path}."
        complain(AuditUnavailable(f"The policies are not archived. {error.message}", hint=hint))
    _write(path, after.encode(), like=path)


def _write(path: Path, data: bytes, like: Path) -> None:
    """Write a policy whole or not at all, with the mode of `like`."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with new.open("xb") as file:
            file.write(data)
        shutil.copymode(like, new)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise PolicyError(f"The policy {path} can't be written ({error.strerror}).") from None


def entry(key: PublicKey, approvers: str) -> str:
    """The lines of the policy's `keys` for `key`, which may speak for `approvers` (separated by commas)."""
    named = [name.strip() for name in approvers.split(",") if name.strip()]
    listed = ", ".join(f'"{name}"' for name in named) or '"*@example.com"'
    return "\n".join(
        [
            f"  - kid: {key.thumbprint}",
            f"    alg: {key.alg}",
            f"    public_key: {base64.b64encode(key.spki).decode('ascii')}",
            f"    approvers: [{listed}]{'' if named else '  # whom this key may speak for'}",
        ]
    )
