"""The pages of the documentation, their fenced blocks, and a shell that runs them as a reader would."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.parts import need
from tests.world import commit, git

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = (ROOT / "docs/reference.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block, and the comment that stands before it."""

    where: str
    language: str
    mark: str
    text: str


_FENCE = re.compile(
    r"(?:<!-- (?P<mark>.*?) -->\n)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.M | re.S
)


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order, without its indentation."""
    text = page.read_text()
    return [
        Block(
            f"{page.name}:{text[: match.start('text')].count(chr(10)) + 1}",
            match["language"],
            match["mark"] or "",
            re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
        )
        for match in _FENCE.finditer(text)
    ]


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


class Shell:
    """A scratch HOME with a fresh checkout in ~/shop, where one block after the other runs, as in one terminal."""

    def __init__(
        self, home: Path, extra: Mapping[str, str], *, origin: str = "https://github.com/acme/shop.git"
    ) -> None:
        for program in ("bash", "openssl", "sha256sum"):
            need(shutil.which(program) is not None, program)
        self._home = home
        self._state = home / ".shell-state"
        self._state.write_text("")
        shop = home / "shop"
        commit(shop, "Fix the login", "bob@example.com")
        git(shop, "remote", "add", "origin", origin)
        bin_folder = home / ".local/bin"
        bin_folder.mkdir(parents=True)
        (bin_folder / "gate").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gate "$@"\n')
        (bin_folder / "gate").chmod(0o755)
        self.environment = {
            "PATH": f"{bin_folder}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "COVERAGE_PROCESS_CONFIG": os.environ.get("COVERAGE_PROCESS_CONFIG", ""),
            **extra,
        }

    def run(self, text: str) -> tuple[int, str]:
        """The exit code of a block, and what it printed; variables and folder stay for the next one."""
        state = shlex.quote(str(self._state))
        keep = f'{{ export -p; printf "cd %q\\n" "$PWD"; }} >{state}'
        script = f"set -eu -o pipefail\nset -a\n. {state}\ntrap '{keep}' EXIT\n{text}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout

    def play(self, page: Path, kind: str) -> None:
        """Run the page's blocks of one kind in order, and compare what they print with what the page shows."""
        printed = None
        for block in blocks(page):
            if re.fullmatch(rf"{kind}(?: exit=\d)?", block.mark):
                expected = int(block.mark.partition("exit=")[2] or 0)
                code, printed = self.run(block.text)
                assert code == expected, f"{block.where} ended with {code}:\n{printed}"
            elif block.mark == "prints" and printed is not None:
                shown = re.fullmatch(_pattern(block.text), printed, re.S)
                assert shown, f"{block.where} shows:\n{block.text}\nbut this was printed:\n{printed}"


def _pattern(text: str) -> str:
    """Lines as they are shown: `…` stands for anything, on a line of its own for any lines, even none."""
    lines = (".*" if line == "…" else re.escape(line).replace("…", "[^\n]*") + "\n" for line in text.splitlines())
    return "".join(lines)
