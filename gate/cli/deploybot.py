"""The options that name a deploy-bot to ask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from gate.errors import UsageError
from gate.fields import seconds
from gate.text import printable

F = TypeVar("F", bound=Callable[..., Any])


class Bot(NamedTuple):
    """The deploy-bot at `url`, how long to `wait` for it ("30m", or "0"), whether it is to run the job again, and the
    file of the CAs by which it is believed."""

    url: str
    wait: str
    rerun: bool
    ca: Path | None

    def seconds(self) -> int:
        """How long to wait: 0, where the bot is to run the job again.

        Raises:
            UsageError: `wait` is no duration.
        """
        wait = 0 if self.wait == "0" else seconds(self.wait)
        if wait is None:
            raise UsageError(
                "That is no time to wait.", expected="0, or e.g. 90s, 30m or 1h", actual=printable(self.wait, 40)
            )
        return 0 if self.rerun else wait


def bot_options(command: F) -> F:
    """The options that name a deploy-bot, and by whose certificates it is believed."""
    for option in (
        click.option("--ca-file", type=click.Path(path_type=Path), metavar="PEM",
                     help="Believe the certificate authorities in this file, and no others.  "
                          "[default: the policy's ca, or the public ones]"),
        click.option("--rerun", is_flag=True, envvar="GATE_RERUN",
                     help="Ask, and end at once; the bot runs the failed job again when approved (GitHub)."),
        click.option("--wait", default="30m", envvar="GATE_WAIT", show_default=True,
                     help="How long to wait for the approval, e.g. 90s; 0 only asks."),
        click.option("--deploy-bot", default="", metavar="URL", envvar="GATE_DEPLOY_BOT", show_envvar=True,
                     help="The deploy-bot to ask for the approval, e.g. https://gate.example.com."),
    ):  # fmt: skip
        command = option(command)
    return command
