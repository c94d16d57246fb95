"""The pictures in the documentation are of these pages: each is there, small, and can be drawn anew."""

import struct
from pathlib import Path

from docs.assets.bot import draw
from tests.bot.browser import DESK, PHONE, browser_path, driver_path
from tests.parts import need

NAMES = {f"{name}-{kind}.png" for name in draw.SCENES for kind in ("phone-light", "desk-dark")}


def width(png: bytes) -> int:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int(struct.unpack(">I", png[16:20])[0])


def test_every_page_has_its_pictures() -> None:
    pictures = {path.name: path.read_bytes() for path in draw.PICTURES.glob("*.png")}
    assert pictures.keys() == NAMES, "draw them anew: python -m docs.assets.bot.draw"
    assert sum(map(len, pictures.values())) < 600_000
    assert all((width(png) == PHONE[0]) == ("phone" in name) for name, png in pictures.items())


def test_the_script_draws_every_one(tmp_path: Path) -> None:
    need(browser_path() is not None and driver_path() is not None, "Chromium with its chromedriver")
    assert set(draw.draw(tmp_path)) == NAMES
    assert {path.name for path in tmp_path.iterdir()} == NAMES
    assert all(width(path.read_bytes()) <= DESK[0] for path in tmp_path.iterdir())
