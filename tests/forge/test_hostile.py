"""A repository whose configuration and hooks would run a program, if git were run on it carelessly."""

from contextlib import suppress
from pathlib import Path

import pytest

from gate import checkout
from gate.errors import GateError
from gate.forge.git import LocalGit
from tests.forge.repository import Repository


class Trap:
    """A repository, and a program that leaves a mark when anything starts it."""

    def __init__(self, folder: Path) -> None:
        self.repo = Repository(folder / "repo")
        (self.repo.path / "filtered").write_text("one")
        (self.repo.path / ".gitattributes").write_text("filtered filter=x diff=x\n")
        self.repo.git("add", "-A")
        self.base, self.head = self.repo.commit(), self.repo.commit()
        self.mark = folder / "mark"
        self.program = folder / "program"
        self.program.write_text(f"#!/bin/sh\necho started >> '{self.mark}'\nexit 1\n")
        self.program.chmod(0o755)

    def set(self, name: str, value: str) -> None:
        self.repo.git("config", name, value.format(program=self.program))

    def use_everything(self) -> None:
        """Ask everything of the repository that the gate ever asks; refusals are fine."""
        history, absent = LocalGit(self.repo.path), "0123456789" * 4
        for base, sha in ((None, self.head), (self.base, self.head), (self.base, absent), (absent, self.head)):
            allowed = [base] if base else []
            with suppress(GateError):
                history.commits("acme/shop", allowed, sha)
        checkout.find(self.repo.path)
        checkout.remote_repository(self.repo.path)
        with suppress(GateError):
            checkout.head(self.repo.path)
        (self.repo.path / "filtered").write_text("changed")
        assert checkout.check_checkout(self.repo.path, self.head, clean=False).status == "warn"


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{program}"},
        {"core.pager": "{program}", "pager.cat-file": "true", "pager.rev-parse": "true", "pager.config": "true"},
        {"gpg.program": "{program}", "log.showSignature": "true"},
        {"core.sshCommand": "{program}", "core.gitProxy": "{program}", "core.editor": "{program}"},
        {"core.askPass": "{program}", "credential.helper": "!{program}"},
        {"alias.cat-file": "!{program}", "alias.rev-parse": "!{program}", "alias.config": "!{program}"},
        {"diff.external": "{program}", "filter.x.smudge": "{program}", "diff.x.textconv": "{program}"},
        {"uploadpack.packObjectsHook": "{program}", "core.alternateRefsCommand": "{program}"},
        {"core.hooksPath": "{program}"},
        {"filter.x.clean": "{program}", "filter.x.process": "{program}", "filter.x.required": "true"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_start_nothing(trap: Trap, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        trap.set(name, value)
    trap.use_everything()
    assert not trap.mark.exists()


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("ext::{program}", {"protocol.ext.allow": "always"}),
        ("ssh://host.invalid/acme/shop", {"core.sshCommand": "{program}", "protocol.allow": "always"}),
        ("{program}", {"remote.origin.uploadpack": "{program}", "protocol.file.allow": "always"}),
    ],
    ids=["ext", "ssh", "uploadpack"],
)
def test_missing_objects_of_a_partial_clone_are_not_fetched(trap: Trap, url: str, more: dict[str, str]) -> None:
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": url,
        "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
        **more,
    }.items():
        trap.set(name, value)
    trap.use_everything()
    assert not trap.mark.exists()


def test_the_trap_works(trap: Trap) -> None:
    """Otherwise an unmarked trap would prove nothing."""
    trap.set("core.fsmonitor", "{program}")
    trap.repo.git("status")
    assert trap.mark.exists()


def test_the_trap_of_a_filter_works(trap: Trap) -> None:
    trap.set("filter.x.clean", "{program}")
    (trap.repo.path / "filtered").write_text("two")
    trap.repo.git("diff-index", "-p", "HEAD")
    assert trap.mark.exists()


def test_the_trap_of_a_partial_clone_works(trap: Trap) -> None:
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": "ext::{program}",
        "protocol.ext.allow": "always",
    }.items():
        trap.set(name, value)
    trap.repo.git("cat-file", "--batch", stdin=b"0123456789012345678901234567890123456789\n")
    assert trap.mark.exists()


def test_hooks_start_nothing(trap: Trap) -> None:
    for name in ("post-checkout", "pre-auto-gc", "reference-transaction", "fsmonitor-watchman", "post-index-change"):
        (trap.repo.path / ".git" / "hooks").mkdir(exist_ok=True)
        (trap.repo.path / ".git" / "hooks" / name).symlink_to(trap.program)
    trap.use_everything()
    assert not trap.mark.exists()


def test_the_environment_s_git_variables_are_not_heard(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier step of a job can set them for all later ones."""
    other = Repository(trap.program.parent / "other")
    elsewhere = other.commit()
    for name, value in {
        "GIT_DIR": str(other.path / ".git"),
        "GIT_OBJECT_DIRECTORY": str(other.path / ".git" / "objects"),
        "GIT_TRACE": str(trap.mark),
        "GIT_SSH_COMMAND": str(trap.program),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(trap.program),
        "GIT_REPLACE_REF_BASE": "refs/heads/",
    }.items():
        monkeypatch.setenv(name, value)
    assert checkout.head(trap.repo.path) == trap.head != elsewhere
    assert [commit.sha for commit in LocalGit(trap.repo.path).commits("a/b", [], trap.head)] == [trap.head]
    assert not trap.mark.exists()
