"""The history of a clone: real repositories of every shape."""

import random
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import gate.git
from gate.errors import UsageError
from gate.forge import Unattributed
from gate.forge.git import LocalGit
from gate.models import Commit, Identity
from gate.people import People
from tests.forge.repository import ALICE, BOB, CAROL, WEB_FLOW, Repository, Who

ABSENT = "0123456789" * 4
NONE = "None of the commits that were allowed here"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def commits(repo: Repository, base: str | None, sha: str) -> list[Commit]:
    return LocalGit(repo.path).commits("acme/shop", [base] if base else [], sha)


def since(repo: Repository, allowed: Iterable[str], sha: str) -> list[str]:
    return [commit.sha for commit in LocalGit(repo.path).commits("acme/shop", allowed, sha)]


def shas(repo: Repository, base: str | None, sha: str) -> list[str]:
    return [commit.sha for commit in commits(repo, base, sha)]


def emails(commit: Commit) -> list[str]:
    return [" / ".join(who.value for who in role) for role in People({}, ()).hands(commit)]


def refusal(repo: Repository, base: str | None, sha: str) -> Unattributed:
    with pytest.raises(Unattributed) as caught:
        commits(repo, base, sha)
    assert caught.value.reason == "approver.is_author"
    assert caught.value.hint
    return caught.value


def test_the_commits_between_two_deployments(repo: Repository) -> None:
    base, one, two, three = (repo.commit(message=f"{n}") for n in range(4))
    assert shas(repo, base, three) == [three, two, one]
    assert shas(repo, two, three) == [three]


def test_author_committer_and_co_authors_count(repo: Repository) -> None:
    message = "work\n\nCo-authored-by: Carol <carol@example.com>\nCO-AUTHORED-BY:Dave <dave@example.com> (pair)\n"
    base, head = repo.commit(), repo.commit(ALICE, BOB, message)
    (commit,) = commits(repo, base, head)
    assert commit.people[0] == (Identity("email", "alice@example.com"),)
    assert commit.committer == (Identity("email", "bob@example.com"),)
    assert emails(commit) == ["alice@example.com", "bob@example.com", "carol@example.com", "dave@example.com"]


def test_the_same_person_in_two_roles_counts_once(repo: Repository) -> None:
    (commit,) = commits(repo, None, repo.commit(ALICE, ALICE, "x\n\nCo-authored-by: A <alice@example.com>"))
    assert emails(commit) == ["alice@example.com"]


def test_github_as_committer_is_nobody_but_as_author_it_stays(repo: Repository) -> None:
    base, merged, written = repo.commit(), repo.commit(ALICE, WEB_FLOW), repo.commit(WEB_FLOW, WEB_FLOW)
    by_sha = {commit.sha: emails(commit) for commit in commits(repo, base, written)}
    assert by_sha == {merged: ["alice@example.com"], written: ["noreply@github.com"]}


def test_a_co_author_whose_address_can_t_be_read_is_somebody_unknown(repo: Repository) -> None:
    (commit,) = commits(repo, None, repo.commit(message="work\n\nCo-authored-by: Carol <carol@example.com"))
    assert commit.people[-1] == ()


def test_without_a_base_it_is_the_commit_itself(repo: Repository) -> None:
    root, head = repo.commit(), repo.commit(BOB)
    assert shas(repo, None, root) == [root]
    assert shas(repo, None, head) == [head]


def test_without_a_base_a_merge_is_itself_and_what_it_brought_in(repo: Repository) -> None:
    repo.commit()
    repo.git("switch", "--quiet", "-c", "topic")
    first, second = repo.commit(CAROL), repo.commit(ALICE)
    repo.git("switch", "--quiet", "main")
    repo.commit(BOB)
    merge = repo.merge("topic")
    assert shas(repo, None, merge) == [merge, second, first]


def test_an_octopus_brings_in_every_branch(repo: Repository) -> None:
    base = repo.commit()
    tips = []
    for name in ("one", "two", "three"):
        repo.git("switch", "--quiet", "-c", name, "main")
        tips.append(repo.commit(CAROL, message=name))
    repo.git("switch", "--quiet", "main")
    merge = repo.merge("one", "two", "three")
    assert set(shas(repo, base, merge)) == {merge, *tips}


