"""Draws demo.svg, the terminal picture in README.md, from what `gate demo` really prints.

python docs/assets/draw_demo.py
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

PICTURE = Path(__file__).with_name("demo.svg")

_COLUMNS = 104
_CHARACTER, _LINE, _MARGIN = 7.83, 19, 22  # pixels, in a monospaced font of 13
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_CLASSES = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "36": "c", "90": "d"}
_DULL = re.compile(r" |wrote |next: |\d{4}-\S+ \S+  denied |That is all")
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<title>gate demo</title>
<desc>The story that gate demo tells, line by line, without the details.</desc>
<style>
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; }}
text {{ white-space: pre; }}
rect {{ fill: #f6f8fa; stroke: #d1d9e0; }}
.b {{ font-weight: bold; }} .d {{ fill: #59636e; }} .g {{ fill: #116329; }}
.r {{ fill: #a40e26; }} .y {{ fill: #7d4e00; }} .c {{ fill: #0550ae; }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e6edf3; }}
  rect {{ fill: #0d1117; stroke: #3d444d; }}
  .d {{ fill: #9198a1; }} .g {{ fill: #56d364; }}
  .r {{ fill: #ff7b72; }} .y {{ fill: #e3b341; }} .c {{ fill: #79c0ff; }}
}}
</style>
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="8"/>
"""


class Span(NamedTuple):
    """A piece of text in one style; `classes` are those of the picture's style sheet."""

    text: str
    classes: str


def run_demo() -> str:
    """What `gate demo` prints on a terminal, far from any checkout, ANSI colours and all."""
    reader, writer = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": folder, "TERM": "xterm"}
        demo = subprocess.Popen([sys.executable, "-m", "gate", "demo"], cwd=folder, env=environment, stdout=writer)
        os.close(writer)
        printed = b"".join(_chunks(reader)).decode()
        os.close(reader)
        if demo.wait() != 0:
            raise SystemExit(printed)
        return printed.replace("\r\n", "\n")


def _chunks(reader: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(reader, 65_536)
        except OSError:  # how Linux says that the other end of a terminal was closed
            return
        if not chunk:
            return
        yield chunk


def lines(printed: str) -> list[list[Span]]:
    """The story without its details, as it is drawn; each command is shown once."""
    kept: list[str] = []
    shown: set[str] = set()
    for line in printed.rstrip().splitlines():
        plain = _SGR.sub("", line)
        command = re.match(r"\$ gate [a-z ]+", plain)
        if _DULL.match(plain) or (command and command[0] in shown):
            continue
        shown |= {command[0]} if command else set()
        kept.append(line)
    return [list(_spans(_shortened(line))) for line in kept]


def _shortened(line: str) -> str:
    line = re.sub(r"/\S*/gate-demo-[^/ ]*", "…", line)
    line = re.sub(r" --(policy|repository|approver|reason) ('[^']*'|\S+)(?=.*\x1b)", "", line)
    line = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1…", line)
    return re.sub(r"^(eyJ\S{56})\S*", r"\1…", line)


def _spans(line: str) -> Iterator[Span]:
    left = _COLUMNS
    style: list[str] = []
    for index, part in enumerate(_SGR.split(line)):
        if index % 2:
            style = [*style, _CLASSES[part]] if part in _CLASSES else []
        elif part and left > 0:
            yield Span(part if len(part) <= left else f"{part[: left - 1]}…", " ".join(style))
            left -= len(part)


def draw(story: list[list[Span]]) -> str:
    """The picture, as SVG that follows the reader's light or dark theme."""
    y, rows = _MARGIN, ""
    for spans in story:
        if spans:
            rows += f'<text x="{_MARGIN}" y="{y + 14}">{"".join(map(_tspan, spans))}</text>\n'
        y += _LINE if spans else _LINE // 2
    width, height = round(_COLUMNS * _CHARACTER + 2 * _MARGIN), y + _MARGIN
    head = _HEAD.format(width=width, height=height, inner_width=width - 1, inner_height=height - 1)
    return f"{head}{rows}</svg>\n"


def _tspan(span: Span) -> str:
    text = escape(span.text, quote=False)
    return f'<tspan class="{span.classes}">{text}</tspan>' if span.classes else f"<tspan>{text}</tspan>"


if __name__ == "__main__":
    PICTURE.write_text(draw(lines(run_demo())))
