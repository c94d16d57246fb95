"""A SHA-256 in the forms in which people have it: a policy's pin, the digest of an API token."""

import re

from gate.errors import UsageError
from gate.text import printable

_FORMS = re.compile(r"\\?(?:sha256:)?([0-9a-f]{64})(?: [ *][^\n]+)?", re.IGNORECASE)


def parse_sha256(text: str) -> str:
    """The digest, in lower case, of 64 hex digits in either case, as `sha256sum` prints them (with a file's name and a
    line end), or with `sha256:` in front.

    Raises:
        UsageError: it is none.
    """
    found = _FORMS.fullmatch(text.strip())
    if not found:
        raise UsageError(
            "That is no SHA-256.",
            expected="64 hex digits, as sha256sum prints them, or after sha256:",
            actual=printable(text, 100) or "nothing",
            hint="For a policy: sha256sum gate.yaml",
        )
    return found[1].lower()
