"""The file in which `gate verify` says that it allowed (docs/ci.md). An exit code alone is no evidence: the loader can
end any program with 0 before it begins (LD_TRACE_LOADED_OBJECTS)."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from gate.errors import GateError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

_NONCE = re.compile(r"[A-Za-z0-9._-]{16,128}")


def result_options(command: F) -> F:
    """The options of a command that can leave a result."""
    for option in (
        click.option("--result-nonce", default="", metavar="NONCE", help="What the result repeats: a random text."),
        click.option(
            "--result",
            type=click.Path(path_type=Path),
            help="Write `allow NONCE` to this file if the deployment may run, and nothing otherwise.",
        ),
    ):
        command = option(command)
    return command


class ResultFile(NamedTuple):
    """Where an allow is written to, None for nowhere, and the nonce by which its reader tells it from an older one."""

    path: Path | None
    nonce: str

    def check(self) -> None:
        """Check the two options.

        Raises:
            UsageError: only one was given, or the nonce is too short to be random, or not plain.
        """
        if (self.path or self.nonce) and not (self.path and _NONCE.fullmatch(self.nonce)):
            raise UsageError(
                "A result takes both a file and a nonce.",
                expected="--result FILE --result-nonce NONCE, a random one of 16 to 128 of A-Z a-z 0-9 . _ -",
                hint="For example: read -r nonce </proc/sys/kernel/random/uuid",
            )

    def write(self) -> None:
        """Say that the deployment may run, in a new file with mode 0600 that takes the place of whatever has its name.

        Raises:
            GateError: it can't be written.
        """
        if not self.path:
            return
        new = None
        try:
            with tempfile.NamedTemporaryFile("w", prefix=".gate-result-", dir=self.path.parent, delete=False) as file:
                new = Path(file.name)
                file.write(f"allow {self.nonce}\n")
            new.replace(self.path)
        except (OSError, ValueError):
            if new:
                new.unlink(missing_ok=True)
            raise GateError(
                "The file of --result can't be written.",
                hint="The decision stands in the audit log. Check the folder and the disk, and ask for a new approval.",
            ) from None
