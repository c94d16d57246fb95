"""Where a checkout stands, and what it was cloned from."""

from pathlib import Path

import pytest

from gate.checkout import find, head, origin_repository, remote_repository
from gate.errors import Denied, UsageError
from tests.forge.repository import Repository


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def test_the_top_of_the_work_tree_is_found(repo: Repository, tmp_path: Path) -> None:
    deep = repo.path / "some" / "where"
    deep.mkdir(parents=True)
    assert find(deep) == find(repo.path) == repo.path.resolve()
    assert find(repo.path / "not" / "there") == repo.path.resolve()
    assert find(tmp_path) is None


def test_the_top_is_found_through_a_link(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo.path)
    assert find(tmp_path / "link") == repo.path.resolve()


def test_where_the_checkout_stands(repo: Repository, tmp_path: Path) -> None:
    first, second = repo.commit(), repo.commit()
    assert head(repo.path) == second
    repo.git("switch", "--quiet", "--detach", first)
    assert head(repo.path) == first
    repo.git("pack-refs", "--all")
    repo.git("worktree", "add", "--quiet", str(tmp_path / "linked"), second)
    assert head(tmp_path / "linked") == second


def test_a_checkout_of_sha256(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "repo", object_format="sha256")
    sha = repo.commit()
    assert len(sha) == 64
    assert head(repo.path) == sha


def test_a_replaced_head_is_not_believed(repo: Repository) -> None:
    first, second = repo.commit(), repo.commit()
    repo.git("replace", second, first)
    assert head(repo.path) == second


def test_a_checkout_without_a_commit_denies(repo: Repository) -> None:
    with pytest.raises(Denied) as caught:
        head(repo.path)
    assert caught.value.reason == "checkout.mismatch"
    assert caught.value.hint


@pytest.mark.parametrize("damage", ["", "ref: refs/heads/no", "ref: ../../x", "0" * 40, "main", "--help"])
def test_a_damaged_head_denies(repo: Repository, damage: str) -> None:
    repo.commit()
    (repo.path / ".git" / "HEAD").write_text(damage)
    with pytest.raises(Denied):
        head(repo.path)


def test_an_empty_repository_inside_does_not_pass_for_the_one_around_it(repo: Repository) -> None:
    repo.commit()
    inner = repo.path / "inner"
    (inner / ".git").mkdir(parents=True)
    assert find(inner) == inner.resolve()
    with pytest.raises(Denied):
        head(inner)


def test_without_git_it_denies(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.commit()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Denied, match="git is not installed"):
        head(repo.path)
    assert remote_repository(repo.path) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/Acme/Shop.git", "acme/shop"),
        ("https://github.com/acme/shop", "acme/shop"),
        ("https://github.com/acme/shop/", "acme/shop"),
        ("https://user:secret@github.com/acme/shop.git", "acme/shop"),
        ("https://gitlab.example.com:8443/group/sub/project.git", "group/sub/project"),
        ("ssh://git@github.com:22/acme/shop.git", "acme/shop"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("git@github.com:/acme/shop", "acme/shop"),
        ("github.com:acme/my.shop_1", "acme/my.shop_1"),
        ("git://github.com/acme/shop.git", "acme/shop"),
        ("/srv/git/acme/shop.git", None),
        ("file:///srv/git/acme/shop.git", None),
        ("../acme/shop", None),
        ("https://github.com/shop", None),
        ("https://github.com/acme/../shop", None),
        ("https://github.com/acme/.git", None),
        ("https://github.com/acme/sh%6Fp", "acme/shop"),
        ("https://github.com/acme%2Fshop", None),
        ("https://github.com/acme/%2e%2e", None),
        ("https://github.com/acme/sh%ffop", None),
        ("https://git.example.com/scm/ACME/shop.git", "acme/shop"),
        ("https://git.example.com/bitbucket/scm/acme/shop.git", "acme/shop"),
        ("ssh://git@git.example.com:7999/acme/shop.git", "acme/shop"),
        ("https://git.example.com/scm/~alice/shop.git", None),
        ("https://github.com/scm/shop", "scm/shop"),
        ("https://gitlab.com/scm/web/shop.git", "scm/web/shop"),
        ("ssh://git@gitlab.example.com/scm/web/shop.git", "scm/web/shop"),
        ("https://acme@dev.azure.com/acme/web/_git/shop", "acme/web/shop"),
        ("https://dev.azure.com/acme/_git/shop", "acme/shop/shop"),
        ("git@ssh.dev.azure.com:v3/acme/web/shop", "acme/web/shop"),
        ("https://acme.visualstudio.com/web/_git/shop", "acme/web/shop"),
        ("https://acme.visualstudio.com/DefaultCollection/_git/shop", "acme/shop/shop"),
        ("acme@vs-ssh.visualstudio.com:v3/acme/web/shop", "acme/web/shop"),
        ("https://dev.azure.com/acme/Web%20Shop/_git/Web%20Shop", None),
        ("https://dev.azure.com/_git", None),
        ("https://git.sr.ht/~alice/shop", None),
        ("https://github.com/acme//shop", None),
        ("https:///acme/shop", None),
        ("https://[github.com/acme/shop", None),
        ("ext::sh -c acme/shop", None),
        ("git@github.com:acme/shop:evil", None),
        ("git@github.com:acme/sh\x1bop", None),
        ("git@github.com:acme/shop\ngit@github.com:acme/other", None),
        ("https://github.com/acme/" + "x" * 5000, None),
        ("", None),
    ],
)
def test_the_repository_that_it_was_cloned_from(repo: Repository, url: str, expected: str | None) -> None:
    repo.git("config", "remote.origin.url", url)
    assert remote_repository(repo.path) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://git.example.com/scm/~alice/shop.git", "~alice/shop"),
        ("https://bob:hunter2@dev.azure.com/acme/Web%20Shop/_git/Web%20Shop", "acme/Web Shop/Web Shop"),
        ("/srv/git/acme/shop.git", "/srv/git/acme/shop.git"),
        ("s3://bob:hunter2@bucket/shop?token=hunter2", "bucket/shop"),
    ],
)
def test_an_origin_that_makes_no_name_is_shown_without_secrets(repo: Repository, url: str, shown: str) -> None:
    repo.git("config", "remote.origin.url", url)
    with pytest.raises(UsageError, match="a name that the gate can't use") as caught:
        origin_repository(repo.path)
    assert (caught.value.actual, "--repository" in caught.value.hint) == (shown, True)


def test_an_address_that_is_no_utf_8_names_no_repository(repo: Repository) -> None:
    with (repo.path / ".git" / "config").open("ab") as config:
        config.write(b'[remote "origin"]\nurl = https://github.com/acme/sh\xffop\n')
    assert remote_repository(repo.path) is None


def test_no_origin_or_two_urls_name_no_repository(repo: Repository) -> None:
    assert remote_repository(repo.path) is None
    repo.git("config", "--add", "remote.origin.url", "https://github.com/acme/shop")
    repo.git("config", "--add", "remote.origin.url", "https://github.com/acme/other")
    assert remote_repository(repo.path) is None
    assert remote_repository(repo.path.parent) is None


def test_what_the_configuration_includes_is_not_read(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "more").write_text('[remote "origin"]\nurl = https://github.com/acme/other\n')
    repo.git("config", "include.path", str(tmp_path / "more"))
    assert remote_repository(repo.path) is None
