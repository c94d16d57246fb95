"""Secrets of the deploy-bot: never in its configuration, only where to find them: `env:NAME` or `file:/path`."""

import os
from pathlib import Path
from typing import NamedTuple

from gate.errors import PolicyError, UsageError
from gate.fields import bad, word
from gate.files import read_regular
from gate.strictyaml import Node
from gate.uris import parse_uri

_LIMIT = 64 * 1024


class Secret(NamedTuple):
    """Where a secret is; showing it shows nothing else."""

    uri: str
    base: Path | None

    def read(self) -> str:
        """The secret, without white space around it.

        Raises:
            UsageError: it is not there, or empty.
        """
        uri = parse_uri(self.uri)
        if uri.scheme == "env":
            text = os.environ.get(uri.rest, "")
        else:
            try:
                text = read_regular(uri.path(self.base), _LIMIT).decode("utf-8")
            except (OSError, ValueError):
                raise UsageError(f"The secret {self.uri} can't be read.", hint="Check the path and its mode.") from None
        if not text.strip():
            raise UsageError(f"The secret {self.uri} is empty.", hint="Set it before the bot starts.")
        return text.strip()


def secret(node: Node, base: Path | None) -> Secret:
    """The secret that a field names; relative paths start at `base`.

    Raises:
        PolicyError: it names none; the text is not repeated, for it may be the secret itself.
    """
    text = word(node)
    if not text.startswith(("env:", "file:")):
        raise bad(node, "this must say where the secret is: env:NAME or file:/path.", "Never write the secret here.")
    try:
        parse_uri(text)
    except UsageError as error:
        raise PolicyError(f"Line {node.line}: {error.message}") from None
    return Secret(text, base)
