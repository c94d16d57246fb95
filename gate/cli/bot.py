"""`gate bot`: serve the approval-link page."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gate.cli.pin import ask_pin
from gate.errors import UsageError
from gate.installation import gate_command, install_command
from gate.text import printable
from gate.uris import LOOPBACK

if TYPE_CHECKING:
    from socket import socket

    from gate.bot.settings import Settings
    from gate.bot.site import Site


@click.command()
@click.option("--config", "config", type=click.Path(path_type=Path), default="bot.yaml", envvar="GATE_BOT_CONFIG",
              show_envvar=True, show_default=True, help="The bot's settings.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="The port.")
@click.option(
    "--dev",
    is_flag=True,
    help="Try it out: on this machine alone, with a key, a policy and people made for it, and no real sign-in.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --dev: where to keep what is made for it, to go on with later.  [default: a temporary one]",
)
def bot(config: Path, host: str, port: int, folder: Path | None, *, dev: bool) -> None:
    """Serve the page behind the approval link.

    \b
    Example:
      gate bot --dev
    """
    check_installed()
    if dev:
        if click.get_current_context().get_parameter_source("config") is ParameterSource.COMMANDLINE:
            raise UsageError("--dev makes its own settings: --config does not go with it.", hint="Drop one of the two.")
        _check_loopback(host)
        with nullcontext(folder) if folder else _scratch() as place:
            _try_out(place, host, port)
        return
    if folder:
        raise UsageError("--folder goes with --dev.", hint="The real bot's folder is that of its --config.")
    from gate.bot.building import build  # noqa: PLC0415 (paid for when used)
    from gate.bot.server import listen  # noqa: PLC0415
    from gate.bot.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    _serve(build(settings, pin=ask_pin), settings, listen(host, port))


def check_installed() -> None:
    """Check that what the bot runs on is installed.

    Raises:
        UsageError: it is not; says how to.
    """
    from importlib.util import find_spec  # noqa: PLC0415 (paid for when used)

    missing = [name for name in ("starlette", "uvicorn", "jinja2", "authlib", "webauthn") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The deploy-bot needs {missing[0]}, which is not installed.", hint=f"Run: {install_command('bot')}"
        )


def _check_loopback(host: str) -> None:
    if host not in LOOPBACK:
        raise UsageError(
            "--dev lets anybody be anybody, so it listens on this machine alone.",
            expected=f"one of {', '.join(LOOPBACK)}",
            actual=host,
            hint="Leave --host out, or set the bot up for real: docs/bot.md.",
        )


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gate-bot-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_out(folder: Path, host: str, port: int) -> None:
    from gate.bot.building import build  # noqa: PLC0415 (paid for when used)
    from gate.bot.dev import open_trial  # noqa: PLC0415
    from gate.bot.server import listen  # noqa: PLC0415
    from gate.bot.settings import load_settings  # noqa: PLC0415

    listening = listen(host, port)  # before anybody is sent there
    origin = f"http://localhost:{port}"  # passkeys work at names, not at addresses
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
    except OSError as error:
        raise UsageError(f"{printable(str(folder))} can't be made.", actual=str(error.strerror)) from None
    trial = open_trial(folder, origin)
    click.echo(f"The page:    {origin}/")
    click.echo(f"The policy:  {trial.policy}")
    click.echo("Ask for an approval from another terminal:")
    click.echo(f"  GATE_BOT_TOKEN={trial.token} {gate_command()} request --deploy-bot {origin} \\")
    click.echo("    --repository acme/shop --sha $(git rev-parse HEAD) --environment production --run-id 1")
    sys.stdout.flush()
    settings = load_settings(trial.config)
    _serve(build(settings, pin=ask_pin, dev=True), settings, listening)


def _serve(site: "Site", settings: "Settings", listening: "list[socket]") -> None:
    from gate.bot.app import create_app  # noqa: PLC0415 (paid for when used)
    from gate.bot.server import serve  # noqa: PLC0415
    from gate.bot.startup import begin  # noqa: PLC0415

    begin(site)
    serve(create_app(site), site.url, settings.trusted_proxies, listening)
