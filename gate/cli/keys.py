"""`gate keys`: make a key, show what the policy needs of it."""

import base64
from pathlib import Path

import click

from gate.keys import ALGORITHMS, Algorithm, PublicKey
from gate.signers import create_key, open_signer


@click.group()
def keys() -> None:
    """Make a key, or show the policy entry of its public part."""


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
    click.echo(_entry(create_key(uri, Path.cwd(), alg).public_key, approvers))


@keys.command()
@click.argument("uri")
@click.option("--approvers", default="", help="Whom the key may speak for, separated by commas, e.g. *@example.com.")
def show(uri: str, approvers: str) -> None:
    """Print the entry for the policy's `keys` of the key at URI.

    \b
    Example:
      gate keys show file:release.pem
    """
    click.echo(_entry(open_signer(uri, Path.cwd()).public_key, approvers))


def _entry(key: PublicKey, approvers: str) -> str:
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
