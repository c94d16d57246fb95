"""Raw commits: whatever their bytes are, there is a commit or a refusal."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.forge import Unattributed
from gate.forge.commitobject import CommitObject, parse_commit
from gate.models import Identity

TREE = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
AUTHOR = b"author Alice <alice@example.com> 1800000000 +0000\n"
COMMITTER = b"committer Bob <bob@example.com> 1800000060 -0130\n"


def parse(content: bytes, algorithm: str = "sha1") -> CommitObject:
    data = b"commit %d\0" % len(content) + content
    return parse_commit(hashlib.new(algorithm, data, usedforsecurity=False).hexdigest(), content)


def addresses(content: bytes) -> list[str | None]:
    author, *co_authors = parse(content).commit.people
    committer = parse(content).commit.committer
    return [role[0].value if role else None for role in (author, committer, *co_authors)]


def test_a_commit() -> None:
    parent = b"parent " + b"a" * 40 + b"\n"
    found = parse(TREE + parent + parent.replace(b"a", b"b").replace(b"pbrent", b"parent") + AUTHOR + COMMITTER + b"\n")
    assert found.parents == ("a" * 40, "b" * 40)
    assert found.date == 1_800_000_060
    assert found.commit.people == ((Identity("email", "alice@example.com"),),)
    assert found.commit.committer == (Identity("email", "bob@example.com"),)


def test_a_commit_of_sha256() -> None:
    found = parse(TREE + b"parent " + b"a" * 64 + b"\n" + AUTHOR + COMMITTER + b"\nwork\n", "sha256")
    assert found.parents == ("a" * 64,)


def test_a_commit_without_a_message() -> None:
    assert addresses(TREE + AUTHOR + COMMITTER) == ["alice@example.com", "bob@example.com"]


def test_a_signature_and_a_merged_tag_are_not_headers() -> None:
    signed = b"gpgsig -----BEGIN\n author Eve <eve@example.com> 1 +0000\n \n parent " + b"c" * 40 + b"\n -----END\n"
    found = parse(TREE + AUTHOR + COMMITTER + signed + b"\nwork")
    assert found.parents == ()
    assert len(found.commit.people) == 1


PARENT = b"parent " + b"a" * 40 + b"\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        TREE,
        AUTHOR + COMMITTER,
        TREE + AUTHOR,
        TREE + COMMITTER,
        TREE + COMMITTER + AUTHOR,
        AUTHOR + TREE + COMMITTER,
        PARENT + TREE + AUTHOR + COMMITTER,
        TREE + TREE + AUTHOR + COMMITTER,
        TREE + AUTHOR + PARENT + COMMITTER,
        TREE + AUTHOR + AUTHOR + COMMITTER,
        TREE + AUTHOR.replace(b"author", b"AUTHOR") + COMMITTER,
        TREE + b"author\n" + COMMITTER,
        TREE + b"parent\n" + AUTHOR + COMMITTER,
        TREE + b" continued\n" + PARENT + AUTHOR + COMMITTER,
        TREE + b"encoding utf-8\n" + AUTHOR + COMMITTER,
    ],
)
def test_headers_stand_in_git_s_order(headers: bytes) -> None:
    with pytest.raises(Unattributed, match="in git's order"):
        parse(headers + b"\nwork")


@pytest.mark.parametrize("line", [TREE, PARENT, AUTHOR, COMMITTER, b"parent\n"])
@pytest.mark.parametrize("before", [b"", b"encoding utf-8\n", b"gpgsig x\n y\n"])
def test_a_header_that_git_does_not_read_there_is_refused(line: bytes, before: bytes) -> None:
    """git knows no such parent: believing it would make what it names old as soon as this commit is allowed."""
    with pytest.raises(Unattributed, match="further down"):
        parse(TREE + AUTHOR + COMMITTER + before + line + b"\nwork")


@pytest.mark.parametrize("parent", [b"", b"HEAD", b"a" * 39, b"a" * 41, b"A" * 40, b"a" * 64, b"-" * 40, b"\xff" * 40])
def test_a_parent_is_a_whole_id(parent: bytes) -> None:
    with pytest.raises(Unattributed, match="no commit id"):
        parse(TREE + b"parent " + parent + b"\n" + AUTHOR + COMMITTER + b"\nwork")


@pytest.mark.parametrize(
    "line", [TREE, AUTHOR + COMMITTER, AUTHOR, b" continued\n", b"a" * 40 + b"\n", b"parent\n", b"x\n"]
)
def test_nothing_stands_between_parents(line: bytes) -> None:
    with pytest.raises(Unattributed):
        parse(TREE + PARENT + line + PARENT + AUTHOR + COMMITTER + b"\nwork")


@pytest.mark.parametrize(
    "author",
    [
        b"author Eve <eve@example.com> <alice@example.com> 1 +0000\n",
        b"author Eve <<alice@example.com>> 1 +0000\n",
        b"author alice@example.com 1 +0000\n",
        b"author Eve <eve@example.com> 1 +0000 <\n",
        b"author Eve <eve@example.com> soon\n",
        b"author \n",
    ],
)
def test_an_author_who_can_be_read_in_two_ways_is_unknown(author: bytes) -> None:
    assert addresses(TREE + author + COMMITTER + b"\nwork") == [None, "bob@example.com"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"Co-authored-by: Carol <carol@example.com>", "carol@example.com"),
        (b"co-AUTHORED-by:<carol@example.com>", "carol@example.com"),
        (b"  Co-authored-by : Carol < carol@example.com > and others", "carol@example.com"),
        (b"Co-authored-by: Carol <carol@example.com", None),
        (b"Co-authored-by: Carol carol@example.com>", None),
        (b"Co-authored-by: Carol <<carol@example.com>>", None),
        (b"Co-authored-by: <>", ""),
        (b"Co-authored-by: C <c@example.com>, D <d@example.com>", None),
        (b"\x0bCo-authored-by: \xff\xfe<carol@example.com>\r", "carol@example.com"),
    ],
)
@pytest.mark.parametrize("place", [b"%s", b"work\n\n%s\n\nSigned-off-by: x <x@y.z>\n", b"work\r%s\r\nmore", b"a\0\n%s"])
def test_co_authors_are_found_wherever_they_stand(line: bytes, expected: str | None, place: bytes) -> None:
    found = addresses(TREE + AUTHOR + COMMITTER + b"\n" + place % line)
    assert found == ["alice@example.com", "bob@example.com", expected]


@pytest.mark.parametrize("line", [b"nobody in particular", b"Carol", b"carol@example.com", b"", b" @carol (pair)"])
def test_a_co_author_without_brackets_is_none(line: bytes) -> None:
    """No forge takes it for one, and it must not leave a branch without anybody to approve it."""
    found = addresses(
        TREE + AUTHOR + COMMITTER + b"\nwork\n\nCo-authored-by: " + line + b"\nSigned-off-by: x <x@y.z>\n"
    )
    assert found == ["alice@example.com", "bob@example.com"]


def test_who_is_only_mentioned_is_no_co_author() -> None:
    message = b"Read Co-authored-by: <x@y.z> trailers\n\nSigned-off-by: X <x@y.z>\nReviewed-by: Y <y@y.z>\n"
    assert len(addresses(TREE + AUTHOR + COMMITTER + b"\n" + message)) == 2  # author and committer


def test_bytes_of_another_commit_are_refused() -> None:
    content = TREE + AUTHOR + COMMITTER + b"\nwork"
    with pytest.raises(Unattributed, match="does not hash"):
        parse_commit("a" * 40, content)
    with pytest.raises(Unattributed, match="does not hash"):
        parse_commit("a" * 64, content)


_line = st.sampled_from(
    [TREE, AUTHOR, COMMITTER, b"parent " + b"a" * 40 + b"\n", b"encoding utf-8\n", b"gpgsig x\n", b" "]
)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_read(content: bytes) -> None:
    _is_answered(content)


@settings(deadline=None)
@given(st.lists(_line | st.binary(max_size=60), max_size=8).map(b"".join))
def test_nearly_commits_are_refused_or_read(content: bytes) -> None:
    _is_answered(content)


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=200), st.binary(max_size=12))
def test_hostile_people_messages_and_encodings_are_refused_or_read(
    person: bytes, message: bytes, encoding: bytes
) -> None:
    person, encoding = person.replace(b"\n", b""), encoding.replace(b"\n", b"")
    _is_answered(
        TREE + b"author " + person + b"\n" + COMMITTER + b"encoding " + encoding + b"\n\nCo-authored-by:" + message
    )


def _is_answered(content: bytes) -> None:
    try:
        found = parse(content)
    except Unattributed as refusal:
        assert str(refusal).isprintable()
    else:
        assert found.commit.people
