"""What people, browsers and scanners of links do with an open page: nothing is approved twice, late or by accident."""

import threading
import time
from collections.abc import Callable

import requests
from selenium.webdriver.common.by import By

from tests.bot.browser import Browser
from tests.bot.stage import Stage
from tests.bot.test_refusals_passkeys import trouble
from tests.bot.visitor import Answer


def approvals(stage: Stage, sha: str) -> int:
    """How many approvals the audit log has of a commit."""
    return stage.gate("audit", "show", sha, *stage.events).stdout.count("approved on the page by")


def test_two_tabs(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("pair")
    browser.become(stage.visitor("alice"))
    browser.open(asked.url)
    with browser.other_tab():
        browser.open(asked.url)
        with browser.first_tab():
            browser.press("Approve with your passkey")
            assert "You have approved this." in browser.text
        browser.push("Approve with your passkey")
        assert "You have approved this." in trouble(browser)
    assert len(stage.poll(asked)["approvals"]) == 1
    assert approvals(stage, asked.sha) == 1


def test_back_and_reload_send_nothing_again(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("pair")
    browser.become(stage.visitor("alice"))
    browser.open(asked.url)
    browser.press("Approve with your passkey")
    before = stage.rows(), stage.records()
    browser.driver.refresh()
    assert "You have approved this." in browser.text
    browser.driver.back()
    assert browser.driver.current_url == asked.url
    assert "You have approved this." in browser.text, "no older page is shown from a cache"
    browser.driver.forward()
    assert "You have approved this." in browser.text
    assert (stage.rows(), stage.records()) == before


def test_a_request_that_runs_out_while_the_page_is_open(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("pair")
    browser.become(stage.visitor("bob"))
    browser.open(asked.url)
    stage.change(asked, lambda value: value.update(expires_at=int(time.time()) - 1))
    browser.push("Approve with your passkey")
    assert "This request has run out. A new run, or a re-run, asks again." in trouble(browser)
    browser.driver.refresh()
    assert "Nobody approved in time." in browser.text
    assert approvals(stage, asked.sha) == 0


def test_an_approval_that_comes_late_by_form(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("staging")
    browser.become(stage.visitor("erin"))
    browser.open(asked.url)
    assert stage.visitor("frank").decline(asked.id, "Not on a Friday").status == 303
    browser.press("Approve")
    assert browser.heading == "That is not possible"
    assert "This was declined." in browser.text
    browser.press("Back to where you were")
    assert "Not on a Friday" in browser.text


def at_once(*calls: Callable[[], Answer]) -> list[int]:
    """The statuses of calls that all begin at the same moment."""
    barrier, statuses = threading.Barrier(len(calls)), [0] * len(calls)

    def one(number: int) -> None:
        barrier.wait()
        statuses[number] = calls[number]().status

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def ready(stage: Stage, name: str, path: str, **form: str) -> Callable[[], Answer]:
    """A form that is sent when called, and everything it needs is fetched now."""
    visitor = stage.visitor(name)
    sent = visitor.get(path.rpartition("/")[0]).form | form
    return lambda: visitor.post(path, sent)


def test_the_last_approval_by_two_at_once(stage: Stage) -> None:
    for _ in range(4):
        asked = stage.ask("duo")
        assert stage.visitor("carol").approve(asked.id).status == 303
        path = f"/requests/{asked.id}/approve"
        statuses = at_once(*(ready(stage, name, path) for name in ("erin", "frank")))
        assert sorted(statuses) in ([303, 403], [303, 409]), "who comes second is told so"
        told = stage.poll(asked)
        assert told["status"] == "approved"
        assert len(told["tokens"]) == 2


def test_the_same_approval_twice_at_once(stage: Stage) -> None:
    for _ in range(4):
        asked = stage.ask("duo")
        send = ready(stage, "erin", f"/requests/{asked.id}/approve")
        assert sorted(at_once(send, send)) in ([303, 403], [303, 409])
        assert len(stage.poll(asked)["approvals"]) == 1


def test_yes_and_no_at_once(stage: Stage) -> None:
    for _ in range(4):
        asked = stage.ask("staging")
        path = f"/requests/{asked.id}"
        yes, no = at_once(
            ready(stage, "erin", f"{path}/approve"), ready(stage, "frank", f"{path}/decline", reason="No")
        )
        told = stage.poll(asked)
        assert (yes == 303, no == 303) in ((True, False), (False, True)), (yes, no)
        assert told["status"] == ("approved" if yes == 303 else "declined")
        assert bool(told.get("tokens")) == (yes == 303)


def test_a_scanner_that_follows_every_link(stage: Stage) -> None:
    """GET, HEAD and OPTIONS of everything there is, with and without a session, change nothing."""
    asked, alice = stage.ask("production"), stage.visitor("alice")
    key = f"/requests/{asked.id}"
    paths = [key, *(f"{key}/{what}" for what in ("approve", "decline", "challenge", "look-up")), "/", "/history",
             "/passkeys", "/passkeys/options", "/sign-in", "/sign-in/0", f"/sign-in/0?next={key}", "/sign-out",
             "/sign-in/0/callback?code=x&state=y", "/api/requests", f"/api{key}", "/dev/sign-in", "/dev/merge",
             "/webhooks/github", "/favicon.ico", "/robots.txt"]  # fmt: skip
    page = alice.get(key).text
    paths += [link for link in (part.partition('"')[0] for part in page.split('href="')[1:]) if link.startswith("/")]
    before = stage.rows(), stage.records()
    for method in ("GET", "HEAD", "OPTIONS"):
        for cookies in ({}, {"gate": alice.cookies["gate"]}):
            for path in paths:
                answer = requests.request(
                    method, f"{stage.url}{path}", cookies=cookies, allow_redirects=False, timeout=30
                )
                assert answer.status_code < 500, (method, path)
    assert (stage.rows(), stage.records()) == before
    assert alice.get(key).status == 200, "and the session still stands"


def test_approving_and_declining_without_javascript(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("erin"))
    yes, no = stage.ask("staging"), stage.ask("staging")
    browser.script(enabled=False)
    browser.open(yes.url)
    browser.press("Approve")
    assert "Approved." in browser.text
    browser.open(no.url)
    browser.driver.find_element(By.TAG_NAME, "summary").click()
    browser.fill("why", "Not without a script")
    browser.press("Decline this deployment")
    assert "Declined by erin@example.com" in browser.text
    assert stage.poll(yes)["status"] == "approved"
    assert stage.poll(no)["decline_reason"] == "Not without a script"


def test_a_passkey_without_javascript(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("production")
    browser.become(stage.visitor("alice"))
    browser.script(enabled=False)
    browser.open(asked.url)
    assert "Only the browser can ask for your passkey, and for that it needs JavaScript." in browser.text
    browser.press("Approve with your passkey")
    assert "This approval takes your passkey, and the form came without it." in browser.text
    assert "Use a browser with JavaScript" in browser.text
    browser.open(f"{stage.url}/passkeys")
    assert "Only the browser can make a passkey" in browser.text
    assert stage.poll(asked)["status"] == "open"


def test_a_reason_that_is_too_long_or_missing(stage: Stage) -> None:
    asked, erin = stage.ask("staging"), stage.visitor("erin")
    for reason in ("", "   ", "x" * 301):
        assert erin.decline(asked.id, reason).status == 400
    assert erin.approve(asked.id, reason="x" * 301).status == 400
    assert stage.poll(asked)["status"] == "open"
    assert erin.approve(asked.id, reason="x" * 300).status == 303


def test_a_passkey_is_begun_and_finished_in_one_session(stage: Stage, browser: Browser) -> None:
    """What another person, or an older page, began is not finished here; and it is good once."""
    erin, frank = stage.visitor("erin"), stage.visitor("frank")
    assert erin.submit("/passkeys", credential="{}").status == 409, "nothing was begun"
    assert erin.submit("/passkeys/options").status == 200
    assert frank.submit("/passkeys", credential="{}").status == 409
    assert erin.submit("/passkeys", credential="{}").status == 403, "not a passkey"
    assert erin.submit("/passkeys", credential="{}").status == 409, "and used up"
    browser.become(erin)
    browser.open(f"{stage.url}/passkeys")
    browser.driver.set_user_verified(False)
    browser.push("Make a passkey")
    assert "The passkey was not used" in trouble(browser)


def test_a_device_that_holds_a_passkey_makes_no_second(stage: Stage, browser: Browser) -> None:
    browser.become(stage.visitor("alice"))
    browser.open(f"{stage.url}/passkeys")
    browser.push("Make a passkey")
    assert "This device holds a passkey of yours already." in trouble(browser)
