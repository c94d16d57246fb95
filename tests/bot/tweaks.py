"""Other constants, or a bug, in a bot that runs as a process of its own."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tweaked(folder: Path, code: str) -> dict[str, str]:
    """The environment of a bot in which `code` runs first."""
    place = folder / "tweaks"
    place.mkdir(parents=True)
    (place / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{place}:{ROOT}"}
