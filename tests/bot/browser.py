"""Chromium with a virtual authenticator (WebDriver, "Virtual Authenticators"), on pages of 127.0.0.1."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import Credential, VirtualAuthenticatorOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.bot.visitor import Visitor
from tests.core.authenticator import Authenticator

PHONE, DESK = (360, 780), (1440, 900)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--no-proxy-server", "--force-device-scale-factor=1",
)  # fmt: skip


def browser_path() -> str | None:
    """The browser of this machine, None where there is none."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def driver_path() -> str | None:
    """Its driver."""
    return shutil.which("chromedriver")


class Browser:
    """One browser with a profile of its own, and a passkey store that says yes to whoever asks."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self._first = driver.current_window_handle
        options = VirtualAuthenticatorOptions()
        options.protocol = VirtualAuthenticatorOptions.Protocol.CTAP2
        options.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
        options.has_resident_key = True
        options.has_user_verification = True
        options.is_user_verified = True
        driver.add_virtual_authenticator(options)

    def open(self, url: str) -> None:
        """Go to `url`."""
        self.driver.get(url)

    def renew(self, url: str) -> None:
        """Be as new, at the site of `url`: nobody's cookies, no passkeys, a desk's size."""
        self.script(enabled=True)
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.driver.remove_all_credentials()
        self.driver.set_user_verified(True)
        self.resize(DESK)
        self.driver.get_log("browser")

    def hold(self, passkey: Authenticator) -> None:
        """Have this passkey."""
        key = passkey.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        made = Credential.create_resident_credential(passkey.credential.id, passkey.rp_id, b"user", key, 0)
        self.driver.add_credential(made)

    def become(self, who: Visitor) -> None:
        """Go on with the session of `who`, and with their passkey if they have one."""
        cookie = {"name": "gate", "value": who.cookies["gate"], "url": who.url, "httpOnly": True, "sameSite": "Lax"}
        self.driver.execute_cdp_cmd("Network.setCookie", cookie)
        self.driver.remove_all_credentials()
        if who.passkey:
            self.hold(who.passkey)

    @contextmanager
    def other_tab(self) -> Iterator[None]:
        """Be in a new tab, which holds no passkeys, until the block ends."""
        self.driver.switch_to.new_window("tab")
        try:
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(self._first)

    @contextmanager
    def first_tab(self) -> Iterator[None]:
        """Be in the first tab again until the block ends."""
        here = self.driver.current_window_handle
        self.driver.switch_to.window(self._first)
        yield
        self.driver.switch_to.window(here)

    def complaints(self) -> list[str]:
        """What the browser logged of a page that broke its own rules (CSP), or of scripts that failed."""
        told = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        return [text for text in told if "Content Security Policy" in text or "Uncaught" in text]

    @property
    def text(self) -> str:
        """What the page says."""
        return self.driver.find_element(By.TAG_NAME, "main").text

    @property
    def heading(self) -> str:
        """The page's heading."""
        return self.driver.find_element(By.TAG_NAME, "h1").text

    @property
    def quotes(self) -> list[str]:
        """The text of others on the page, in order: what stands in a box that says so."""
        return [quote.text for quote in self.driver.find_elements(By.CSS_SELECTOR, "main .theirs")]

    def button(self, words: str) -> WebElement:
        """The button or link that says so."""
        path = f"//button[contains(normalize-space(.), '{words}')] | //a[contains(normalize-space(.), '{words}')]"
        return self.driver.find_element(By.XPATH, path)

    def has(self, words: str) -> bool:
        """Is there such a button or link?"""
        path = f"//button[contains(normalize-space(.), '{words}')] | //a[contains(normalize-space(.), '{words}')]"
        return bool(self.driver.find_elements(By.XPATH, path))

    def press(self, words: str) -> None:
        """Press it, and wait for the page that follows."""
        before = self.driver.find_element(By.TAG_NAME, "html")
        self.button(words).click()
        self.wait(lambda: _is_stale(before))
        self.wait(lambda: self.driver.execute_script("return document.readyState") == "complete")

    def push(self, words: str) -> None:
        """Press it, and wait for nothing."""
        self.button(words).click()

    def fill(self, name: str, text: str) -> None:
        """Type into a field, by its id."""
        element = self.driver.find_element(By.ID, name)
        element.clear()
        element.send_keys(text)

    def wait(self, condition: Any, seconds: float = 15) -> None:
        """Wait until `condition()` holds, be it on another page than this."""
        WebDriverWait(self.driver, seconds, 0.05, (WebDriverException,)).until(lambda _: condition())

    def resize(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Be so wide and high, exactly, in light or dark."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def script(self, *, enabled: bool) -> None:
        """Run scripts of pages, or don't."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not enabled})

    def is_too_wide(self) -> bool:
        """Does the page have to be moved sideways?"""
        return bool(
            self.driver.execute_script(
                "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
            )
        )

    def is_dark(self) -> bool:
        """Is the page's ground darker than its letters?"""
        ground, ink = self.driver.execute_script(
            "const {backgroundColor, color} = getComputedStyle(document.body);"
            "return [backgroundColor, color].map((rgb) => rgb.match(/[0-9]+/g).slice(0, 3).map(Number));"
        )
        return bool(sum(ground) < sum(ink))

    def heard(self) -> list[tuple[str, str]]:
        """What a screen reader is told of the page: roles with their names, those of headings with their level."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [(_role(node), str(node.get("name", {}).get("value", ""))) for node in nodes if not node["ignored"]]

    def live(self, role: str) -> str:
        """What is read out as soon as it is there: `status` in a pause, `alert` at once."""
        return self.driver.find_element(By.CSS_SELECTOR, f"main [role={role}]").text

    def taken(self, most: int | None = None) -> bytes:
        """A picture of the page as a PNG: all of it, or the `most` pixels at its top."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        height = min(size["height"], most or size["height"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        answer = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return base64.b64decode(answer["data"])


def _role(node: dict[str, Any]) -> str:
    level = next((one["value"]["value"] for one in node["properties"] if one["name"] == "level"), "")
    return f"{node['role']['value']}{level}"


def _is_stale(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except WebDriverException:
        return True
    return False


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile lies in `folder`, until the block ends."""
    options = Options()
    options.binary_location = browser_path() or ""
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(driver_path()))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
