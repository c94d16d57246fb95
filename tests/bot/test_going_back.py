"""The page says what was allowed last, and that a request goes back from it, also where that came meanwhile."""

from tests.bot.browser import PHONE, Browser
from tests.bot.stage import Stage


def test_a_request_between_two_releases(stage: Stage, browser: Browser) -> None:
    """Release 1 and 3 are allowed, 2 is not: 2 was told to be what came since 1, "the last one that was allowed"."""
    one, two, three = (stage.commit(f"Release {number}", "dave") for number in (1, 2, 3))
    stage.allow("solo", one)
    asked = stage.ask("solo", sha=two)
    browser.resize(PHONE)
    browser.become(stage.visitor("alice"))
    browser.open(asked.url)
    assert f"1 commit since {one[:12]}, the last one that was allowed into solo." in browser.text
    stage.allow("solo", three)
    browser.open(asked.url)
    assert f"Meanwhile {three[:12]} was allowed into solo." in browser.text
    browser.press("Look it up again")
    assert "Meanwhile" not in browser.text
    assert f"This goes back by 1 commit, past {three[:12]}, which was allowed last." in browser.text
    assert f"1 commit since {one[:12]}, the newest allowed one that it is built on." in browser.text
    web = stage.hub.url.removesuffix("/api/v3")
    assert browser.button("Read what it takes back").get_attribute("href") == f"{web}/acme/shop/compare/{two}...{three}"
    assert browser.has("Approve with your passkey"), "people may go back"


def test_a_request_for_what_was_allowed_before(stage: Stage, browser: Browser) -> None:
    one, two = (stage.commit(f"Release {number}", "dave") for number in (1, 2))
    for sha in (one, two):
        stage.allow("solo", sha)
    browser.become(stage.visitor("alice"))
    browser.open(stage.ask("solo", sha=one).url)
    assert f"This goes back by 1 commit, past {two[:12]}, which was allowed last." in browser.text
    assert "No new commit: this one was allowed before." in browser.text
    browser.open(stage.ask("solo", sha=two).url)
    assert "goes back" not in browser.text
    assert "Nothing: this commit is the last one that was allowed into solo." in browser.text


def test_where_the_forge_is_not_asked_what_was_allowed_last_is_said_all_the_same(
    stage: Stage, browser: Browser
) -> None:
    newest = stage.commit("Release", "dave")
    stage.allow("solo", newest)
    asked = stage.ask("solo")
    stage.change(asked, lambda value: value.update(forge="gitlab", facts=None))
    browser.become(stage.visitor("alice"))
    assert stage.visitor("alice").decide(asked.id, "look-up").status == 303
    browser.open(asked.url)
    assert "This bot has no access to the forge" in browser.text
    assert f"The last one that was allowed into solo is {newest[:12]}." in browser.text
    assert "Meanwhile" not in browser.text
