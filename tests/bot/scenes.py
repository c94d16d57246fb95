"""Every page of the bot, each in the states that people meet it in."""

from collections.abc import Callable

from tests.bot.browser import Browser
from tests.bot.stage import Asked, Stage

HOSTILE = "<script>alert(1)</script> \u202egnp.exe\u202c \u0645\u0631\u062d\u0628\u0627 🚀 " + "W" * 10_000


def sign_in(stage: Stage, browser: Browser) -> None:
    browser.open(stage.ask().url)


def open_with_passkey(stage: Stage, browser: Browser) -> None:
    _seen(stage, browser, stage.ask("production"), "alice")


def open_without_passkey(stage: Stage, browser: Browser) -> None:
    _seen(stage, browser, stage.ask(), "erin")


def declining(stage: Stage, browser: Browser) -> None:
    open_without_passkey(stage, browser)
    browser.driver.execute_script("document.querySelector('details').open = true")


def not_this_person(stage: Stage, browser: Browser) -> None:
    _seen(stage, browser, stage.ask("production", author="alice"), "alice")


def without_facts(stage: Stage, browser: Browser) -> None:
    _seen(stage, browser, stage.ask("production", repository="acme/till", sha="c" * 40), "bob")


def going_back(stage: Stage, browser: Browser) -> None:
    """From a commit that was allowed; and meanwhile another one was."""
    asked = stage.ask("solo")
    told = "This goes back by 12 commits, past 3fa1b2c3d4e5, which was allowed last, 77aa0badc0de and 5c1de0a7ba5e."
    known = {"newest": "3fa1b2c3d4e5" + "0" * 28, "rollback": told, "rollback_url": "https://github.com/acme/shop"}
    stage.change(asked, lambda value: value["facts"].update(known))
    stage.allow("solo", stage.commit("Release 4", "dave"))
    _seen(stage, browser, asked, "alice")


def given(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("pair")
    assert stage.visitor("bob").approve(asked.id, reason="Long awaited").status == 303
    _seen(stage, browser, asked, "bob")


def approved(stage: Stage, browser: Browser) -> None:
    asked = stage.ask()
    assert stage.visitor("carol").approve(asked.id, reason="Long awaited").status == 303
    _seen(stage, browser, asked, "erin")


def declined(stage: Stage, browser: Browser) -> None:
    asked = stage.ask()
    assert stage.visitor("carol").decline(asked.id).status == 303
    _seen(stage, browser, asked, "erin")


def expired(stage: Stage, browser: Browser) -> None:
    asked = stage.ask()
    stage.change(asked, lambda value: value.update(expires_at=value["asked_at"] - 1))
    _seen(stage, browser, asked, "erin")


def hostile(stage: Stage, browser: Browser) -> None:
    """Everything that others may write, as bad as it can be; and an approver with the longest name there is."""
    from tests.bot.stage import LONG

    sha = stage.commit(HOSTILE, "w" * 39)
    asked = stage.ask(sha=sha, actors=["<b>zoe</b>", "z" * 200], run_id="9" * 100)

    def spoil(value: dict[str, object]) -> None:
        text = HOSTILE[:1000]
        value |= {"ref": text, "workflow": text, "event": text, "asker": text, "run_sha": "a" * 40, "attempt": 99_999}

    stage.change(asked, spoil)
    assert stage.visitor("carol").approve(stage.ask(sha=sha, run_id="8").id, reason=HOSTILE[:300]).status == 303
    _seen(stage, browser, asked, LONG)


def home(stage: Stage, browser: Browser) -> None:
    for make in (given, approved, hostile):
        make(stage, browser)
    browser.open(f"{stage.url}/")


def passkeys(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("alice"))
    browser.open(f"{stage.url}/passkeys")


def no_passkeys(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("frank"))
    browser.open(f"{stage.url}/passkeys")


def enrolled(stage: Stage, browser: Browser) -> None:
    no_passkeys(stage, browser)
    browser.press("Make a passkey")


def history(stage: Stage, browser: Browser) -> None:
    for make in (approved, declined, hostile):
        make(stage, browser)
    browser.open(f"{stage.url}/history?stream=acme/shop/staging")


def nothing_in_history(stage: Stage, browser: Browser) -> None:
    approved(stage, browser)
    browser.open(f"{stage.url}/history?stream=acme/shop/staging&sha={'f' * 40}")


def error(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("erin"))
    browser.open(f"{stage.url}/requests/nothing")


def error_with_details(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("erin"))
    browser.open(f"{stage.url}/history?sha=zzzz")


SCENES: list[Callable[[Stage, Browser], None]] = [
    sign_in, open_with_passkey, open_without_passkey, declining, not_this_person, without_facts, going_back,
    given, approved, declined, expired, hostile, home, passkeys, no_passkeys, enrolled, history, nothing_in_history,
    error, error_with_details,
]  # fmt: skip


def _seen(stage: Stage, browser: Browser, asked: Asked, name: str) -> None:
    browser.become(stage.visitor(name))
    browser.open(asked.url)
