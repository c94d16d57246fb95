"""The `gate` command, run as its users run it."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from gate.cli import cli, main
from gate.deployment import Deployment
from gate.errors import UsageError
from gate.issuer import Issuer
from gate.signers import create_key
from tests.core.authenticator import Authenticator
from tests.world import SHA, commit, git

ROOT = Path(__file__).resolve().parents[1]
WHO = "alice@example.com"
ABOUT = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]


def gate(
    folder: Path, *args: str, stdin: str = "", env: Mapping[str, str] | None = None, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `gate` in `folder`, `under` another command, with no environment but PATH and what is given."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "COVERAGE_PROCESS_CONFIG": os.environ.get("COVERAGE_PROCESS_CONFIG", ""),
        **(env or {}),
    }
    return subprocess.run(
        [*under, sys.executable, "-m", "gate", *args],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    done = gate(tmp_path, "init", "--approver", WHO)
    assert done.returncode == 0, done.stderr
    return tmp_path


def approve(folder: Path, *more: str) -> str:
    done = gate(folder, "approve", *ABOUT, "--approver", WHO, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_init_makes_a_private_key_and_overwrites_nothing(home: Path) -> None:
    key = home / ".gate/key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    again = gate(home, "init", "--approver", WHO)
    assert again.returncode == 2
    assert "already" in again.stderr
    assert before == {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_init_without_arguments_works(tmp_path: Path) -> None:
    assert gate(tmp_path, "init").returncode == 0
    assert (tmp_path / "gate.yaml").exists()


def test_init_leaves_nothing_behind_where_it_fails(tmp_path: Path) -> None:
    for approver in ('not "an approver', 'a@b", "mallory@evil', "a*@b"):
        done = gate(tmp_path, "init", "--approver", approver)
        assert done.returncode == 2
    assert not (tmp_path / "gate.yaml").exists()
    assert gate(tmp_path, "init", "--approver", WHO).returncode == 0


def test_init_in_a_checkout_warns(tmp_path: Path) -> None:
    commit(tmp_path, "one", WHO)
    done = gate(tmp_path, "init", "--approver", WHO)
    assert "note: this is a checkout" in done.stdout
    assert git(tmp_path, "status", "--porcelain") == "?? gate.yaml"


def test_approve_then_verify_then_replay(home: Path) -> None:
    token = approve(home, "--reason", "hotfix")
    allowed = gate(home, "verify", *ABOUT, "--approval", "-", stdin=token)
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert allowed.stdout.startswith("ALLOWED")
    denied = gate(home, "verify", *ABOUT, "--json", env={"GATE_APPROVALS": f"\n {token} \n"})
    assert denied.returncode == 1
    answer = json.loads(denied.stdout)
    assert (answer["decision"], answer["reason"]) == ("deny", "replay.used")
    assert set(answer) == {
        "decision", "reason", "message", "hint", "deployment", "approvals", "record", "checks",
    }  # fmt: skip
    assert all(set(check) == {"name", "status", "expected", "actual"} for check in answer["checks"])
    assert token not in denied.stdout + denied.stderr + allowed.stdout


def test_an_environment_may_be_called_as_a_ci_calls_it(home: Path) -> None:
    policy = home / "gate.yaml"
    names = '    ci_names: ["Production EU", production/eu-west-1]\n'
    policy.write_text(policy.read_text().replace("  production:\n", f"  production:\n{names}"))
    about = ABOUT[: ABOUT.index("--environment")] + ABOUT[ABOUT.index("--environment") + 2 :]
    for approved, verified in (("production", "PRODUCTION eu"), ("production/eu-west-1", "production")):
        token = approve(home, "--environment", approved)
        done = gate(home, "verify", *about, "--environment", verified, "--approval", "-", "--json", stdin=token)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["deployment"]["environment"]) == (0, "production")
    unknown = gate(home, "verify", *about, "--environment", "Production US", "--json")
    assert "ci_names" in json.loads(unknown.stdout)["hint"]


def test_approve_takes_repository_and_sha_from_the_checkout(home: Path) -> None:
    clone = home / "clone"
    sha = commit(clone, "one", WHO)
    git(clone, "remote", "add", "origin", "git@github.com:Acme/Shop.git")
    policy = ["--policy", str(home / "gate.yaml")]
    done = gate(clone, "approve", "--environment", "production", "--approver", WHO, *policy)
    assert done.returncode == 0, done.stderr
    verify = ["verify", *policy, "--repository", "acme/shop", "--sha", sha, "--environment", "production"]
    assert gate(clone, *verify, "--approval", done.stdout.strip()).returncode == 0
    assert gate(home, "approve", "--environment", "production", "--approver", WHO).returncode == 2


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (["--approver", "mallory@example.com"], "key.not_authorized", "may not speak for mallory@example.com"),
        (["--approver", "carol@example.com"], "approver.not_allowed", "may not approve deployments into production"),
        (["--environment", "prodd"], "environment.unknown", "one of production"),
        (["--repository", "acme/a/b/shop"], "repository.not_allowed", "acme/a/b/shop"),
        (["--ttl", "16m"], "token.too_long_lived", "900 s"),
        (["--signer", "file:other.pem"], "key.unknown", "does not list"),
    ],
)
def test_approve_refuses_what_the_gate_would_and_says_so(home: Path, change: list[str], reason: str, says: str) -> None:
    policy = home / "gate.yaml"
    policy.write_text(policy.read_text().replace(f'["{WHO}"]', f'["{WHO}", carol@example.com]', 1))
    assert gate(home, "keys", "new", "file:other.pem").returncode == 0
    refused = gate(home, "approve", *ABOUT, "--approver", WHO, *change)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert says in refused.stderr
    assert "--force" in refused.stderr
    forced = gate(home, "approve", *ABOUT, "--approver", WHO, *change, "--force")
    assert (forced.returncode, forced.stdout.count(".")) == (0, 2)
    assert f"warning: the gate would deny this approval ({reason})" in forced.stderr
    assert gate(home, "approve", *ABOUT, "--approver", WHO, "--ttl", "soon").returncode == 2


def test_approve_says_that_others_must_approve_too(home: Path) -> None:
    policy = home / "gate.yaml"
    more = policy.read_text().replace(f'["{WHO}"]', f'["{WHO}", carol@example.com]')
    policy.write_text(more.replace("    max_age: 15m\n", "    approvals: 2\n"))
    done = gate(home, "approve", *ABOUT, "--approver", WHO)
    assert (done.returncode, "note: production takes 2 approvers" in done.stderr) == (0, True)


def test_approve_without_a_policy_says_so_and_makes_no_key(tmp_path: Path) -> None:
    unfound = gate(tmp_path, "approve", *ABOUT, "--approver", WHO)
    assert (unfound.returncode, "No policy was found" in unfound.stderr) == (2, True)
    assert "keys new" not in unfound.stderr
    named = gate(
        tmp_path, "approve", *ABOUT, "--approver", WHO, "--signer", "file:k", env={"GATE_POLICY": "nowhere.yaml"}
    )
    assert (named.returncode, "nowhere.yaml can't be read" in named.stderr) == (2, True)
    assert [*tmp_path.iterdir()] == []


def test_approve_knows_the_commits_of_the_clone_at_hand(home: Path) -> None:
    clone = home / "clone"
    first, second = commit(clone, "one", WHO), commit(clone, "two", WHO)
    git(clone, "remote", "add", "origin", "https://git.example.com/scm/Acme/Shop.git")
    git(clone, "-c", f"user.name={WHO}", "-c", f"user.email={WHO}", "tag", "-a", "-m", "x", "v1.0", first)
    tag, tree = git(clone, "rev-parse", "v1.0"), git(clone, "rev-parse", "HEAD^{tree}")

    def approved(sha: str, *more: str, folder: Path = clone) -> subprocess.CompletedProcess[str]:
        policy = ["--policy", str(home / "gate.yaml"), "--environment", "production", "--approver", WHO]
        return gate(folder, "approve", *policy, *(["--sha", sha] if sha else []), *more)

    assert f":{second} into" in approved("").stderr
    assert (approved(first).returncode, "note:" in approved(first).stderr) == (0, False)
    for name in (tag, "v1.0"):
        done = approved(name)
        assert f"note: {name} is a tag of the commit {first}." in done.stderr
        assert f"approves deploy:acme/shop:{first} into" in done.stderr
    for wrong in (tree, SHA, first[:12], "main", "v1.0~0", "--help", "v2.0"):
        refused = approved(wrong)
        assert (refused.returncode, refused.stdout) == (2, ""), wrong
    assert "The clone here holds no such commit." in approved(SHA).stderr
    assert approved(SHA, "--force").returncode == 0
    assert approved(SHA, "--repository", "acme/other").returncode == 0  # of which there is no clone here
    other = approved("", "--repository", "acme/other")
    assert (other.returncode, "no checkout of acme/other" in other.stderr) == (2, True)
    git(home, "clone", "-q", "--depth=1", f"file://{clone}", "shallow")
    git(home / "shallow", "remote", "set-url", "origin", "ssh://git@git.example.com:7999/acme/shop.git")
    assert approved(first, folder=home / "shallow").returncode == 0  # which can't tell


def test_an_origin_that_makes_no_name_is_said_to_be_there(home: Path) -> None:
    clone = home / "clone"
    commit(clone, "one", WHO)
    git(clone, "remote", "add", "origin", "https://bob:hunter2@git.example.com/scm/~alice/Web%20Shop.git")
    policy = ["--policy", str(home / "gate.yaml"), "--environment", "production"]
    for command in (["approve", "--approver", WHO], ["verify"]):
        done = gate(clone, *command, *policy)
        told = done.stdout + done.stderr
        assert (done.returncode, "~alice/Web Shop" in told, "--repository" in told) == (2, True, True)
        assert "hunter2" not in told
    chosen = gate(clone, "approve", "--approver", WHO, *policy, "--repository", "alice/web-shop")
    assert (chosen.returncode, "deploy:alice/web-shop:" in chosen.stderr) == (0, True)


def test_approve_refuses_where_it_would_take_a_passkey(home: Path) -> None:
    policy = home / "gate.yaml"
    asking = policy.read_text().replace("    max_age: 15m\n", "    max_age: 15m\n    passkey: required\n")
    passkeys = f"people:\n  {WHO}: {{passkeys: [{Authenticator().credential_yaml}]}}\n"
    policy.write_text(f"{asking}{passkeys}passkeys: {{origin: https://gate.example.com}}\n")
    done = gate(home, "approve", *ABOUT, "--approver", WHO)
    assert (done.returncode, done.stdout, "without a passkey" in done.stderr) == (1, "", True)
    assert gate(home, "approve", *ABOUT, "--approver", WHO, "--force").returncode == 0


def test_approve_without_a_policy_needs_only_a_key(tmp_path: Path) -> None:
    assert gate(tmp_path, "keys", "new", "file:key.pem", "--alg", "ES256").returncode == 0
    done = gate(tmp_path, "approve", *ABOUT, "--approver", WHO, "--signer", "file:key.pem")
    assert (done.returncode, done.stdout.count("."), "no policy was found" in done.stderr) == (0, 2, True)


def test_keys_show_prints_what_keys_new_printed(tmp_path: Path) -> None:
    new = gate(tmp_path, "keys", "new", "file:key.pem", "--approvers", "*@example.com")
    show = gate(tmp_path, "keys", "show", "file:key.pem", "--approvers", "*@example.com")
    assert new.stdout == show.stdout
    assert 'approvers: ["*@example.com"]' in show.stdout
    assert gate(tmp_path, "keys", "new", "file:key.pem").returncode == 2


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    (home / ".gate/key.pem").chmod(0o640)
    done = gate(home, "approve", *ABOUT, "--approver", WHO)
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


def test_inspect_explains_and_says_that_it_verified_nothing(home: Path) -> None:
    token = approve(home, "--reason", "fix \u202e::error::\nlogin")
    shown = gate(home, "inspect", token)
    assert shown.returncode == 0
    assert "NOTHING HERE IS VERIFIED" in shown.stdout
    assert "\u202e" not in shown.stdout
    assert "\n::error::" not in shown.stdout
    as_json = json.loads(gate(home, "inspect", "--json", "-", stdin=token).stdout)
    assert as_json["verified"] is False
    assert as_json["claims"]["sub"] == WHO
    assert gate(home, "inspect", "nonsense").returncode == 1


def test_a_policy_in_the_checkout_needs_its_pin(tmp_path: Path) -> None:
    sha = commit(tmp_path, "one", WHO)
    assert gate(tmp_path, "init", "--approver", WHO).returncode == 0
    about = ["--repository", "acme/shop", "--sha", sha, "--environment", "production"]
    token = gate(tmp_path, "approve", *about, "--approver", WHO).stdout.strip()
    refused = gate(tmp_path, "verify", *about, "--json", "--approval", token)
    assert (refused.returncode, json.loads(refused.stdout)["reason"]) == (2, "policy.invalid")
    wrong = gate(tmp_path, "verify", *about, "--json", "--approval", token, "--policy-sha256", "0" * 64)
    assert (wrong.returncode, json.loads(wrong.stdout)["reason"]) == (2, "policy.invalid")
    pin = hashlib.sha256((tmp_path / "gate.yaml").read_bytes()).hexdigest()
    state = gate(tmp_path, "verify", *about, "--json", "--approval", token, "--policy-sha256", pin)
    assert "its replay has no absolute path" in json.loads(state.stdout)["message"]
    assert gate(tmp_path, "verify", *about, "--approval", token, "--unsafe-policy-from-checkout").returncode == 0


def test_a_pinned_policy_in_the_checkout_whose_state_is_elsewhere(tmp_path: Path) -> None:
    sha = commit(tmp_path / "clone", "one", WHO)
    assert gate(tmp_path / "clone", "init", "--approver", WHO).returncode == 0
    path = tmp_path / "clone/gate.yaml"
    path.write_text(path.read_text().replace(":.gate/", f"://{tmp_path}/state/"))
    about = ["--repository", "acme/shop", "--sha", sha, "--environment", "production"]
    token = gate(tmp_path / "clone", "approve", *about, "--approver", WHO).stdout.strip()
    pin = hashlib.sha256(path.read_bytes()).hexdigest()
    verify = ["verify", *about, "--approval", token, "--policy-sha256"]
    assert gate(tmp_path / "clone", *verify, "0" * 64).returncode == 2
    assert gate(tmp_path / "clone", *verify, pin).returncode == 0


def test_a_workspace_around_the_checkout_is_no_way_past_it(tmp_path: Path) -> None:
    """A CI may clone into a folder of its workspace: what lies there is as little to be trusted."""
    sha = commit(tmp_path / "work/app", "one", WHO)
    assert gate(tmp_path / "work/app", "init", "--approver", WHO).returncode == 0
    ci = {
        "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_SHA": sha,
        "GITHUB_WORKSPACE": str(tmp_path / "work"),
    }  # fmt: skip
    verify = ["verify", "--from-ci", "--environment", "production", "--policy", "app/gate.yaml", "--json"]
    unsaid = json.loads(gate(tmp_path / "work", *verify, env=ci).stdout)
    assert (unsaid["reason"], "--checkout" in unsaid["hint"]) == ("usage.invalid", True)
    said = json.loads(gate(tmp_path / "work", *verify, "--checkout", "app", env=ci).stdout)
    assert said["reason"] == "policy.invalid"
    (tmp_path / "work/app/.git").rename(tmp_path / "git")
    exported = json.loads(gate(tmp_path / "work", *verify, env=ci).stdout)
    assert (exported["reason"], "inside the checkout" in exported["message"]) == ("policy.invalid", True)


def test_odd_files_neither_hang_nor_crash(home: Path) -> None:
    os.mkfifo(home / "fifo")
    (home / "circle").symlink_to("circle")
    for policy in ("fifo", "circle", "/dev/zero"):
        done = gate(home, "verify", *ABOUT, "--json", "--policy", policy)
        assert json.loads(done.stdout)["reason"] == "policy.invalid", policy
    done = gate(home, "verify", *ABOUT, "--json", "--checkout", "circle")
    assert json.loads(done.stdout)["reason"] == "usage.invalid"
    assert gate(home, "audit", "report", "--output", "").returncode == 2
    assert gate(home, "audit", "report", "--output", "r.html", "--csv", "r.html").returncode == 2


def test_what_click_refuses_is_shown_safely(home: Path) -> None:
    token = approve(home)
    done = gate(home, "verify", token)
    assert (done.returncode, token[:20] in done.stderr, "(a token)" in done.stderr) == (2, False, True)
    odd = gate(home, "verify", "\x1b[31mX\n::error::injected")
    assert (odd.returncode, "\n::error::" in odd.stderr, "\x1b" in odd.stderr) == (2, False, False)


@pytest.mark.parametrize(
    ("program", "variable"),
    [
        (["-m", "gate"], "_PYTHON _M GATE_COMPLETE"),
        (["-m", "gate"], "_GATE_COMPLETE"),
        (
            ["-c", "import sys; from gate.cli import main; sys.argv[0] = '/opt/deploy-gate'; main()"],
            "_DEPLOY_GATE_COMPLETE",
        ),
        (["-c", "import sys; from gate.cli import main; sys.argv[0] = 'gate'; main()"], "="),
    ],
)
@pytest.mark.parametrize("instruction", ["bash_source", "bash_complete", "zsh_source"])
def test_no_variable_makes_a_command_complete_and_end_with_zero(
    home: Path, program: list[str], variable: str, instruction: str
) -> None:
    environ = {"PATH": os.environ["PATH"], "COMP_WORDS": "gate ver", "COMP_CWORD": "1"}
    setting = [f"{name}={value}" for name, value in environ.items()] + [f"{variable}={instruction}"]
    done = subprocess.run(
        ["env", "-i", *setting, sys.executable, *program, "verify"], cwd=home, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout[:7]) == (2, b"BLOCKED")


def test_completion_is_asked_for_by_a_command_and_works_in_bash(home: Path) -> None:
    bin_folder = home / "bin"
    bin_folder.mkdir()
    (bin_folder / "gate").write_text(f'#!/bin/sh\nexec {sys.executable} -m gate "$@"\n')
    (bin_folder / "gate").chmod(0o755)
    lines = [
        "source <(gate completion bash)",
        "COMP_WORDS=(gate ver) COMP_CWORD=1",
        '_gate gate; echo "${COMPREPLY[*]}"',
        "COMP_WORDS=(gate verify --environ) COMP_CWORD=2",
        '_gate gate; echo "${COMPREPLY[*]}"',
        "complete -p gate",
    ]
    done = subprocess.run(
        ["bash", "--norc", "-eu"],
        input="\n".join(lines),
        cwd=home,
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (
        ["verify", "--environment", "complete -o nosort -F _gate gate"],
        "",
    )


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_ones(home: Path, shell: str) -> None:
    script = gate(home, "completion", shell).stdout
    assert "completion" in script
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n"], input=script, text=True, check=False).returncode == 0


def groups(group: click.Command, *names: str) -> Iterator[list[str]]:
    """The words of each group of commands."""
    if isinstance(group, click.Group):
        yield [*names]
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            yield from groups(command, *names, name)


@pytest.mark.parametrize("group", [*groups(cli)], ids=str)
def test_a_group_alone_prints_its_help_and_decides_nothing(tmp_path: Path, group: list[str]) -> None:
    done = gate(tmp_path, *group)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert "\nCommands:\n" in done.stderr
    assert "\\n" not in done.stderr
    asked = gate(tmp_path, *group, "--help")
    assert (asked.returncode, asked.stdout) == (0, done.stderr)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("verfy", "There is no command verfy. Did you mean: gate verify?"),
        ("aprove --environment x", "There is no command aprove. Did you mean: gate approve?"),
        ("audit shwo", "There is no command shwo. Did you mean: gate audit show?"),
        ("rotate", "There is no command rotate. Did you mean: gate keys rotate?"),
        ("keys verify", "There is no command verify.\n"),
        ("verify --enviroment x", "There is no option --enviroment. Did you mean: --environment?"),
        ("verify --env x", "There is no option --env. Did you mean: --environment?"),
        ("verify --repo x", "There is no option --repo. Did you mean: --repository?"),
        ("audit show --polcy x", "There is no option --polcy. Did you mean: --policy?"),
        ("--versoin", "There is no option --versoin. Did you mean: --version?"),
        ("verify --zzzz", "There is no option --zzzz.\n"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_right_one(tmp_path: Path, typed: str, meant: str) -> None:
    done = gate(tmp_path, *typed.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gate: {meant}")


def test_a_link_in_the_checkout_is_in_the_checkout(tmp_path: Path) -> None:
    sha = commit(tmp_path / "clone", "one", WHO)
    assert gate(tmp_path, "init", "--approver", WHO).returncode == 0
    (tmp_path / "clone/policies").symlink_to(tmp_path)
    (tmp_path / "clone/gate.yaml").symlink_to(tmp_path / "gate.yaml")
    (tmp_path / "outside.yaml").symlink_to(tmp_path / "clone/gate.yaml")
    about = ["--repository", "acme/shop", "--sha", sha, "--environment", "production", "--json"]
    for policy in ("gate.yaml", "policies/gate.yaml", "../clone/gate.yaml"):
        done = gate(tmp_path / "clone", "verify", *about, "--policy", policy)
        assert json.loads(done.stdout)["reason"] == "policy.invalid", policy
    assert (
        json.loads(gate(tmp_path / "clone", "verify", *about, "--policy", "../gate.yaml").stdout)["reason"]
        == "token.missing"
    )


def test_a_pin_is_taken_as_people_have_it(home: Path) -> None:
    pin = hashlib.sha256((home / "gate.yaml").read_bytes()).hexdigest()
    printed = subprocess.run(["sha256sum", "gate.yaml"], cwd=home, capture_output=True, text=True, check=True).stdout

    def reason(pin: str) -> str:
        by_option = json.loads(gate(home, "verify", *ABOUT, "--json", "--policy-sha256", pin).stdout)["reason"]
        by_variable = json.loads(gate(home, "verify", *ABOUT, "--json", env={"GATE_POLICY_SHA256": pin}).stdout)[
            "reason"
        ]
        assert by_option == by_variable
        return str(by_option)

    for form in (pin, printed, f"{pin}\r\n", f"sha256:{pin}", f"SHA256:{pin.upper()}\n", f" {pin} *gate.yaml"):
        assert reason(form) == "token.missing", form
    for wrong in (pin[:-1], f"{pin} {pin}", f"{printed}{printed}", f"sha512:{pin}", f"md5:{pin}", "main", f"{pin}none"):
        assert reason(wrong) == "usage.invalid", wrong
    assert reason(printed.replace(pin, "0" * 64)) == "policy.invalid"
    assert reason("none\n") == "token.missing"
    for form, code in ((printed, 0), (printed.replace(pin, "0" * 64), 2), ("main", 2), ("", 2), ("none", 0)):
        assert gate(home, "doctor", env={"GATE_POLICY_SHA256": form}).returncode == code
    assert reason(" \n") == "usage.invalid"


def test_an_empty_pin_is_no_pin(home: Path) -> None:
    done = gate(home, "verify", *ABOUT, "--json", "--policy-sha256", "")
    assert json.loads(done.stdout)["reason"] == "usage.invalid"
    unset = gate(home, "verify", *ABOUT, "--json", env={"GATE_POLICY_SHA256": ""})
    assert json.loads(unset.stdout)["reason"] == "usage.invalid"
    none = gate(home, "verify", *ABOUT, "--json", env={"GATE_POLICY_SHA256": "none"})  # as the Action does
    assert json.loads(none.stdout)["reason"] == "token.missing"


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        (["--sha", "main"], "usage.invalid", 2),
        (["--sha", SHA.upper()], "usage.invalid", 2),
        (["--sha", ""], "usage.invalid", 2),
        (["--repository", "../../etc"], "usage.invalid", 2),
        (["--repository", "acme"], "usage.invalid", 2),
        (["--environment", "../prod"], "usage.invalid", 2),
        (["--environment", ""], "usage.invalid", 2),
        (["--environment", "staging"], "environment.unknown", 1),
        (["--policy", "nowhere.yaml"], "policy.invalid", 2),
        (["--policy", "."], "policy.invalid", 2),
        (["--actor", "a\nb"], "usage.invalid", 2),
        (["--checkout", "."], "usage.invalid", 2),
    ],
)
def test_bad_input_blocks_with_a_reason(home: Path, change: list[str], reason: str, code: int) -> None:
    done = gate(home, "verify", *ABOUT, *change, "--json", "--approval", approve(home))
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (code, reason)
    assert done.stderr == ""
    shown = gate(home, "verify", *ABOUT, *change)
    assert "Traceback" not in shown.stdout + shown.stderr
    assert reason in shown.stdout or code == 1


@pytest.mark.parametrize(
    "job",
    [
        {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_SHA": SHA},
        {"CI": "true"},
        {"TF_BUILD": "True"},
        {"TEAMCITY_VERSION": "2026.1"},
        {"GITLAB_CI": "true", "GITHUB_ACTIONS": "true"},
    ],
    ids=lambda job: next(iter(job)),
)
def test_on_a_ci_plain_verify_guesses_nothing(home: Path, job: dict[str, str]) -> None:
    clone = home / "clone"
    commit(clone, "one", WHO)
    git(clone, "remote", "add", "origin", "https://github.com/acme/shop")
    for given in ([], ["--repository", "acme/shop"]):
        done = gate(clone, "verify", *given, "--environment", "production", "--policy", "../gate.yaml", env=job)
        assert (done.returncode, "--from-ci" in done.stdout) == (2, True)


@pytest.mark.parametrize("no", ["", "false", "0"])
def test_a_person_s_plain_verify_takes_the_checkout_and_says_so(home: Path, no: str) -> None:
    clone = home / "clone"
    sha = commit(clone, "one", WHO)
    git(clone, "remote", "add", "origin", "git@github.com:Alice/Blog.git")
    about = ["--environment", "production", "--policy", str(home / "gate.yaml")]
    token = gate(clone, "approve", *about, "--approver", WHO).stdout
    done = gate(clone, "verify", *about, "--json", "--approval", "-", stdin=token, env={"CI": no})
    assert (done.returncode, json.loads(done.stdout)["decision"]) == (0, "allow")
    assert done.stderr.splitlines() == [
        "gate: repository alice/blog, as the checkout says",
        f"gate: sha {sha}, as the checkout says",
    ]
    given = gate(clone, "verify", *about, "--repository", "alice/blog", "--sha", sha)
    assert (given.returncode, given.stderr) == (1, "")
    outside = gate(home, "verify", *about)
    assert (outside.returncode, "There is no checkout here" in outside.stdout) == (2, True)


def test_doctor(home: Path) -> None:
    healthy = gate(home, "doctor", "--json")
    report = json.loads(healthy.stdout)
    assert (healthy.returncode, report["healthy"]) == (0, True)
    assert gate(home, "verify", *ABOUT, "--approval", approve(home)).returncode == 0
    assert gate(home, "doctor").returncode == 0
    (home / ".gate/key.pem").chmod(0o644)
    (home / "gate.yaml").chmod(0o666)
    sick = gate(home, "doctor")
    assert sick.returncode == 1
    assert "chmod 600" in sick.stdout
    assert "chmod 644" in sick.stdout
    record = next((home / ".gate/audit").rglob("seq=*.json"))
    record.write_bytes(record.read_bytes().replace(b"alice", b"mally"))
    assert "record 1 is not the one" in gate(home, "doctor").stdout
    assert gate(home, "doctor", "--policy", "nowhere").returncode == 2


def test_demo_tells_the_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = gate(tmp_path, "demo", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("ALLOWED", "replay.used", "sha.mismatch", "signature.invalid", "token.expired"):
        assert word in done.stdout
    assert list(tmp_path.glob("gate-demo-*")) == []


def commands(group: click.Group) -> list[tuple[str, click.Command]]:
    """Every command, by its words."""
    found = []
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            found.append((name, command))
            if isinstance(command, click.Group):
                found += [(f"{name} {inner}", leaf) for inner, leaf in commands(command)]
    return found


def test_every_command_has_help_with_an_example() -> None:
    for name, command in commands(cli):
        assert command.help, name
        assert isinstance(command, click.Group) or f"gate {name}" in command.help, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--help"], 0, "Example"),
        (["--version"], 0, "0.1"),
        (["nonsense"], 2, "There is no command"),
        (["verify", "--nonsense"], 2, "--nonsense"),
        (["keys", "show", "nonsense"], 2, "next:"),
        (["keys", "show", "gopher:key"], 2, "file:"),
    ],
)
def test_main_explains_every_error(
    args: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gate", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    assert words in "".join(capsys.readouterr())


def test_main_shows_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("arn:aws:iam::123456789012:role/x")

    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "123456789012" not in shown


def test_colours_follow_the_conventions(home: Path) -> None:
    assert "\x1b[" not in gate(home, "doctor").stdout
    assert "\x1b[" in gate(home, "doctor", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[" not in gate(home, "doctor", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert "\x1b[" not in gate(home, "doctor", env={"FORCE_COLOR": "1", "TERM": "dumb"}).stdout


@pytest.mark.parametrize(
    "args",
    [
        ["doctor", "--policy", "nope"],
        ["inspect", "x"],
        ["verify", "--nonsense"],
        ["audit", "verify", "--policy", "nope"],
    ],
)
def test_json_is_one_object_on_stdout_whatever_happens(home: Path, args: list[str]) -> None:
    done = gate(home, *args, "--json")
    assert done.returncode != 0
    assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize(
    "command", ["verify", "verify without a policy", "verify wrongly", "approve", "audit verify", "doctor"]
)
def test_an_answer_that_cannot_be_written_is_none(home: Path, command: str, json_too: list[str]) -> None:
    args = {
        "verify": ["verify", *ABOUT, "--approval", approve(home)],
        "verify without a policy": ["verify", *ABOUT, "--policy", "nope"],
        "verify wrongly": ["verify", "--nonsense"],
        "approve": ["approve", *ABOUT, "--approver", WHO],
        "audit verify": ["audit", "verify"],
        "doctor": ["doctor"],
    }[command]
    wanted = args + (json_too if command != "approve" else [])
    says = "gate: The answer can't be written."
    with Path("/dev/full").open("wb") as full:
        lost = _run_onto(home, wanted, stdout=full)
        assert "Traceback" not in lost.stderr
        assert "Exception ignored" not in lost.stderr
        if command != "verify wrongly" or json_too:  # which otherwise says all that it has to say on stderr
            assert (lost.returncode, lost.stderr.count(says)) == (3, 1)
        assert _run_onto(home, wanted, stdout=full, stderr=full).returncode == 3


def _run_onto(home: Path, args: list[str], **streams: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gate", *args]
    return subprocess.run(command, cwd=home, text=True, check=False, **({"stderr": subprocess.PIPE} | streams))


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
def test_an_answer_that_github_cannot_be_given_is_none(home: Path, variable: str) -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", variable: "/dev/full"}
    done = gate(home, "verify", "--from-ci", *ABOUT, "--approval", approve(home), env=environ)
    assert (done.returncode, variable in done.stderr, "Traceback" in done.stderr) == (3, True, False)


def test_a_closed_stdout_changes_no_answer(home: Path) -> None:
    for args, code in (([*ABOUT, "--approval", approve(home)], 0), (ABOUT, 1)):
        line = shlex.join([sys.executable, "-m", "gate", "verify", *args])
        done = subprocess.run(["sh", "-c", f"{line} >&-"], cwd=home, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (code, b"")


def test_a_checkout_that_is_not_there_is_not_looked_for_further_up(home: Path) -> None:
    clone = home / "clone"
    commit(clone, "one", WHO)
    done = gate(clone, "verify", *ABOUT, "--json", "--policy", "../gate.yaml", "--checkout", "no/such/folder")
    assert json.loads(done.stdout)["reason"] == "usage.invalid"


def test_approve_explains_what_it_was_given(home: Path) -> None:
    for reason in ("x" * 501, "f\udcfcr"):
        with pytest.raises(UsageError, match="reason"):
            Issuer(create_key("file:k.pem", home / reason[:1], "Ed25519")).issue(
                Deployment("acme/shop", SHA, "production"), WHO, now=1, ttl=1, reason=reason
            )
