"""What an approval is scoped to: `deploy:<repository>:<sha>` (docs/token.md, "Scope")."""

import re
from typing import NamedTuple

from gate.errors import UsageError
from gate.text import printable

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+"
_REPOSITORY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})+")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ENVIRONMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")


class Scope(NamedTuple):
    """One repository, in lower case, and one whole commit id. Matching is equality of both."""

    repository: str
    sha: str

    def __str__(self) -> str:
        return f"deploy:{self.repository}:{self.sha}"


def parse_repository(text: str) -> str:
    """`owner/name`, or a longer path, in lower case.

    Raises:
        UsageError: it is not one; also over 255 characters, which no forge allows.
    """
    if len(text) > 255 or not _REPOSITORY.fullmatch(text):
        raise UsageError(
            "The repository is not owner/name.",
            expected="segments of A-Z a-z 0-9 . _ - joined by /, none of them . or ..",
            actual=printable(text),
            hint="Give it as the forge writes it, e.g. acme/shop. If that holds other characters (~alice/shop), choose "
            "a name, and use it everywhere: --repository, and in the policy.",
        )
    return text.lower()


def parse_sha(text: str) -> str:
    """A whole commit id.

    Raises:
        UsageError: it is abbreviated, in upper case, a branch, a tag or anything else.
    """
    if not _SHA.fullmatch(text):
        raise UsageError(
            "The sha is not a whole commit id.",
            expected="40 or 64 lower-case hex digits",
            actual=printable(text, 100),
            hint="Branches, tags and abbreviations can move. Use the output of: git rev-parse HEAD",
        )
    return text


def parse_environment(text: str) -> str:
    """The name of an environment: 1 to 100 of `A-Za-z0-9._-`, so that it is safe as one segment of a path.

    Raises:
        UsageError: it is not one.
    """
    if not _ENVIRONMENT.fullmatch(text):
        raise UsageError(
            "The environment's name is not usable.",
            expected="1 to 100 of A-Z a-z 0-9 . _ -, and not . or ..",
            actual=printable(text, 120),
            hint="Use the name that stands in the policy, or list this one there, under ci_names.",
        )
    return text


def parse_scope(text: str) -> Scope:
    """The scope that a token's claim holds.

    Raises:
        UsageError: it is malformed.
    """
    action, _, rest = text.partition(":")
    repository, _, sha = rest.partition(":")
    if action != "deploy":
        raise UsageError(
            "The scope does not start with deploy:.",
            expected="deploy:<repository>:<sha>",
            actual=printable(text),
        )
    return Scope(parse_repository(repository), parse_sha(sha))
