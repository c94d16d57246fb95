"""The whole way of an approval, in a browser: from the job that asks to the record that answers who approved."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from selenium.webdriver.common.by import By

from tests.bot.browser import PHONE, Browser
from tests.bot.githubdata import TOKEN
from tests.bot.running import API_TOKEN
from tests.bot.stage import Stage
from tests.world import commit

Job = subprocess.Popen[str]


def link(job: Job) -> str:
    """The link that a job prints for people."""
    assert job.stderr
    line = job.stderr.readline()
    found = re.search(r"approval asked for: (\S+)", line)
    assert found, line + "".join(job.communicate(timeout=30))
    return found[1]


def ended(job: Job) -> tuple[int, str]:
    """How it ended, and what it said."""
    printed, told = job.communicate(timeout=60)
    return job.returncode, printed + told


def github_job(stage: Stage, sha: str, run_id: str, actor: str) -> dict[str, str]:
    """What GitHub gives to a job, by which it proves itself to the bot and reads the history."""
    facts = {"repository": "Acme/Shop", "sha": sha, "run_id": run_id, "run_attempt": "1", "actor": actor}
    token = stage.provider.ci_token("github", stage.url, environment="live", **facts)
    return {"GATE_ID_TOKEN": token, "GITHUB_TOKEN": TOKEN}


def test_from_a_job_to_its_deployment(stage: Stage, browser: Browser) -> None:
    allowed = stage.commit("Prices with three digits", "zoe")
    options = ("--repository", "acme/shop", "--repository-id", "1296269")
    stage.allow("live", allowed)

    stage.commit("Show the basket's total", "zoe")
    sha = stage.commit("Round the totals half to even\n\nAs the tax office does.", "dave")
    browser.resize(PHONE)
    browser.hold(stage.passkeys["alice"])
    stage.arriving("alice")
    here = ("--sha", sha, "--run-id", "12", "--actor", "octocat", "--github-api-url", stage.hub.url, *options)
    with stage.job("live", *here, **github_job(stage, sha, "12", "octocat")) as job:
        url = link(job)
        browser.open(url)
        assert browser.heading == "Sign in"
        browser.press("Continue with Example SSO")
        assert browser.driver.current_url == url, "back at the very request"
        for fact in ("acme/shop", sha, "live", "octocat", "12", "on refs/heads/main", "by push",
                     "Round the totals half to even", "As the tax office does.", "Show the basket's total", "dave",
                     "zoe", "0 of 1",
                     f"2 commits since {allowed[:12]}", "1 approver with a passkey, who neither started the run nor",
                     "This request runs out in", "good once, for 15 minutes"):  # fmt: skip
            assert fact in browser.text, fact
        assert "only the job says so" not in browser.text, "its CI has proved all of it"
        assert f"Proved by\n{stage.provider.url}" in browser.text
        web = stage.hub.url.removesuffix("/api/v3")
        diff = browser.button("Read the difference").get_attribute("href")
        assert diff == f"{web}/acme/shop/compare/{allowed}...{sha}"
        browser.fill("reason", "The tax office waits for it")
        browser.press("Approve with your passkey")
        assert "Approved" in browser.text
        code, told = ended(job)
    assert code == 0, told
    assert "ALLOWED" in told
    assert "· separation" not in told
    assert "✓ separation" in told
    assert "✓ passkey     of alice@example.com" in told

    told = stage.gate("audit", "show", sha, *stage.events).stdout
    assert "approved on the page by alice@example.com" in told
    shown = stage.gate("audit", "show", sha)
    assert re.search(r"allowed .*alice@example.com", shown.stdout), shown.stdout
    anchored = ("--replay", f"sqlite://{stage.place.folder}/state/events.db")
    for proved in (stage.gate("audit", "verify"), stage.gate("audit", "verify", *stage.events, *anchored)):
        assert (proved.returncode, proved.stdout[:6]) == (0, "PROVED"), proved.stdout + proved.stderr
    browser.open(f"{stage.url}/history?stream=acme/shop/live&sha={sha}")
    assert "Allowed" in browser.text
    assert "Approved by alice@example.com." in browser.text
    assert browser.quotes == ["The tax office waits for it"] * 2, "by the gate's log, and by the bot's"


def test_a_checkout_where_the_bot_knows_no_history(stage: Stage, browser: Browser, tmp_path: Path) -> None:
    """The bot can't say who wrote it, and says so; the gate looks into the job's own checkout."""
    sha = commit(tmp_path / "till", "Open the till", "dave@example.com")
    browser.become(stage.visitor("alice"))
    options = ("--repository", "acme/till", "--sha", sha, "--run-id", "21", "--actor", "dave@example.com")
    with stage.job("production", *options, GATE_BOT_TOKEN=API_TOKEN, cwd=str(tmp_path / "till")) as job:
        browser.open(link(job))
        assert "the job showed the API token ci, and all of this is its own word" in browser.text
        assert "The gate will look again in the job, and may refuse." in browser.text
        browser.press("Approve with your passkey")
        code, told = ended(job)
    assert code == 0, told
    assert "✓ separation" in told
    assert "✓ checkout" in told


def test_what_the_bot_could_not_know_the_gate_finds(stage: Stage, tmp_path: Path) -> None:
    sha = commit(tmp_path / "desk", "Approve of myself", "alice@example.com")
    options = ("--repository", "acme/desk", "--sha", sha, "--run-id", "22", "--actor", "dave@example.com")
    with stage.job("production", *options, GATE_BOT_TOKEN=API_TOKEN, cwd=str(tmp_path / "desk")) as job:
        key = link(job).rpartition("/")[2]
        assert stage.visitor("alice").approve(key).status == 303
        code, told = ended(job)
    assert code == 1
    assert "approver.is_author" in told


def test_a_pipeline_of_gitlab_by_two_approvers(stage: Stage, browser: Browser) -> None:
    sha = "b" * 39 + "1"
    token = stage.gitlab.ci_token("gitlab", stage.url, sha=sha, environment="pair", pipeline_id="31")
    options = ("--repository", "acme/web/shop", "--repository-id", "20", "--sha", sha, "--run-id", "31")
    browser.resize(PHONE)
    with stage.job("pair", *options, GATE_ID_TOKEN=token) as job:
        url = link(job)
        browser.become(stage.visitor("alice"))
        browser.open(url)
        assert "0 of 2" in browser.text
        assert "127.0.0.1:octocat#1, octocat@example.com" in browser.text
        browser.press("Approve with your passkey")
        assert "You have approved this. It waits for 1 more approval." in browser.text
        assert not browser.has("Approve with")
        browser.become(stage.visitor("bob"))
        browser.open(url)
        assert "1 of 2" in browser.text
        assert "alice@example.com with a passkey" in browser.text
        browser.press("Approve with your passkey")
        assert "Approved." in browser.text
        assert "bob@example.com with a passkey" in browser.text
        code, told = ended(job)
    assert code == 0, told
    assert "✓ quorum      alice@example.com, bob@example.com" in told


def test_a_no_reaches_the_job(stage: Stage, browser: Browser) -> None:
    sha = stage.commit("Sell on Sundays")
    options = ("--repository", "acme/shop", "--sha", sha, "--run-id", "41", "--actor", "dave")
    browser.resize(PHONE)
    browser.become(stage.visitor("bob"))
    with stage.job("pair", *options, GATE_BOT_TOKEN=API_TOKEN) as job:
        browser.open(link(job))
        browser.driver.find_element(By.TAG_NAME, "summary").click()
        browser.fill("why", "Not before the shops' council says yes")
        browser.press("Decline this deployment")
        assert "Declined by bob@example.com" in browser.text
        assert "Not before the shops' council says yes" in browser.text
        assert not browser.has("Approve")
        code, told = ended(job)
    assert code == 1
    assert "[approval.declined]" in told
    assert "bob@example.com declined: Not before the shops' council says yes" in told
    assert "declined by bob@example.com" in stage.gate("audit", "show", sha, *stage.events).stdout


def test_a_passkey_counts_once_its_public_part_is_merged(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("production")
    browser.become(stage.visitor("grace"))
    browser.resize(PHONE)
    browser.open(asked.url)
    assert "the policy lists none of yours" in browser.text
    browser.press("Enrol a passkey")
    browser.press("Make a passkey")
    assert browser.heading == "Your passkey is made"
    snippet = yaml.safe_load(browser.driver.find_element(By.TAG_NAME, "pre").text)
    (entry,) = snippet["people"]["grace@example.com"]["passkeys"]
    assert f"\n{entry['id'][:16]}\n" in browser.text, "what a reviewer asks for by another way"
    browser.open(asked.url)
    assert "the policy lists none of yours" in browser.text, "made is not merged"

    stage.place.policy["people"]["grace@example.com"]["passkeys"] = [entry]
    stage.place.write()
    eventually(browser, f"{stage.url}/passkeys", lambda: entry["id"] in browser.text)
    browser.open(asked.url)
    browser.press("Approve with your passkey")
    assert "Approved." in browser.text
    assert stage.poll(asked)["approvals"][0]["approver"] == "grace@example.com"


def eventually(browser: Browser, url: str, condition: Callable[[], Any]) -> None:
    """Reload until it is so: a bot looks at its policy every two seconds."""

    def reloaded() -> Any:
        browser.open(url)
        return condition()

    browser.wait(reloaded)


@pytest.mark.parametrize("path", ["/", "/history", "/passkeys"])
def test_every_page_leads_through_sign_in_and_back(stage: Stage, browser: Browser, path: str) -> None:
    stage.arriving("alice")
    browser.open(f"{stage.url}{path}")
    browser.press("Continue with Example SSO")
    assert browser.driver.current_url == f"{stage.url}{path}"
    browser.press("Sign out")
    assert browser.heading == "Sign in"


def test_signing_in_with_github(stage: Stage, browser: Browser) -> None:
    """The policy knows people by their logins there, too; and whom it does not know gets nowhere."""
    asked = stage.ask("solo")
    browser.hold(stage.passkeys["alice"])
    stage.arriving("mallory")
    browser.open(asked.url)
    browser.press("Continue with GitHub")
    assert "You have signed in, but the policy does not know you." in browser.text
    stage.arriving("alice")
    browser.open(asked.url)
    browser.press("Continue with GitHub")
    assert browser.driver.current_url == asked.url
    footer = browser.driver.find_element(By.TAG_NAME, "footer").text
    assert "Signed in as alice@example.com with GitHub." in footer
    browser.press("Approve with your passkey")
    assert "Approved." in browser.text
    assert stage.poll(asked)["approvals"][0]["approver"] == "alice@example.com"
