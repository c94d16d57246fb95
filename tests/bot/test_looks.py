"""The pages for everybody: by phone and by desk, in light and dark, by keyboard, by ear, and whatever others wrote."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
import requests
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.bot import scenes
from tests.bot.browser import DESK, PHONE, Browser
from tests.bot.description import NODE
from tests.bot.scenes import SCENES, hostile
from tests.bot.stage import LONG, Stage
from tests.parts import need

Scene = Callable[[Stage, Browser], None]

_AXE = NODE / "axe-core" / "axe.min.js"
_RUN = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"], preload: false}).then(
  (found) => done(found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html)}`)),
  (error) => done([String(error)]));
"""
NAMED = {"navigation", "region", "heading1", "heading2", "link", "button", "textbox", "combobox", "DisclosureTriangle"}
_FEATURES = """
const box = (element) => element.getBoundingClientRect();
return {
  lang: document.documentElement.lang,
  headings: document.querySelectorAll("h1").length,
  landmarks: ["header", "main", "footer"].filter((name) => document.querySelector(name)),
  inline: document.querySelectorAll("script:not([src]), style, [style], [onclick], [onload]").length,
  small: [...document.querySelectorAll("button, a.button, input:not([type=hidden]), textarea, select, summary, nav a")]
    .filter((element) => box(element).width && (box(element).height < 44 || box(element).width < 24))
    .map((element) => element.outerHTML),
  outside: [...document.querySelectorAll("body *")]
    .filter((element) => box(element).width && box(element).right > innerWidth + 1 && !element.closest(".skip"))
    .map((element) => element.outerHTML.slice(0, 100)),
};
"""


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_page(stage: Stage, browser: Browser, scene: Scene) -> None:
    need(_AXE.is_file(), "axe-core (scripts/test installs it in tests/node)")
    scene(stage, browser)
    assert weight(stage, browser.driver.page_source.encode()) < 60_000, "there at once, on a train too"
    browser.driver.execute_script(_AXE.read_text())
    for size in (PHONE, DESK):
        for dark in (False, True):
            browser.resize(size, dark=dark)
            assert browser.is_dark() == dark
            assert browser.driver.execute_async_script(_RUN) == [], (size, dark)
    assert browser.driver.title.endswith(" · Deploy Gate")
    for size in ((320, 780), PHONE, DESK):
        browser.resize(size)
        assert not browser.is_too_wide(), size
        features = browser.driver.execute_script(_FEATURES)
        assert features == {
            "lang": "en",
            "headings": 1,
            "landmarks": ["header", "main", "footer"],
            "inline": 0,
            "small": [],
            "outside": [],
        }
    check_by_ear(browser)


def check_by_ear(browser: Browser) -> None:
    """Check what a screen reader makes of the page: where its parts are, and what each is called."""
    heard = browser.heard()
    roles = Counter(role for role, _ in heard)
    assert [roles[role] for role in ("banner", "main", "contentinfo", "heading1")] == [1, 1, 1, 1]
    assert [role for role, name in heard if role in NAMED and not name] == []
    assert roles["region"] == len(browser.driver.find_elements(By.TAG_NAME, "section")), (
        "a section has its heading's name"
    )


@pytest.mark.parametrize(
    ("scene", "role", "words"),
    [
        (scenes.given, "status", "You have approved this."),
        (scenes.approved, "status", "Approved."),
        (scenes.declined, "status", "Declined by carol@example.com"),
        (scenes.expired, "status", "Nobody approved in time."),
        (scenes.not_this_person, "status", "alice@example.com"),
        (scenes.enrolled, "status", "It does not count yet."),
        (scenes.error, "alert", "There is no such request."),
    ],
)
def test_what_came_of_it_is_read_out(stage: Stage, browser: Browser, scene: Scene, role: str, words: str) -> None:
    scene(stage, browser)
    assert words in browser.live(role)


def weight(stage: Stage, page: bytes) -> int:
    """The bytes of a page with its style, its script and its pictures."""
    linked = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', page))
    assert linked
    parts = [requests.get(f"{stage.url}{path.decode()}", timeout=30) for path in linked]
    assert all(part.status_code == 200 and "immutable" in part.headers["Cache-Control"] for part in parts)
    return len(page) + sum(len(part.content) for part in parts)


def test_what_others_wrote_is_text(stage: Stage, browser: Browser) -> None:
    browser.resize(PHONE)
    hostile(stage, browser)
    assert browser.driver.find_elements(By.CSS_SELECTOR, "main script, main b") == []
    assert "<script>alert(1)</script>" in browser.text
    assert "\u202e" not in browser.driver.page_source, "a mark that turns text around is shown as its number"
    assert "\\u202e" in browser.text
    assert f"Your decision, {LONG}" in browser.text
    browser.fill("reason", HOSTILE_REASON)
    browser.press("Approve")
    assert "Approved" in browser.text
    assert not browser.is_too_wide()
    browser.open(f"{stage.url}/history?stream=acme/shop/staging")
    assert not browser.is_too_wide()
    assert browser.driver.find_elements(By.CSS_SELECTOR, "main script, main b") == []


HOSTILE_REASON = "<img src=x onerror=alert(1)> \u202e" + "i" * 250


def press_keys(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()


def tab_to(browser: Browser, words: str) -> None:
    """Go there with the tabulator alone, and see where one is on the way."""
    for _ in range(40):
        press_keys(browser, Keys.TAB)
        here = browser.driver.switch_to.active_element
        outline = browser.driver.execute_script(
            "const s = getComputedStyle(document.activeElement), b = document.activeElement.getBoundingClientRect();"
            "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && b.bottom > 0 && b.top < innerHeight"
        )
        assert outline, f"not to be seen: {here.get_attribute('outerHTML')}"
        if words in (here.text or here.get_attribute("id") or ""):
            return
    pytest.fail(f"the keyboard does not reach {words}")


def test_by_keyboard_alone(stage: Stage, browser: Browser) -> None:
    asked, refused = stage.ask("solo"), stage.ask("solo")
    browser.hold(stage.passkeys["alice"])
    stage.arriving("alice")
    browser.open(asked.url)
    tab_to(browser, "Continue with Example SSO")
    press_keys(browser, Keys.ENTER)
    browser.wait(lambda: browser.heading.startswith("Deploy acme/shop"))
    tab_to(browser, "Skip to the content")
    press_keys(browser, Keys.ENTER)
    tab_to(browser, "reason")
    press_keys(browser, "By keyboard")
    tab_to(browser, "Approve with your passkey")
    press_keys(browser, Keys.ENTER)
    browser.wait(lambda: "Approved." in browser.text)
    browser.open(refused.url)
    tab_to(browser, "Decline")
    press_keys(browser, Keys.ENTER)
    tab_to(browser, "why")
    press_keys(browser, "No, by keyboard")
    tab_to(browser, "Decline this deployment")
    press_keys(browser, Keys.ENTER)
    browser.wait(lambda: "No, by keyboard" in browser.text)
    assert stage.request(asked).approvals[0].reason == "By keyboard"


def test_enlarged_text(stage: Stage, browser: Browser) -> None:
    """Twice the letters on a phone (WCAG 1.4.4): nothing leaves the screen."""
    browser.resize(PHONE)
    hostile(stage, browser)
    browser.driver.execute_script("document.documentElement.style.fontSize = '200%'")
    assert not browser.is_too_wide()
