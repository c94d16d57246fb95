"""The policy's pin, as an option and as a variable."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gate.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def pin_option(command: F) -> F:
    """The `--policy-sha256` option."""
    return click.option(
        "--policy-sha256", envvar="GATE_POLICY_SHA256", help="The SHA-256 that the policy must have, or none."
    )(command)


def pinned(option: str | None) -> str:
    """What the option or the variable pins, "" for no pin.

    Raises:
        UsageError: it is empty, which is what an unset variable looks like, and pins nothing silently.
    """
    pin = os.environ.get("GATE_POLICY_SHA256") if option is None else option
    if pin is not None and not pin.strip():
        raise UsageError(
            "The policy's SHA-256 is empty.", hint="Is the variable that it comes from set? For no pin write none."
        )
    return "" if pin is None or pin.strip() == "none" else pin
