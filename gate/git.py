"""git, run so that a hostile repository can start nothing: plumbing commands only, in an environment of our own.

No user's or system's configuration is read, no replacement objects, no network (a partial clone must not fetch), no
prompt. The repository is named by --git-dir: git then neither looks for another one further up, nor refuses a
workspace that belongs to another user, as those of CI jobs in containers often do.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Timer
from typing import IO, NamedTuple

SECONDS = 30.0
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",  # since git 2.45; before, the next line has the same effect
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_MOST_OUTPUT = 4096


class GitFailed(Exception):
    """git is missing, or could not answer; the message is a plain clause that is safe to show."""


class Running(NamedTuple):
    """A git that runs, and its two pipes."""

    process: "Popen[bytes]"
    stdin: IO[bytes]
    stdout: IO[bytes]


@contextmanager
def plumbing(checkout: Path, *arguments: str, seconds: float = SECONDS) -> Iterator[Running]:
    """`git <arguments>` on the repository of `checkout`; killed after `seconds`, or when the block ends.

    Raises:
        GitFailed: it can't be started.
    """
    git = _start(checkout, arguments)
    alarm = Timer(seconds, git.process.kill)
    alarm.daemon = True
    alarm.start()
    try:
        yield git
    finally:
        alarm.cancel()
        git.process.kill()
        for pipe in (git.stdin, git.stdout):
            with suppress(OSError):  # what was still buffered for a git that is gone
                pipe.close()
        git.process.wait()


def output(checkout: Path, *arguments: str) -> str:
    """What a command prints that prints little.

    Raises:
        GitFailed: it failed, printed more than 4 KiB or no UTF-8, or took longer than 30 s.
    """
    with plumbing(checkout, *arguments) as git:
        printed = git.stdout.read(_MOST_OUTPUT + 1)
        if len(printed) > _MOST_OUTPUT or git.process.wait() != 0:
            raise GitFailed("git can't read the repository")
    try:
        return printed.decode()
    except UnicodeDecodeError:
        raise GitFailed("git printed no UTF-8") from None


def _start(checkout: Path, arguments: tuple[str, ...]) -> Running:
    path = _absolute(os.environ.get("PATH", os.defpath))
    program = shutil.which("git", path=path)
    if program is None:
        raise GitFailed("git is not installed")
    command = [program, f"--git-dir={checkout.absolute() / '.git'}", *_OPTIONS, *arguments]
    try:
        process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={**_ENVIRONMENT, "PATH": path}, cwd="/")
    except (OSError, ValueError):
        raise GitFailed("git can't be started") from None
    assert process.stdin and process.stdout  # noqa: S101 (for the type checker: both are pipes)
    return Running(process, process.stdin, process.stdout)


def _absolute(path: str) -> str:
    """The absolute entries of a search path: a relative one would find a `git` that the commit brought along."""
    return os.pathsep.join(entry for entry in path.split(os.pathsep) if entry.startswith("/"))
