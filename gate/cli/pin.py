"""The PIN of a token: from the environment, or from whoever sits at the terminal."""

import os
import sys

import click

from gate.errors import UsageError


def ask_pin() -> str:
    """The PIN in `GATE_PKCS11_PIN`, otherwise what is typed, unseen, at the terminal.

    Raises:
        UsageError: there is neither.
    """
    given = os.environ.get("GATE_PKCS11_PIN", "")
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "The key's token needs a PIN, and there is no terminal to ask for it.",
            hint="Set GATE_PKCS11_PIN, or add pin-source=file:/path to the URI.",
        )
    typed: str = click.prompt("PIN of the token", hide_input=True, err=True)
    return typed
