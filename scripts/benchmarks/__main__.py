"""`scripts/bench`: every figure from one run on one machine, as a table and as JSON."""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks import (
    bot,
    botcrowd,
    botwaiting,
    checks,
    coldstart,
    live,
    proof,
    roundtrips,
    signers,
    writers,
)
from scripts.benchmarks.measure import FULL, QUICK, Row, Sizes
from tests.parts import Aws, running_aws


def main() -> None:
    """Measure, and print each row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the gate against what it replaces.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works; figures mean little")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows of sections whose name holds TEXT")
    arguments = parser.parse_args()
    about = _about(quick=arguments.quick)
    print(" · ".join(map(str, about.values())), flush=True)
    with tempfile.TemporaryDirectory(prefix="gate-bench-") as folder:
        rows = _shown(_rows(Path(folder), QUICK if arguments.quick else FULL, arguments.only))
    if arguments.json:
        figures = [row._asdict() | {"ratio": row.ratio, "met": row.met} for row in rows]
        arguments.json.write_text(json.dumps({"about": about, "rows": figures}, indent=1) + "\n")


def _rows(folder: Path, sizes: Sizes, only: str) -> Iterator[Row]:
    with _fake_aws(folder) as aws:
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            checks.SECTION: lambda: checks.rows(folder / "checks", sizes),
            coldstart.EMBEDDED: lambda: coldstart.rows(folder / "embedded", sizes),
            coldstart.AWS: lambda: coldstart.aws_rows(folder / "aws", sizes, aws),
            writers.SECTION: lambda: writers.rows(folder / "writers", sizes, aws),
            live.SECTION: lambda: live.rows(folder / "live", sizes, aws),
            proof.SECTION: lambda: proof.rows(folder / "proof", sizes),
            signers.SECTION: lambda: signers.rows(folder / "signers", sizes, aws),
            roundtrips.SECTION: lambda: roundtrips.rows(folder / "roundtrips", sizes, aws),
            bot.SECTION: lambda: bot.rows(folder / "bot", sizes),
            botcrowd.SECTION: lambda: botcrowd.rows(folder / "crowd", sizes),
            botwaiting.SECTION: lambda: botwaiting.rows(folder / "waiting", sizes),
        }
        for section, part in parts.items():
            if only in section:
                yield from part()


@contextmanager
def _fake_aws(folder: Path) -> Iterator[Aws]:
    """A stand-in for AWS on loopback, with credentials for it and for nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "AKIDFAKE",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
        "NO_PROXY": "127.0.0.1",
    }
    (folder / "ministack").mkdir()
    with running_aws(folder / "ministack") as aws:
        yield aws


def _about(*, quick: bool) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": f"Python {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "openssl": " ".join(_first_line("openssl", "version").split()[:2]),
        "aws": _first_line("aws", "--version").partition(" ")[0],
        "sizes": "quick" if quick else "full",
    }


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def _shown(rows: Iterator[Row]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        if not found or found[-1].section != row.section:
            print(f"\n{row.section}", flush=True)
        print(_line(row), flush=True)
        found.append(row)
    return found


def _line(row: Row) -> str:
    against = f"{row.ratio:6.2f}x {row.baseline} ({_figure(row.baseline_value)})" if row.ratio is not None else ""
    verdict = {True: "met", False: "NOT MET", None: ""}[row.met]
    target = f"≤ {row.target:.2f}  {verdict}" if row.target is not None else ""
    return f"  {row.name:<44}{_figure(row.value):>9} {row.unit:<4}{against:<58}{target}".rstrip()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
