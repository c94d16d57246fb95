"""A commit as git stores it, proved by its own id (gitformat-commit; git-hash-object)."""

import hashlib
import re
from typing import NamedTuple

from gate.forge import Unattributed
from gate.forge.authorship import Role, with_co_authors
from gate.models import Commit, Identity

# What git reads, and fsck demands, stands first and in this order: a `parent` further down is none to git.
_HEAD = re.compile(
    rb"tree [0-9a-f]+\n(?P<parents>(?:parent (?s:.*?)\n)?)author (?P<author>[^\n]*)\n"
    rb"committer (?P<committer>[^\n]*)(?P<rest>(?:\n(?s:.*))?)"
)
_FIRST = {b"tree", b"parent", b"author", b"committer"}
_PERSON = re.compile(rb"[^<>\n]*<([^<>\n]*)>(?: (-?[0-9]{1,18}) [+-][0-9]{4})?")
_PARENT = re.compile(rb"parent ([0-9a-f]+)")
_ASCII = bytes(code for code in range(1, 128) if chr(code) not in "\\~")  # two that Shift JIS reuses


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
    found = _HEAD.fullmatch(head)
    if found is None:
        raise _bad(sha, "its headers are not those that git writes, in git's order")
    _check_rest(sha, found["rest"].split(b"\n"))
    people = with_co_authors(_role(found["author"]), message.decode("utf-8", "replace"))
    commit = Commit(sha, people, committer=_role(found["committer"]))
    return CommitObject(commit, _parents(sha, found["parents"]), _date(found["committer"]))


def _check_id(sha: str, content: bytes) -> None:
    algorithm = "sha1" if len(sha) == 40 else "sha256"
    header = b"commit %d\0" % len(content)
    if hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest() != sha:  # it is what git uses
        raise _bad(sha, "its content does not hash to its id")


def _parents(sha: str, lines: bytes) -> tuple[str, ...]:
    parents = [_PARENT.fullmatch(line) for line in lines.split(b"\n")[:-1]]
    ids = tuple(parent[1].decode("ascii") if parent else "" for parent in parents)
    if any(len(parent) != len(sha) for parent in ids):
        raise _bad(sha, "a parent of it is no commit id")
    return ids


def _check_rest(sha: str, lines: list[bytes]) -> None:
    """A continued line starts with a space, and so has no name.

    Addresses and trailers are ASCII, and so is every encoding's lower half but for a few, which are refused, as are
    those in which an escape (ISO 2022, HZ) makes another line than the bytes do that stand there.
    """
    for line in lines:
        name, _, value = line.partition(b" ")
        if name in _FIRST:
            raise _bad(sha, f"it has another {name.decode()} further down, where git reads none")
        if name == b"encoding" and not _keeps_ascii(value):
            raise _bad(sha, "its text is in an encoding that can't be read")


def _keeps_ascii(encoding: bytes) -> bool:
    try:
        name = encoding.decode("ascii")
        plain, escaped = _ASCII.decode("ascii"), b"\x1b(B~\n".decode(name)
        return plain.encode(name) == _ASCII and (escaped[:3], escaped[4:]) == ("\x1b(B", "\n")
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