def test_a_branch_older_than_the_last_deployment_is_new_when_it_is_merged(repo: Repository) -> None:
    repo.commit()
    repo.git("switch", "--quiet", "-c", "topic")
    old_but_new = repo.commit(CAROL)
    repo.git("switch", "--quiet", "main")
    base = [repo.commit(BOB) for _ in range(5)][-1]
    merge = repo.merge("topic")
    assert set(shas(repo, base, merge)) == {merge, old_but_new}


def test_going_back_to_what_was_allowed_ships_nothing_new(repo: Repository) -> None:
    older, *_, newer = (repo.commit() for _ in range(5))
    assert since(repo, [newer, older], older) == []
    assert since(repo, [newer, older], newer) == []


def test_a_commit_below_an_allowed_one_was_never_allowed_alone(repo: Repository) -> None:
    """It went out only under what came after it, such as its own revert."""
    first, second, third, tip = (repo.commit(message=f"{n}") for n in range(4))
    assert since(repo, [tip, first], second) == [second]
    assert since(repo, [tip, first], third) == [third, second]
    assert NONE in refusal(repo, tip, second).message


def test_a_branch_off_a_commit_below_an_allowed_one_hides_nothing(repo: Repository) -> None:
    first, second = repo.commit(), repo.commit(CAROL)
    tip = repo.commit(BOB)
    repo.git("switch", "--quiet", "--detach", second)
    branched = repo.commit(ALICE)
    assert since(repo, [tip, first], branched) == [branched, second]
    repo.git("switch", "--quiet", "--detach", tip)
    assert set(since(repo, [tip, first], repo.merge(branched))) == {repo.head, branched}


def test_a_hotfix_of_an_older_release(repo: Repository) -> None:
    release, *_, tip = (repo.commit() for _ in range(4))
    repo.git("switch", "--quiet", "--detach", release)
    fix = repo.commit(BOB)
    assert since(repo, [tip, release], fix) == [fix]


def test_a_branch_that_was_pushed_away(repo: Repository, tmp_path: Path) -> None:
    kept = repo.commit()
    gone = repo.commit(BOB)
    repo.git("reset", "--quiet", "--hard", kept)
    one, two = repo.commit(CAROL), repo.commit(ALICE)
    assert since(repo, [gone, kept], two) == [two, one]
    clone = repo.clone(tmp_path / "clone", "--no-local")
    clone.git("reflog", "expire", "--expire=now", "--all")
    assert "missing" in clone.git("cat-file", "--batch-check", stdin=gone.encode())
    assert since(clone, [gone, kept], two) == [two, one]
    assert NONE in refusal(clone, gone, two).message


def test_of_several_below_it_is_the_one_that_was_allowed_last(repo: Repository) -> None:
    one, two, three, four = (repo.commit(message=f"{n}") for n in range(4))
    assert since(repo, [one, three, two], four) == [four, three, two]


def test_what_was_allowed_is_read_only_as_far_as_needed(repo: Repository) -> None:
    def allowed() -> Iterator[str]:
        yield base
        raise AssertionError

    base, head = repo.commit(), repo.commit()
    assert since(repo, allowed(), head) == [head]


def test_none_that_was_allowed_is_below(repo: Repository) -> None:
    fork = repo.commit()
    base = repo.commit(BOB)
    repo.git("switch", "--quiet", "--detach", fork)
    assert NONE in refusal(repo, base, repo.commit(CAROL)).message
    repo.git("switch", "--quiet", "--orphan", "other")
    repo.commit(BOB)
    found = refusal(repo, base, repo.commit(CAROL))
    assert NONE in found.message
    assert "separation_of_duties: false" in found.hint


def test_clocks_that_are_wrong_by_days(repo: Repository) -> None:
    day = 86_400
    base = repo.commit(date=1_800_000_000 + 20 * day)
    made = [repo.commit(message=f"{n}", date=1_800_000_000 + n) for n in range(9)]
    assert set(shas(repo, base, made[-1])) == set(made)


