"""docs/bot.md is true: its settings can be read, its fields, limits and refusals are those of the code."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gate.bot import app, bodies, connections, facts, history, limits, metrics, pages, promptness
from gate.bot.settings import read_settings
from gate.bot.state import open_state
from tests.pages import ROOT, Block, Shell, blocks
from tests.parts import Aws, free_port, need
from tests.world import commit

PAGE = ROOT / "docs/bot.md"
TEXT = PAGE.read_text()
BLOCKS = blocks(PAGE)
SETTINGS = [block for block in BLOCKS if block.text.startswith("# bot.yaml\n")]
SOURCES = [ROOT / f"gate/bot/{name}.py" for name in ("settings", "jobsettings", "signin", "notices/sections")]


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def one(text: str) -> Block:
    """The block that holds `text`."""
    (found,) = [block for block in BLOCKS if text in block.text]
    return found


# --- bot.yaml -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.where)
def test_the_bot_takes_every_example_of_its_settings(block: Block) -> None:
    read_settings(block.text.encode(), Path("/etc/deploy-gate"))


def test_every_field_is_in_the_table_and_in_the_first_example() -> None:
    found = {name for source in SOURCES for name in re.findall(r'(?:required|optional)\("(\w+)"', source.read_text())}
    assert len(found) > 30
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", section("bot.yaml"), re.M))
    told = {part for name in re.findall(r"`([\w.\[\]]+)`", rows) for part in name.replace("[]", "").split(".")}
    assert sorted(found - told) == []
    example = yaml.safe_load(SETTINGS[0].text)
    shown = set(re.findall(r"'(\w+)':", str(example)))
    assert found - shown == {"token"}


def test_no_row_is_about_a_field_that_there_is_not() -> None:
    found = {name for source in SOURCES for name in re.findall(r'(?:required|optional)\("(\w+)"', source.read_text())}
    for row in re.findall(r"^\| (`.*?) \|", section("bot.yaml"), re.M):
        for name in re.findall(r"`([\w.\[\]]+)`", row):
            assert set(name.replace("[]", "").split(".")) <= found, name


# --- commands, units, roles -----------------------------------------------------------------------------------------


def test_the_command_makes_the_table_that_the_state_needs(tmp_path: Path, aws: Aws) -> None:
    need(shutil.which("aws", path=Path(sys.executable).parent) is not None, "AWS command line (pip install awscli)")
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    shell = Shell(tmp_path, {**mine, "AWS_ENDPOINT_URL": aws.endpoint, "AWS_DEFAULT_REGION": aws.region})
    code, printed = shell.run(one("--table-name deploy-gate-bot").text)
    assert code == 0, printed
    state = open_state(f"dynamodb://deploy-gate-bot?region={aws.region}&endpoint={aws.endpoint}", None)
    bad = [finding for finding in state.diagnose() if finding.severity == "error"]
    assert bad == []
    aws.client("dynamodb").delete_table(TableName="deploy-gate-bot")


def test_the_role_may_do_what_the_state_needs_and_no_more() -> None:
    statements = json.loads(one('"KeepState"').text)["Statement"]
    (granted,) = [set(statement["Action"]) for statement in statements if statement["Sid"] == "KeepState"]
    told = set(re.findall(r"`(dynamodb:\w+)`", (ROOT / "gate/bot/state/dynamodb.py").read_text()))
    looking = {"dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"}
    assert granted == told - looking
    assert all(f"`{action}`" in TEXT for action in looking)


def test_the_trial_serves_and_is_asked_as_the_page_says(tmp_path: Path) -> None:
    shop, port = tmp_path / "shop", free_port()
    commit(shop, "Fix the login", "bob@example.com")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    gate = [sys.executable, "-m", "gate"]
    options = one("gate bot --dev\n").text.split()[1:]
    with subprocess.Popen(
        [*gate, *options, "--port", str(port)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as bot:
        assert bot.stdout is not None
        try:
            lines = [bot.stdout.readline() for _ in range(5)]
            shown = one("The page:  ").text.replace("8765", str(port)).splitlines()
            assert [bool(re.fullmatch(re.escape(line).replace("…", ".*"), got.rstrip())) for line, got in zip(
                shown, lines, strict=True)] == [True] * 5, lines  # fmt: skip
            ask = "".join(lines[3:])
            waiting = subprocess.run(
                ["bash", "-c", f"{ask.rstrip()} --wait 0"],
                cwd=shop, env=environ, capture_output=True, text=True, timeout=90, check=False,
            )  # fmt: skip
            assert waiting.returncode == 1, waiting.stderr
            assert f"http://localhost:{port}/requests/" in waiting.stderr
        finally:
            bot.send_signal(signal.SIGINT)
    assert not Path(lines[1].split()[-1]).parent.exists()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    need(shutil.which("systemd-analyze") is not None, "systemd-analyze (apt install systemd)")
    unit = tmp_path / "deploy-gate-bot.service"
    unit.write_text(one("[Unit]").text.replace("/opt/deploy-gate-bot/bin/gate", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_the_unit_and_the_image_start_the_bot() -> None:
    (start,) = re.findall(r"^ExecStart=(.*)$", one("[Unit]").text, re.M)
    assert start.split()[1:3] == ["bot", "--config"]
    image = one("FROM ").text
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", image, re.M)
    assert json.loads(entry)[:4] == ["python", "-m", "gate", "bot"]
    for copied in re.findall(r"^COPY (\S+)", image, re.M):
        assert (ROOT / copied).exists()


# --- words ----------------------------------------------------------------------------------------------------------


def test_every_route_for_machines_and_every_metric_is_there() -> None:
    machines = r'"(/(?:api|webhooks|healthz|readyz|metrics)\b[^"]*)"'
    routes = re.findall(machines, (ROOT / "gate/bot/app.py").read_text())
    assert len(routes) >= 6
    assert [route for route in routes if route not in TEXT] == []
    named = {f"{metric.name}{'_total' if metric.type == 'counter' else ''}" for metric in metrics.REGISTRY.collect()}
    assert named == set(re.findall(r"^\| `(gate_bot_\w+)` \|", TEXT, re.M))


LIMITS = {
    "ask": "jobs that ask, of one repository that its CI vouches for, or with one API token; those that are proved to "
    "be of an environment apart from the others",
    "begin": "requests that they begin, which are shown to people; those of jobs that GitHub holds are not counted",
    "ask refused": "jobs that are refused, from one address",
    "poll refused": "wrong secrets of jobs, from one address",
    "sign in failed": "failed sign-ins, from one address",
    "code refused": "codes that the provider refused, after which it is asked for none from there",
    "decide": "decisions and enrolments, of one person",
    "recorded failure": "failed sign-ins that are recorded",
}


def test_every_limit_has_its_row() -> None:
    table = section("Running it").partition("\n### Limits\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.M))
    units = {60: "a minute", 3600: "an hour"}
    told = {name: rows[what] for name, what in LIMITS.items()}
    assert told == {name: f"{limit.amount} {units[limit.get_expiry()]}" for name, limit in limits._LIMITS.items()}
    assert rows["connections at once"] == (
        f"{connections.MOST}, and {connections.FOR_PROBES} more that get nothing but `/healthz` and `/readyz`; "
        f"each has {promptness.SECONDS:.0f} seconds to send a head (of those {connections.FOR_PROBES}: "
        f"{connections._PROBE_SECONDS:.0f}), "
        f"{bodies.SECONDS:.0f} for a body, {promptness.READ_SECONDS:.0f} to take an answer, "
        f"and {promptness.IDLE_SECONDS:.0f} until it asks again"
    )
    of_one = connections.OF_ONE_ADDRESS
    assert rows["connections of one address"] == f"{of_one}; of one of `trusted_proxies`: as many as there are"
    assert rows["requests under way of one address"].startswith(f"{of_one}, ")
    assert rows["requests on one page · records on one page of the history"] == f"{pages.LISTED} · {history.SHOWN}"
    waiting = rows["threads that wait for issuers and GitHub · for providers"]
    assert waiting.startswith(f"{app._ASKING} · {app._SIGNING_IN},")
    assert f"share {limits._COUNTERS:,} counters" in section("Running it")
    for text in (rows["one request's document"], (ROOT / "README.md").read_text()):
        assert f"newest {facts._LISTED} " in text


def test_the_page_quotes_what_the_bot_says() -> None:
    files = [
        *(ROOT / "gate/bot").rglob("*.py"),
        *(ROOT / "gate/bot/static").glob("*.js"),
        *(ROOT / "gate/requester").glob("*.py"),
        ROOT / "gate/verification.py",
    ]
    source = " ".join(path.read_text() for path in files)
    source = re.sub(r'"\s+f?"', "", source)
    source += re.sub(r"\{[^{}]*\}", "…", source)
    quoted = re.findall(r'^\| "(.*?)" \|', section("What a refusal means"), re.M)
    assert len(quoted) > 20
    names = r"Example SSO|production|environment(?= than the)|declined(?=\.$)"
    assert [words for words in quoted if re.sub(names, "…", words) not in source and words not in source] == []
