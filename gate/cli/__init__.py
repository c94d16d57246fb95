"""The `gate` command. Each command is imported only when it is called."""

import atexit
import gc
import json
import os
import re
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, TextIO, TypeVar

import click

from gate import __version__
from gate.cli.group import Group
from gate.errors import GateError, UsageError, exit_code
from gate.text import closest, legible, printable

_COMMANDS = {
    "init": "gate.cli.init:init",
    "keys": "gate.cli.keys:keys",
    "approve": "gate.cli.approve:approve",
    "inspect": "gate.cli.inspect:inspect",
    "request": "gate.cli.request:request",
    "verify": "gate.cli.verify:verify",
    "audit": "gate.cli.audit:audit",
    "doctor": "gate.cli.doctor:doctor",
    "people": "gate.cli.people:people",
    "policy": "gate.cli.policy:policy",
    "aws": "gate.cli.aws:aws",
    "bot": "gate.cli.bot:bot",
    "demo": "gate.cli.demo:demo",
    "completion": "gate.cli.completion:completion",
}

_NO_VARIABLE = "="  # click completes, and ends with 0, where this variable is set: no variable has such a name
_TOKEN = re.compile(r"[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?")  # never to be repeated, wherever it was put

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    cls=Group, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="gate")
def cli() -> None:
    """Make "a human approved this deploy" something a machine can check.

    \b
    Example:
      gate init
      gate approve --environment production --approver alice@example.com
    """


def policy_option(command: F) -> F:
    """The `--policy` option that most commands share."""
    return click.option(
        "--policy", default="gate.yaml", envvar="GATE_POLICY", show_envvar=True, show_default=True,
        help="The policy: a path, or s3://BUCKET/KEY?region=R.",
    )(command)  # fmt: skip


def json_option(command: F) -> F:
    """The `--json` option that most commands share."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")(command)


def complain(error: GateError) -> None:
    """Say on stderr what is wrong, expected against actual, and what to do next."""
    click.echo(f"gate: {legible(error.message)}", err=True)
    for label, text in (("expected", error.expected), ("actual", error.actual), ("next", error.hint)):
        if text:
            click.echo(f"  {label + ':':<10}{legible(text)}", err=True)


def main() -> None:
    """Run the command line. Every error ends here: explained on stderr, as an exit code, without a traceback."""
    gc.set_threshold(100_000)  # hundreds of modules are no garbage, and most commands end before there is any
    atexit.register(gc.freeze)  # nor is what is left at the end, through which Python would look once more
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal's encoding
    try:
        code = _run()
        for stream in (sys.stdout, sys.stderr):
            if stream:  # None, where it was closed
                stream.flush()
    except OSError:  # a full disk, say
        code = _unsaid()
    sys.exit(code)


def _run() -> int:
    """Run the command, and return its exit code.

    Raises:
        OSError: what it has to say can't be written.
    """
    try:
        code: int | None = cli.main(standalone_mode=False, complete_var=_NO_VARIABLE, color=_colour())
    except SystemExit as stop:
        return int(stop.code or 0)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if (
            isinstance(error, OSError) and error.filename is None
        ):  # of a stream; where a file can fail, it is caught there
            raise
        return _fail(_explained(error))
    return code or 0


def _unsaid() -> int:
    """Say on stderr that the answer is lost, if that can be said: a caller must not read an allow into its absence."""
    lost = GateError("The answer can't be written.", hint="See to the disk, or to what reads it.")
    _silence_unless(sys.stdout, lambda: None)
    _silence_unless(sys.stderr, lambda: complain(lost))
    return 3


def _silence_unless(stream: TextIO | None, say: Callable[[], None]) -> None:
    """Drop what is left in a stream that can't be written: Python would try it once more at the end."""
    try:
        say()
        if stream:
            stream.flush()
    except OSError:
        if stream:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explained(error: Exception) -> GateError:
    if isinstance(error, GateError):
        return error
    if isinstance(error, click.ClickException):
        return UsageError(printable(_TOKEN.sub("(a token)", _said(error)), 2000), hint="Run it with --help.")
    return GateError(f"a bug of its own ({type(error).__name__})", hint="Please report it, with what you ran.")


def _said(error: click.ClickException) -> str:
    """What click says; of an option that does not exist also which one may have been meant."""
    if not isinstance(error, click.NoSuchOption) or not error.ctx:
        return error.format_message()
    known = (name for option in error.ctx.command.get_params(error.ctx) for name in option.opts)
    meant = closest(error.option_name, known)
    return f"There is no option {error.option_name}.{meant and f' Did you mean: {meant}?'}"


def _fail(error: GateError) -> int:
    """Explain `error`, to machines too where they asked, and return the exit code."""
    complain(error)
    if "--json" in sys.argv:
        told = {"reason": error.reason, "message": error.message, "hint": error.hint}
        click.echo(json.dumps({"error": {**told, "expected": error.expected, "actual": error.actual}}))
    return exit_code(error.reason)


def _colour() -> bool | None:
    """What the conventions say (NO_COLOR, FORCE_COLOR); None leaves it to whether there is a terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("FORCE_COLOR") else None
