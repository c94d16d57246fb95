"""A work tree, held against its commit: what counts as changed, however well it is hidden."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from gate.checkout import check_checkout
from gate.errors import Denied
from gate.git import GitFailed
from gate.models import Check
from gate.worktree import changes
from tests.forge.repository import Repository

FILES = {"app.py": b"print(1)\n", "conf/deep/er.txt": b"a\nb\n", "run.bat": b"x\n", "empty": b"", "odd \xff\n": b"odd"}


def made(folder: Path, object_format: str = "sha1") -> Repository:
    repo = Repository(folder, object_format=object_format)
    for name, content in FILES.items():
        path = repo.path / os.fsdecode(name.encode("latin-1"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (repo.path / "link").symlink_to("conf//deep")
    repo.git("add", "-A")
    repo.commit()
    return repo


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return made(tmp_path / "repo")


def changed(repo: Repository) -> list[str]:
    return sorted(changes(repo.path, repo.head, 30))


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_fresh_checkout_has_no_changes(tmp_path: Path, object_format: str) -> None:
    repo = made(tmp_path / "repo", object_format)
    (repo.path / "untracked").write_text("x")
    assert changed(repo) == []
    (repo.path / "app.py").write_text("print(2)\n")
    assert changed(repo) == ["app.py"]


def test_what_replaces_a_file_is_a_change_and_is_not_waited_for(repo: Repository, tmp_path: Path) -> None:
    (repo.path / "app.py").rename(tmp_path / "app.py")
    (repo.path / "app.py").symlink_to(tmp_path / "app.py")  # the same bytes, as long as they are left there
    (repo.path / "run.bat").unlink()
    os.mkfifo(repo.path / "run.bat")
    (repo.path / "empty").unlink()
    (repo.path / "link").unlink()
    (repo.path / "link").symlink_to("conf/deep")
    (repo.path / "conf").rename(tmp_path / "conf")
    (repo.path / "conf").symlink_to(tmp_path / "conf")
    assert changed(repo) == ["app.py", "conf", "empty", "link", "run.bat"]


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_a_bit_in_the_index_hides_nothing(repo: Repository, bit: str) -> None:
    repo.git("update-index", bit, "app.py")
    (repo.path / "app.py").write_text("print(2)\n")
    assert repo.git("status", "--porcelain") == ""  # git is taken in
    assert changed(repo) == ["app.py"]


def test_neither_does_an_index_that_was_brought_in_line(repo: Repository) -> None:
    (repo.path / "app.py").write_text("print(2)\n")
    repo.git("add", "-A")
    assert changed(repo) == ["app.py"]


def test_neither_does_a_tree_that_was_tampered_with(repo: Repository) -> None:
    (repo.path / "app.py").write_text("print(2)\n")
    repo.git("add", "-A")
    lie, truth = repo.git("write-tree"), repo.git("rev-parse", "HEAD^{tree}")
    objects = repo.path / ".git/objects"
    target = objects / truth[:2] / truth[2:]
    target.chmod(0o644)
    target.write_bytes((objects / lie[:2] / lie[2:]).read_bytes())
    with pytest.raises(GitFailed, match="damaged"):
        changed(repo)


def test_line_ends_as_on_windows_and_large_files_are_no_change(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repo")
    large = os.urandom(3 << 20)
    (repo.path / "run.bat").write_bytes(b"one\ntwo\n")
    (repo.path / "large.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(large).hexdigest()}\nsize {3 << 20}\n"
    )
    repo.git("add", "-A")
    repo.commit()
    assert changed(repo) == []  # the pointer itself, where nothing was fetched
    (repo.path / "run.bat").write_bytes(b"one\r\ntwo\r\n")
    (repo.path / "large.bin").write_bytes(large)
    assert changed(repo) == []
    (repo.path / "run.bat").write_bytes(b"one\r\nthree\r\n")
    (repo.path / "large.bin").write_bytes(large[:-1] + b"x")
    assert changed(repo) == ["large.bin", "run.bat"]


def test_a_submodule_is_held_against_the_commit_that_is_pinned(repo: Repository, tmp_path: Path) -> None:
    library = made(tmp_path / "library")
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(library.path), "lib")
    repo.commit()
    assert changed(repo) == []
    (repo.path / "lib/app.py").write_text("print(2)\n")
    assert changed(repo) == ["lib/app.py"]
    repo.git("submodule", "deinit", "--force", "--quiet", "lib")
    assert changed(repo) == []  # not fetched
    (repo.path / "lib/planted.py").write_text("x")
    assert changed(repo) == ["lib"]
    (repo.path / "lib/planted.py").unlink()
    other = Repository(repo.path / "lib")
    other.commit()
    assert changed(repo) == ["lib"]


def test_a_repository_without_the_trees_can_t_tell(repo: Repository) -> None:
    tree = repo.git("rev-parse", "HEAD:conf")
    (repo.path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(GitFailed, match="missing"):
        changed(repo)
    assert check_checkout(repo.path, repo.head, clean=False).status == "pass"
    with pytest.raises(Denied, match="asks for a checkout without changed files"):
        check_checkout(repo.path, repo.head, clean=True)


def test_looking_ends_in_time(repo: Repository) -> None:
    with (repo.path / "empty").open("wb") as file:
        file.truncate(64 << 30)
    started = time.monotonic()
    with pytest.raises(GitFailed, match="too long"):
        list(changes(repo.path, repo.head, 0.5))
    assert time.monotonic() - started < 10


def test_a_changed_file_warns_and_denies_where_the_policy_asks(repo: Repository) -> None:
    assert check_checkout(repo.path, repo.head, clean=True).status == "pass"
    for name in ("app.py", "empty", "run.bat", "conf/deep/er.txt"):
        (repo.path / name).write_text("changed")
    warned = check_checkout(repo.path, repo.head, clean=False)
    assert isinstance(warned, Check)
    assert (warned.status, warned.actual.startswith(f"{repo.head}, but changed: ")) == ("warn", True)
    assert warned.actual.endswith(" and more")
    with pytest.raises(Denied) as denied:
        check_checkout(repo.path, repo.head, clean=True)
    assert (denied.value.reason, "changed: " in denied.value.actual) == ("checkout.mismatch", True)
    with pytest.raises(Denied, match="asks for a checkout"):
        check_checkout(None, repo.head, clean=True)
    assert check_checkout(None, repo.head, clean=False).status == "skip"
