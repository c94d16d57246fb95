"""Who had a hand in a commit: its author, its committer, and the co-authors that its message names."""

import re

from gate.models import Identity
from gate.people import is_forge

Role = tuple[Identity, ...]

_CO_AUTHOR = re.compile(r"\s*co-authored-by\s*:(.*)", re.IGNORECASE | re.ASCII)
_ADDRESS = re.compile(r"[^<>]*<([^<>]*)>[^<>]*")


def everybody(author: Role, committer: Role, message: str) -> tuple[Role, ...]:
    """Each role once. A committer that is the forge itself is nobody; an author that it is stays, and nobody can
    be shown not to be behind it."""
    roles = [author, *([] if is_forge(committer) else [committer]), *_co_authors(message)]
    return tuple(dict.fromkeys(roles))


def _co_authors(message: str) -> list[Role]:
    """The co-authors, in whatever paragraph they stand. Forges read these trailers at the end of the message only; a
    squash merge can move them.

    Without any `<…>` it is no trailer to a forge, and a sentence to us: otherwise one such line would leave nobody to
    approve its branch. With brackets that can't be read it is a role that nobody can be told from.
    """
    found = (_CO_AUTHOR.fullmatch(line) for line in message.splitlines())
    return [_by_address(match[1]) for match in found if match and set(match[1]) & set("<>")]


def _by_address(text: str) -> Role:
    match = _ADDRESS.fullmatch(text)
    return (Identity("email", match[1].strip()),) if match else ()
