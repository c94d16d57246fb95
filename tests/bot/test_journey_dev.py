"""`gate bot --dev`: what somebody does who tries it out, and that nobody else can reach it."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bot.browser import PHONE, Browser
from tests.bot.running import SECRETS, Place
from tests.bot.stage import ROOT
from tests.bot.test_journey import ended, eventually, link
from tests.bot.visitor import Visitor
from tests.parts import free_port


class Trial(NamedTuple):
    """A bot that was started with --dev, as it says itself."""

    url: str
    policy: str
    token: str


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return kept | {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)} | more


@contextmanager
def trying(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", Trial]]:
    """A trial that runs until the block ends."""
    command = [sys.executable, "-m", "gate", "bot", "--dev", "--port", str(free_port())]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path, TMPDIR=str(tmp_path)), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        told = "".join(process.stdout.readline() for _ in range(5))
        found = re.search(
            r"The page: +(\S+)/\nThe policy: +(\S+)\n(?s:.*)GATE_BOT_TOKEN=(\S+) (?:\S+ -m )?gate request", told
        )
        assert found, told
        try:
            yield process, Trial(*found.groups())
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert not Path(found[2]).exists(), "it leaves nothing behind"


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with trying(tmp_path) as (_, trial):
        yield trial


def test_trying_it_out(trial: Trial, browser: Browser, tmp_path: Path) -> None:
    browser.resize(PHONE)
    command = [sys.executable, "-m", "gate", "verify", "--policy", trial.policy, "--deploy-bot", trial.url,
               *shlex.split("--repository acme/shop --environment production --run-id 1 --actor zoe --wait 60s"),
               "--sha", "1f3c9ab2" * 5]  # fmt: skip
    environ = environment(tmp_path, GATE_BOT_TOKEN=trial.token)
    eventually(browser, f"{trial.url}/", lambda: browser.heading == "Sign in")
    browser.press("alice@example.com")
    assert "anybody on this machine can be anybody here" in browser.driver.page_source
    browser.press("Passkeys")
    browser.press("Make a passkey")
    browser.press("Merge it into this trial")
    assert "None yet" not in browser.text, "it counts at once"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        browser.open(link(job))
        assert "1 approver with a passkey" in browser.text
        browser.press("Approve with your passkey")
        code, told = ended(job)
    assert code == 0, told
    assert "✓ passkey     of alice@example.com" in told


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP])
def test_it_leaves_nothing_behind_however_it_ends(end: signal.Signals, tmp_path: Path) -> None:
    with trying(tmp_path) as (process, trial):
        assert Path(trial.policy).is_file()
        Visitor(trial.url, int(trial.url.rpartition(":")[2])).get("/sign-in")  # it serves
        process.send_signal(end)
        assert process.wait(timeout=30) in (0, 130)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gate.example.com", ""])
def test_it_listens_to_this_machine_alone(host: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gate", "bot", "--dev", "--host", host]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--dev lets anybody be anybody, so it listens on this machine alone." in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "{taken}"], "can't listen at port"),
        (["--host", "127.0.0.1", "--folder", "/dev/null/x"], "/dev/null/x can't be made"),
        (["--config", "bot.yaml"], "--dev makes its own settings"),
    ],
)
def test_what_can_t_be_served_is_said_before_anybody_is_sent_there(
    tmp_path: Path, options: list[str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [option.format(taken=taken.getsockname()[1]) for option in options]
        given += [] if "--port" in given else ["--port", str(free_port())]
        command = [sys.executable, "-m", "gate", "bot", "--dev", *given]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment(tmp_path)
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said_by_a_bot_that_is_set_up(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.create_server(("127.0.0.1", place.port)):
        command = [
            sys.executable,
            "-m",
            "gate",
            "bot",
            "--config",
            str(tmp_path / "bot.yaml"),
            "--port",
            str(place.port),
        ]
        environ = environment(tmp_path, **SECRETS)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert done.returncode == 2
    assert f"can't listen at port {place.port}" in done.stderr


def _refused(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command, environ = [sys.executable, "-m", "gate", "bot", *options], environment(folder, **SECRETS)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
