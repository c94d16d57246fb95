"""A commit as git stores it, proved by its own id (gitformat-commit; git-hash-object)."""

import hashlib
import re
from typing import NamedTuple

from gate.forge import Unattributed
from gate.forge.authorship import Role, everybody
from gate.models import Commit, Identity

_PERSON = re.compile(rb"[^<>\n]*<([^<>\n]*)>(?: (-?[0-9]{1,18}) [+-][0-9]{4})?")
_HEX = re.compile(rb"[0-9a-f]+")
_ASCII = "".join(chr(code) for code in range(33, 127) if chr(code) not in "\\~")  # two that Shift JIS reuses


class CommitObject(NamedTuple):
    """A commit, its parents' ids in order, and when it was committed (epoch seconds; 0 where it does not say)."""

    commit: Commit
    parents: tuple[str, ...]
    date: int


def parse_commit(sha: str, content: bytes) -> CommitObject:
    """The commit `sha`, whose bytes are said to be `content`.

    Raises:
        Unattributed: they are not, or are no commit that git would write.
    """
    _check_id(sha, content)
    head, _, message = content.partition(b"\n\n")
    headers = [line.partition(b" ")[::2] for line in head.split(b"\n") if line[:1] not in (b" ", b"")]
    author, committer = _only(sha, headers, b"author"), _only(sha, headers, b"committer")
    _check_encoding(sha, headers)
    people = everybody(_role(author), _role(committer), message.decode("utf-8", "replace"))
    return CommitObject(Commit(sha, people), _parents(sha, headers), _date(committer))


def _check_id(sha: str, content: bytes) -> None:
    algorithm = "sha1" if len(sha) == 40 else "sha256"
    header = b"commit %d\0" % len(content)
    if hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest() != sha:  # it is what git uses
        raise _bad(sha, "its content does not hash to its id")


def _only(sha: str, headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    values = [value for name, value in headers if name == wanted]
    if len(values) != 1:
        raise _bad(sha, f"it has {len(values)} {wanted.decode()}s")
    return values[0]


def _parents(sha: str, headers: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    parents = [value for name, value in headers if name == b"parent"]
    if not all(len(parent) == len(sha) and _HEX.fullmatch(parent) for parent in parents):
        raise _bad(sha, "a parent of it is no commit id")
    return tuple(parent.decode("ascii") for parent in parents)


def _check_encoding(sha: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Addresses and trailers are ASCII, and so is every encoding's lower half but for a few, which are refused."""
    for name, value in headers:
        if name == b"encoding" and not _keeps_ascii(value):
            raise _bad(sha, "its text is in an encoding that can't be read")


def _keeps_ascii(encoding: bytes) -> bool:
    try:
        return _ASCII.encode(encoding.decode("ascii")) == _ASCII.encode("ascii")
    except (LookupError, ValueError):
        return False


def _role(person: bytes) -> Role:
    match = _PERSON.fullmatch(person)
    return (Identity("email", match[1].decode("utf-8", "replace")),) if match else ()


def _date(committer: bytes) -> int:
    match = _PERSON.fullmatch(committer)
    return int(match[2] or 0) if match else 0


def _bad(sha: str, why: str) -> Unattributed:
    return Unattributed(
        f"Commit {sha[:12]} can't be trusted: {why}.",
        hint="Clone again. If that does not help, `git fsck` and the forge's support can say more.",
        actual=f"{sha}: {why}",
    )