def test_clocks_that_are_wrong_by_months_deny(repo: Repository) -> None:
    day = 86_400
    first = repo.commit(date=1_800_000_000)
    base = repo.commit(date=1_800_000_000 + 90 * day)
    made = [repo.commit(message=f"{n}", date=1_800_000_000 + n) for n in range(3)]
    assert NONE in refusal(repo, base, made[-1]).message
    assert set(since(repo, [base, first], made[-1])) == {base, *made}


@pytest.mark.parametrize("seed", range(12))
def test_it_is_what_git_itself_says(repo: Repository, seed: int) -> None:
    """Random histories with merges; in every second one, clocks are wrong."""
    dice = random.Random(seed)
    made = [repo.commit(message="root")]
    for number in range(25):
        parents = dice.sample(made, k=min(len(made), dice.choice((1, 1, 1, 2, 3))))
        date = 1_900_000_000 + (dice.randrange(10**6) if seed % 2 else number * 60)
        made.append(_commit_tree(repo, parents, f"{number}", date))
    for _ in range(10):
        sha, *allowed = dice.sample(made, k=4)
        below = repo.git("rev-list", sha).split()
        base = next((candidate for candidate in allowed if candidate in below), None)
        if base is None:
            with pytest.raises(Unattributed, match=NONE):
                since(repo, allowed, sha)
            continue
        listed = set(repo.git("rev-list", f"{base}..{sha}").split())
        ours = set(since(repo, allowed, sha))
        assert listed <= ours
        assert seed % 2 or listed == ours


def _commit_tree(repo: Repository, parents: list[str], message: str, date: int) -> str:
    tree = repo.git("write-tree")
    options = [option for parent in parents for option in ("-p", parent)]
    return repo.git("commit-tree", tree, *options, "-m", message, GIT_COMMITTER_DATE=f"{date} +0000")


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repo", object_format="sha256")
    base, head = repo.commit(), repo.commit(BOB)
    assert len(head) == 64
    assert shas(repo, base, head) == [head]
    refusal(repo, ABSENT, head)


def test_packed_objects_and_a_commit_graph(repo: Repository) -> None:
    base, one, two = repo.commit(), repo.commit(), repo.commit()
    repo.git("repack", "-adq")
    repo.git("commit-graph", "write")
    assert shas(repo, base, two) == [two, one]


def test_a_linked_work_tree(repo: Repository, tmp_path: Path) -> None:
    base, head = repo.commit(), repo.commit(BOB)
    repo.git("worktree", "add", "--quiet", str(tmp_path / "linked"), base)
    assert [commit.sha for commit in LocalGit(tmp_path / "linked").commits("a/b", [base], head)] == [head]


def test_a_shallow_clone_says_how_to_fetch_more(repo: Repository, tmp_path: Path) -> None:
    base, _, head = repo.commit(), repo.commit(), repo.commit()
    shallow = repo.clone(tmp_path / "shallow", "--depth=1")
    assert "fetch-depth: 0" in refusal(shallow, base, head).hint
    deeper = repo.clone(tmp_path / "deeper", "--depth=2")
    assert "fetch-depth: 0" in refusal(deeper, base, head).hint


def test_a_shallow_clone_of_several_branches_does_not_guess(repo: Repository, tmp_path: Path) -> None:
    first = repo.commit()
    repo.commit()
    repo.git("branch", "other")
    base = repo.commit(message="base")
    repo.git("switch", "--quiet", "other")
    repo.commit()
    head = repo.commit()
    shallow = repo.clone(tmp_path / "shallow", "--depth=1", "--no-single-branch")
    with pytest.raises(Unattributed, match="not in the local clone"):
        since(shallow, [base, first], head)


def test_a_shallow_clone_knows_its_own_commit(repo: Repository, tmp_path: Path) -> None:
    repo.commit()
    base, head = repo.commit(), repo.commit(BOB)
    shallow = repo.clone(tmp_path / "shallow", "--depth=1")
    assert shas(shallow, None, head) == [head]
    assert shas(shallow, base, head) == [head]


def test_a_shallow_clone_does_not_know_what_a_merge_brought_in(repo: Repository, tmp_path: Path) -> None:
    base = repo.commit()
    repo.git("switch", "--quiet", "-c", "topic")
    repo.commit(CAROL)
    repo.git("switch", "--quiet", "main")
    merge = repo.merge("topic")
    shallow = repo.clone(tmp_path / "shallow", "--depth=1")
    refusal(shallow, base, merge)
    refusal(shallow, None, merge)


