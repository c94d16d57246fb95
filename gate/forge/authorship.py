"""Who had a hand in a commit besides its committer: its author, and the co-authors that its message names."""

import re

from gate.models import Identity

Role = tuple[Identity, ...]

_CO_AUTHOR = re.compile(r"\s*co-authored-by\s*:(.*)", re.IGNORECASE | re.ASCII)
_FOLD = re.compile(r"\n[ \t\r]+(?=[^ \t\r\n])")  # what git takes for white space
_ADDRESS = re.compile(r"[^<>]*<([^<>]*)>[^<>]*")


def with_co_authors(author: Role, message: str) -> tuple[Role, ...]:
    """Each role once: the author, and then the co-authors."""
    return tuple(dict.fromkeys((author, *_co_authors(message))))


def _co_authors(message: str) -> list[Role]:
    """The co-authors, in whatever paragraph they stand. Forges read these trailers at the end of the message only; a
    squash merge can move them.

    Lines are read twice: as git reads trailers, where only LF ends a line and white space continues the one before,
    and as other tools do, where VT, NEL or U+2028 end one too. What either finds counts.

    Without any `<…>` it is no trailer to a forge, and a sentence to us: otherwise one such line would leave nobody to
    approve its branch. With brackets that can't be read it is a role that nobody can be told from.
    """
    lines = [*_FOLD.sub(" ", message).split("\n"), *message.splitlines()]
    found = map(_CO_AUTHOR.fullmatch, dict.fromkeys(lines))
    return [_by_address(match[1]) for match in found if match and set(match[1]) & set("<>")]


def _by_address(text: str) -> Role:
    match = _ADDRESS.fullmatch(text)
    return (Identity("email", match[1].strip()),) if match else ()
