"""Draws the pictures of the deploy-bot's pages, from the pages themselves, in a browser.

python -m docs.assets.bot.draw
"""

import base64
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from docs.assets.bot.story import ALICE, BOB, NOW, SHA, Story, facts, telling, write_history
from gate.bot.app import create_app
from gate.bot.request import CommitLine, Declined
from tests.bot.browser import PHONE, Browser, running_browser

PICTURES = Path(__file__).parent
_DESK = (880, 900)  # the page is no wider, and a picture shows no empty edges
_COLOURS = 32
_QUANTISE = """
const [png, most, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data, counts = new Map();
  for (let i = 0; i < data.length; i += 4) {
    const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
    counts.set(colour, (counts.get(colour) || 0) + 1);
  }
  const apart = (a, b) => [16, 8, 0].reduce((sum, by) => sum + Math.abs((a >> by & 255) - (b >> by & 255)), 0);
  const common = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const palette = common.slice(0, 10);
  for (const least of [40, 20, 8]) for (const colour of common)
    if (palette.length < most && palette.every((one) => apart(one, colour) >= least)) palette.push(colour);
  const index = new Map(common.map((colour) => [colour, palette.reduce(
    (best, one, at) => apart(one, colour) < apart(palette[best], colour) ? at : best, 0)]));
  let text = "";
  for (let i = 0; i < data.length; i += 4)
    text += String.fromCharCode(index.get((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]));
  done([image.width, image.height, palette, btoa(text)]);
};
image.src = "data:image/png;base64," + png;
"""


def draw(folder: Path) -> list[str]:
    """Draw every picture into `folder`; their names."""
    names = []
    with tempfile.TemporaryDirectory() as scratch, telling(Path(scratch)) as story, _serving(story):
        write_history(story)
        with running_browser(Path(scratch) / "browser") as browser:
            for name, scene in SCENES.items():
                browser.renew(story.place.url)
                whole = scene(story, browser)
                if HEADINGS[name] not in browser.text:
                    raise SystemExit(f"{name} shows another page: {browser.text[:300]}")
                for kind, size, dark in (("phone-light", PHONE, False), ("desk-dark", _DESK, True)):
                    names.append(f"{name}-{kind}.png")
                    browser.resize(size, dark=dark)
                    taken = browser.taken(None if whole else size[1])
                    (folder / names[-1]).write_bytes(_smaller(browser, taken))
    return names


@contextmanager
def _serving(story: Story) -> Iterator[None]:
    config = uvicorn.Config(create_app(story.site), port=story.place.port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _smaller(browser: Browser, png: bytes) -> bytes:
    """The picture in a palette of few colours, which is a quarter of its size."""
    tab = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        text = base64.b64encode(png).decode()
        width, height, palette, pixels = browser.driver.execute_async_script(_QUANTISE, text, _COLOURS)
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(tab)
    rows = base64.b64decode(pixels)
    lines = b"".join(b"\0" + rows[width * y : width * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(colour.to_bytes(3, "big") for colour in palette)
    chunks = [(b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# --- the scenes: each opens a page, and says whether all of it is shown, or what fits on the screen ----------------


def _visit(story: Story, browser: Browser, path: str, person: str = ALICE) -> None:
    cookie = {"name": "gate", "value": story.session(person), "url": story.place.url, "httpOnly": True}
    browser.driver.execute_cdp_cmd("Network.setCookie", cookie)
    browser.open(f"{story.place.url}{path}")


def _sign_in(story: Story, browser: Browser) -> bool:
    browser.open(f"{story.place.url}{story.request('30433701')}")
    return False


def _request(story: Story, browser: Browser) -> bool:
    given = story.given(BOB, "30433702", reason="Tried it on staging")
    _visit(story, browser, story.request("30433702", approvals=(given,)))
    return True


def _not_you(story: Story, browser: Browser) -> bool:
    hers = (CommitLine(SHA, "Charge VAT at the buyer's rate", "alice"),)
    _visit(story, browser, story.request("30433703", facts=facts(hers)))
    return False


def _approved(story: Story, browser: Browser) -> bool:
    both = tuple(story.given(name, "30433704") for name in (ALICE, BOB))
    _visit(story, browser, story.request("30433704", approvals=both))
    return False


def _declined(story: Story, browser: Browser) -> bool:
    no = Declined(BOB, "The warehouse counts its stock until noon.", NOW - 60)
    _visit(story, browser, story.request("30433705", declined=no))
    return False


def _passkeys(story: Story, browser: Browser) -> bool:
    _visit(story, browser, "/passkeys")
    return False


def _enrolled(story: Story, browser: Browser) -> bool:
    _visit(story, browser, "/passkeys", "carol@example.com")
    browser.press("Make a passkey")
    return True


def _history(story: Story, browser: Browser) -> bool:
    _visit(story, browser, "/history")
    return True


def _home(story: Story, browser: Browser) -> bool:
    _visit(story, browser, "/")
    return False


def _error(story: Story, browser: Browser) -> bool:
    _visit(story, browser, "/requests/gone")
    return False


# What each picture must show, so that none is of an error.
HEADINGS = {
    "sign-in": "Continue with Example SSO",
    "home": "Requests for approval",
    "request": "Approve with your passkey",
    "not-you": "also had a hand in commit",
    "approved": "Approved.",
    "declined": "Declined by",
    "passkeys": "Your passkeys",
    "enrolled": "Your passkey is made",
    "history": "Approved on the page",
    "error": "There is nothing here",
}
SCENES: dict[str, Callable[[Story, Browser], bool]] = {
    "sign-in": _sign_in,
    "request": _request,
    "not-you": _not_you,
    "approved": _approved,
    "declined": _declined,
    "passkeys": _passkeys,
    "enrolled": _enrolled,
    "history": _history,
    "home": _home,
    "error": _error,
}

if __name__ == "__main__":
    draw(PICTURES)
