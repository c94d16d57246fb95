"""Co-authors, against git itself: whomever git shows, we see."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gate.forge import Unattributed
from gate.forge.authorship import Role, _by_address, with_co_authors
from gate.forge.commitobject import _keeps_ascii, parse_commit
from gate.models import Identity
from tests.world import git

CAROL = (Identity("email", "carol@example.com"),)
ODD = ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"]
HEAD = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@x.y> 1 +0000\ncommitter A <a@x.y> 1 +0000\n\n"
FORMAT = "--format=%(trailers:key=Co-authored-by,valueonly,unfold,separator=%x00)"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("trailers")
    git(folder, "init", "-q")
    git(folder, "hash-object", "-t", "tree", "-w", "/dev/null")
    return folder


def run(folder: Path, stdin: bytes, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, input=stdin, capture_output=True, check=True).stdout.decode(
        errors="replace"
    )


def logged(clone: Path, message: str) -> list[str]:
    """What `git log` shows of a commit with this message."""
    commit = run(clone, HEAD + message.encode(), "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
    return run(clone, b"", "log", "-1", FORMAT, commit.strip()).removesuffix("\n").split("\0")


def parsed(clone: Path, message: str) -> list[str]:
    """What `git interpret-trailers` makes of it."""
    lines = run(clone, message.encode(), "interpret-trailers", "--parse").split("\n")
    return [line.partition(":")[2] for line in lines if line.lower().startswith("co-authored-by:")]


def shown(clone: Path, message: str) -> list[Role]:
    """The co-authors that git shows, as far as they have an address."""
    values = [*logged(clone, message), *parsed(clone, message)]
    return [_by_address(value) for value in values if set(value) & set("<>")]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "place", ["Ca{}rol <carol@example.com>", "{}Carol <carol@example.com>", "Carol{}\n <carol@example.com>"]
)
def test_a_name_with_what_others_take_for_a_line_s_end(clone: Path, odd: str, place: str) -> None:
    message = f"work\n\nCo-authored-by: {place.format(odd)}\n"
    assert CAROL in shown(clone, message)
    assert CAROL in with_co_authors((), message)


@pytest.mark.parametrize("fold", ["\n ", "\n\t", "\n\r", "\n  \r\t", "\r\n ", "\n \v", "\n \u2028", "\n \x85"])
def test_a_folded_trailer(clone: Path, fold: str) -> None:
    for message in (
        f"work\n\nCo-authored-by:{fold}Carol <carol@example.com>\n",
        f"work\n\nCo-authored-by: Carol{fold}<carol@example.com>\nSigned-off-by: x <x@y.z>\n",
    ):
        assert CAROL in shown(clone, message)
        assert CAROL in with_co_authors((), message)


_pieces = st.sampled_from(
    ["\n", "\n\n", "\n ", "\n\t", "\r\n", " ", ":", "Co-authored-by", "co-AUTHORED-by:", "Co-authored-by : ", "---",
     "#", "Carol", "<carol@example.com>", "<", ">", "<dave@example.com>", "Signed-off-by: Eve <eve@x.y>\n", "é", *ODD]
)  # fmt: skip


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_pieces, max_size=14).map("".join))
@example("work\n\nSigned-off-by: x <x@y.z>\n Co-authored-by: Carol <carol@example.com>\n")
@example("work\n\nCo-authored-by: Carol\n# a comment\n <carol@example.com>\n")
@example("work\n\nCo-authored-by: Carol <carol@\n example.com>\n")
def test_whomever_git_shows_we_see(clone: Path, message: str) -> None:
    message = f"work\n\n{message}"
    assert [role for role in shown(clone, message) if role not in with_co_authors((), message)] == []


@pytest.mark.parametrize("encoding", ["hz", "iso-2022-jp", "iso-2022-kr", "utf-7", "utf-16"])
def test_an_encoding_that_git_would_read_another_line_from(encoding: str) -> None:
    assert not _keeps_ascii(encoding.encode())


def test_what_such_an_encoding_would_hide(clone: Path) -> None:
    """git decodes a message before it looks for trailers."""
    message = b"work\n\nCo-auth\x1b(Bored-by: Carol <carol@example.com>\n"
    content = HEAD.replace(b"\n\n", b"\nencoding iso-2022-jp\n\n") + message
    commit = run(clone, content, "hash-object", "-t", "commit", "-w", "--stdin", "--literally").strip()
    assert "carol@example.com" in run(clone, b"", "log", "-1", FORMAT, commit)
    with pytest.raises(Unattributed, match="encoding that can't be read"):
        parse_commit(commit, content)