def test_a_clone_without_blobs_is_enough(repo: Repository, tmp_path: Path) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    base, head = repo.commit(), repo.commit(BOB)
    partial = repo.clone(tmp_path / "partial", "--filter=tree:0", "--no-checkout")
    assert shas(partial, base, head) == [head]


def test_what_is_not_there_denies(repo: Repository) -> None:
    head = repo.commit()
    assert "not in the local clone" in refusal(repo, head, ABSENT).message
    assert NONE in refusal(repo, ABSENT, head).message
    assert "not in the local clone" in refusal(repo, None, "ab" * 32).message


def test_a_tag_or_a_tree_is_no_commit(repo: Repository) -> None:
    head = repo.commit()
    repo.git("tag", "-a", "v1", "-m", "v1")
    assert "no commit" in refusal(repo, head, repo.git("rev-parse", "v1")).message
    assert "no commit" in refusal(repo, head, repo.git("rev-parse", "HEAD^{tree}")).message


def test_no_repository_denies(tmp_path: Path) -> None:
    with pytest.raises(Unattributed, match="no repository"):
        LocalGit(tmp_path).commits("a/b", [], ABSENT)


def test_no_git_denies(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    head = repo.commit()
    monkeypatch.setenv("PATH", str(repo.path))
    assert "not installed" in refusal(repo, None, head).message


def test_a_git_in_the_work_tree_is_not_found(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    head, script = repo.commit(), repo.path / "git"
    script.write_text(f"#!/bin/sh\ntouch {repo.path}/canary\n")
    script.chmod(0o755)
    monkeypatch.chdir(repo.path)
    monkeypatch.setenv("PATH", f".::{Path(shutil.which('git') or '').parent}")
    assert shas(repo, None, head) == [head]
    assert not (repo.path / "canary").exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("#!/bin/sh\nexec sleep 60\n", "took too long"),
        ("#!/bin/sh\nexit 0\n", "git stopped"),
        ("#!/bin/sh\nread id; printf '%s commit 500\\ntree' $id\n", "in the middle of a commit"),
        ("#!/bin/sh\nread id; printf '%s commit -1\\n' $id\n", "is no commit"),
        ("#!/bin/sh\nread id; head -c 1000000 /dev/zero\n", "git stopped"),
        ("\x7fELF no program", "can't be started"),
    ],
)
def test_a_git_that_does_not_answer_as_it_should_denies(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    head, script = repo.commit(), tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(program)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    with pytest.raises(Unattributed, match=words):
        LocalGit(repo.path, seconds=0.5).commits("a/b", [], head)


def test_a_huge_commit_denies(repo: Repository) -> None:
    head = repo.raw_commit(_content(repo, encoding="UTF-8") + b"x" * (65 << 20))
    assert "more to read" in refusal(repo, None, head).message


def test_more_commits_than_are_read_deny(repo: Repository) -> None:
    base, *_, head = (repo.commit() for _ in range(8))
    with pytest.raises(Unattributed, match="more to read"):
        LocalGit(repo.path, most=6).commits("a/b", [base], head)
    assert len(LocalGit(repo.path, most=9).commits("a/b", [base], head)) == 7


@pytest.mark.parametrize("sha", ["HEAD", "--all", "main", "abc", "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_only_whole_ids_are_taken(repo: Repository, sha: str) -> None:
    head = repo.commit()
    with pytest.raises(UsageError):
        commits(repo, None, sha)
    with pytest.raises(UsageError):
        commits(repo, sha, head)


@pytest.mark.parametrize(
    "name",
    ["Eve <eve@example.com> 1 +0000", "Eve\x1b[2J", "E\u202eve", "Ève", "-", "Co-authored-by: <x@y>"],
)
def test_hostile_names_change_nothing(repo: Repository, name: str) -> None:
    head = repo.commit(Who(f"x{name}x", "eve@example.org"))
    (commit,) = commits(repo, None, head)
    assert emails(commit) == ["eve@example.org"]


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "Shift_JIS", "windows-1252", "GB18030", "EUC-JP", "UTF-8"])
def test_encodings_that_keep_ascii_are_read(repo: Repository, encoding: str) -> None:
    content = _content(repo, encoding=encoding) + "Grüße\n\nCo-authored-by: Ä <bob@example.com>\n".encode("latin-1")
    (commit,) = commits(repo, None, repo.raw_commit(content))
    assert emails(commit) == ["alice@example.com", "bob@example.com"]


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-7", "IBM500", "hex", "idna", "undefined", "no-such", "\udcff", ""])
def test_encodings_that_could_hide_a_co_author_deny(repo: Repository, encoding: str) -> None:
    head = repo.raw_commit(_content(repo, encoding=encoding) + b"work\n")
    assert "encoding" in refusal(repo, None, head).message


def _content(repo: Repository, *, encoding: str) -> bytes:
    header = (
        f"tree {repo.git('write-tree')}\n"
        "author Alice <alice@example.com> 1800000000 +0000\n"
        "committer Alice <alice@example.com> 1800000000 +0000\n"
        f"encoding {encoding}\n\n"
    )
    return header.encode("utf-8", "surrogateescape")


def test_replacement_objects_are_not_believed(repo: Repository) -> None:
    base, written = repo.commit(BOB), repo.commit(ALICE, message="sneaky")
    head = repo.commit(BOB)
    innocent = repo.git("commit-tree", f"{head}^{{tree}}", "-p", base, "-m", "nothing to see")
    repo.git("replace", head, innocent)
    repo.git("replace", written, innocent)
    assert repo.git("rev-list", "--count", f"{base}..{head}") == "1"
    found = {commit.sha: emails(commit) for commit in commits(repo, base, head)}
    assert found == {head: ["bob@example.com"], written: ["alice@example.com"]}


def test_grafts_and_a_forged_list_of_shallow_commits_are_not_believed(repo: Repository) -> None:
    base, written, head = repo.commit(BOB), repo.commit(ALICE), repo.commit(BOB)
    (repo.path / ".git" / "info").mkdir(exist_ok=True)
    (repo.path / ".git" / "info" / "grafts").write_text(f"{head} {base}\n")
    assert repo.git("rev-list", f"{base}..{head}") == head
    assert shas(repo, base, head) == [head, written]
    (repo.path / ".git" / "shallow").write_text(f"{head}\n")
    assert shas(repo, base, head) == [head, written]


def test_a_tampered_commit_is_found_out(repo: Repository) -> None:
    base, written, head = repo.commit(BOB), repo.commit(ALICE), repo.commit(BOB)
    content = repo.git("cat-file", "commit", written).encode().replace(b"alice@", b"carol@") + b"\n"
    repo.put_object(written, zlib.compress(b"commit %d\0" % len(content) + content))
    assert "does not hash to its id" in refusal(repo, base, head).message


def test_a_tampered_base_can_t_hide_commits(repo: Repository) -> None:
    """Were the walk left to git, a base that claims to descend from everything would leave nothing to look at."""
    base, written, head = repo.commit(BOB), repo.commit(ALICE), repo.commit(BOB)
    tree = repo.git("rev-parse", f"{base}^{{tree}}")
    lie = repo.git("cat-file", "commit", repo.git("commit-tree", tree, "-p", written, "-m", "lie")).encode() + b"\n"
    repo.put_object(base, zlib.compress(b"commit %d\0" % len(lie) + lie))
    assert "does not hash to its id" in refusal(repo, base, head).message


@pytest.mark.parametrize("damage", [b"", b"garbage", zlib.compress(b"commit 900\0tree"), zlib.compress(b"x" * 99)])
def test_a_damaged_object_denies(repo: Repository, damage: bytes) -> None:
    base, written, head = repo.commit(BOB), repo.commit(ALICE), repo.commit(BOB)
    repo.put_object(written, damage)
    refusal(repo, base, head)


def test_a_repository_of_another_user_is_read(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job's container, where git refuses a repository that it finds by itself (safe.directory)."""
    head = repo.commit()
    monkeypatch.setitem(gate.git._ENVIRONMENT, "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(AssertionError, match="dubious ownership"):
        repo.git("rev-parse", "HEAD", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert shas(repo, None, head) == [head]
