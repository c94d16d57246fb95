"""`gate demo --bot`: the story with a page: a job asks, a person opens the link and decides, the job goes on or not."""

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gate.cli.bot import check_installed
from gate.deployment import Deployment
from gate.errors import GateError, UsageError
from gate.installation import gate_command

_SECONDS_TO_START = 30
_MARK = "gate: approval asked for: "


def tell(folder: Path, deployment: Deployment, port: int) -> int:
    """Run a bot and a job, until a person has decided; the gate's exit code.

    Raises:
        UsageError: the port is taken.
        GateError: the bot does not start.
    """
    check_installed()
    for end in (signal.SIGTERM, signal.SIGHUP):  # so that every block is left, as by ^C
        if signal.getsignal(end) != signal.SIG_IGN:  # by nohup, say
            signal.signal(end, lambda number, _: sys.exit(128 + number))
    click.secho("Deploy Gate: a link that an engineer can trust on a phone at 2 a.m.", bold=True)
    url = f"http://localhost:{port}"
    with _running(folder, port) as token:
        click.secho("\n1. A deploy job asks for approval, and waits", fg="cyan", bold=True)
        code = _job(folder, deployment, url, token)
        click.secho("\n3. Who approved it?", fg="cyan", bold=True)
        _gate(folder, "audit", "show", deployment.sha, "--policy", str(folder / "gate.yaml"))
        if sys.stdin.isatty():
            click.echo(f"\nThe bot goes on: look at {url}/history, make a passkey at {url}/passkeys, then ask again:")
            click.echo(f"  GATE_BOT_TOKEN={token} {gate_command()} request --deploy-bot {url} \\")
            click.echo(f"    --repository {deployment.repository} --sha {deployment.sha} \\")
            click.echo(f"    --environment {deployment.environment} --run-id {time.time_ns()}")
            click.pause("Press any key to end it.")
    click.secho("\nThat is all of it. Next: docs/bot.md sets a bot up for your people and jobs.", bold=True)
    return code


@contextmanager
def _running(folder: Path, port: int) -> Iterator[str]:
    """Run a bot meanwhile; the API token that a job asks it with."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UsageError(f"Something listens at port {port} already.", hint="Choose another one: --port.")
    command = [sys.executable, "-m", "gate", "bot", "--dev", "--folder", str(folder), "--port", str(port)]
    with (folder / "bot.log").open("wb") as log:
        bot = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield _token(bot, folder / "job.token")
    finally:
        bot.terminate()
        bot.wait(timeout=30)


def _token(bot: "subprocess.Popen[bytes]", file: Path) -> str:
    """The token, once it is there: the bot writes it last, when it listens already (gate.bot.dev)."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while bot.poll() is None and time.monotonic() < deadline:
        if file.exists() and (token := file.read_text()):
            return token
        time.sleep(0.05)
    raise GateError("The demo's bot did not start.", hint="Try `gate bot --dev` by itself: it says why.")


def _job(folder: Path, deployment: Deployment, url: str, token: str) -> int:
    """The job, its words as they come; a person is shown the link."""
    args = ["verify", "--policy", str(folder / "gate.yaml"), "--deploy-bot", url, "--wait", "30m"]
    args += ["--repository", deployment.repository, "--sha", deployment.sha, "--environment", deployment.environment]
    args += ["--run-id", str(time.time_ns()), "--actor", "carol"]
    click.secho(f"$ gate {' '.join(args)}".replace(str(folder), "…"), dim=True)
    environment = {**os.environ, "GATE_BOT_TOKEN": token}
    command = [sys.executable, "-m", "gate", *args]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as job:
        try:
            for line in job.stderr or ():
                click.echo(line.rstrip("\n"), err=True)
                if line.startswith(_MARK):
                    _show(line.removeprefix(_MARK).strip())
            return job.wait()
        finally:
            job.terminate()


def _show(link: str) -> None:
    click.secho("\n2. You decide, in the browser", fg="cyan", bold=True)
    click.secho(f"   {link}", bold=True)
    click.echo("   Sign in as Alice, look at what would be signed, then approve or decline.\n")
    if sys.stdin.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
        webbrowser.open(link)


def _gate(folder: Path, *args: str) -> None:
    click.secho(f"$ gate {' '.join(args)}".replace(str(folder), "…"), dim=True)
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "gate", *args], cwd=folder, check=False)
