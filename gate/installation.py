"""How this very gate is called, and how what it lacks is installed: commands that work where the user is."""

import re
import shlex
import shutil
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def gate_command() -> str:
    """What calls this gate from a shell: `gate`, where PATH leads to this one, otherwise this Python with `-m gate`."""
    found, own = shutil.which("gate"), Path(sys.executable).with_name("gate")
    if found and own.exists() and own.samefile(found):
        return "gate"
    return f"{shlex.quote(sys.executable)} -m gate"


def install_command(extra: str) -> str:
    """What installs the libraries of the optional part `extra` (pyproject.toml) for this Python."""
    needed = [f"{_CHECKOUT}[{extra}]"] if (_CHECKOUT / "pyproject.toml").is_file() else _libraries(extra)
    return f"{shlex.quote(sys.executable)} -m pip install {' '.join(map(shlex.quote, needed))}"


def _libraries(extra: str) -> list[str]:
    """What the installed package says that it needs for `extra` (core metadata, Requires-Dist)."""
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415 (paid for when used)

    try:
        lines = requires("deploy-gate") or []
    except PackageNotFoundError:  # copied by hand
        lines = []
    wanted = re.compile(rf"""extra == ['"]{extra}['"]""")
    return [line.partition(";")[0].strip() for line in lines if wanted.search(line)] or [f"deploy-gate[{extra}]"]
