"""The pages say by whose word something stands there: a job's, its CI's, or that of whoever wrote the code."""

from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from gate.bot.claims import read_job
from tests.bot.browser import Browser
from tests.bot.provider import Provider
from tests.bot.stage import Asked, Stage

TITLE, MESSAGE = "Ignore what the policy says", "This is approved already, by everybody."
ONLY_SAID = "only the job says so"


def ask(stage: Stage, provider: Provider, kind: str, claims: dict[str, Any], **body: Any) -> Asked:
    """Ask with the token of a CI, and with what the job says besides."""
    token = provider.ci_token(kind, stage.url, **{"environment": "staging", "sha": stage.commit(TITLE)} | claims)
    answer = stage.api("POST", "/api/requests", token, json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return Asked(told["id"], told["url"], told["secret"], body.get("sha", ""), "")


def look(stage: Stage, browser: Browser, asked: Asked) -> None:
    browser.become(stage.visitor("erin"))
    browser.open(asked.url)


def row(browser: Browser, name: str) -> WebElement:
    """What stands beside a name among the facts."""
    return browser.driver.find_element(By.XPATH, f"//dt[.='{name}']/following-sibling::dd[1]")


def link(browser: Browser) -> tuple[str, str | None]:
    """Where one sees the run: the link's words, and where it leads."""
    found = row(browser, "Run").find_element(By.TAG_NAME, "a")
    return found.text, found.get_attribute("href")


def test_the_run_of_a_github_job(stage: Stage, browser: Browser) -> None:
    asked = ask(stage, stage.provider, "github", {"run_id": "51", "run_attempt": "2"})
    there = read_job("github", "https://token.actions.githubusercontent.com", Provider().ci_claims(run_id="51")).run_url
    stage.change(asked, lambda value: value.update(run_url=there))  # the tests' GitHub has no pages
    look(stage, browser, asked)
    assert row(browser, "Run").text == "51, attempt 2"
    assert link(browser) == ("51", "https://github.com/Acme/Shop/actions/runs/51")


def test_the_pipeline_of_a_gitlab_job(stage: Stage, browser: Browser) -> None:
    look(stage, browser, ask(stage, stage.gitlab, "gitlab", {"pipeline_id": "52"}))
    assert row(browser, "Run").text == "52"
    assert link(browser) == ("52", f"{stage.gitlab.url}/Acme/web/shop/-/pipelines/52")


def test_a_run_that_a_job_names_or_does_not(stage: Stage, browser: Browser) -> None:
    for run_id, shown in (("53", "53"), ("", "not named")):
        look(stage, browser, stage.ask(run_id=run_id))
        assert row(browser, "Run").text == shown
        assert row(browser, "Run").find_elements(By.TAG_NAME, "a") == []


def test_what_only_the_job_says(stage: Stage, browser: Browser) -> None:
    """Its CI proves a run and its commit; it asks for another commit, for somebody else too, and says where to."""
    other = stage.commit("Another one")
    asked = ask(stage, stage.provider, "github", {"run_id": "54", "environment": None}, environment="staging",
                sha=other, actors=["zoe"])  # fmt: skip
    look(stage, browser, asked)
    said = [name for name in ("Repository", "Commit", "Environment", "Asked by", "Run", "Proved by", "Policy")
            if ONLY_SAID in row(browser, name).text]  # fmt: skip
    assert said == ["Commit", "Environment", "Asked by"]
    assert row(browser, "Asked by").text == f"127.0.0.1:octocat#583231, zoe {ONLY_SAID}"
    stands_at = stage.request(asked).run_sha
    assert stands_at != other
    assert f"The run itself stands at {stands_at[:12]}, and asks for another commit." in browser.text


def entry(browser: Browser, asked: Asked) -> WebElement:
    """A request in the list of all."""
    return browser.driver.find_element(By.XPATH, f"//li[.//a[@href='/requests/{asked.id}']]")


def test_the_list_tells_proof_from_word(stage: Stage, browser: Browser) -> None:
    proved, said = ask(stage, stage.provider, "github", {"run_id": "55"}), stage.ask(sha=stage.commit(TITLE))
    browser.become(stage.visitor("erin"))
    browser.open(f"{stage.url}/")
    assert ONLY_SAID not in entry(browser, proved).text
    pill = entry(browser, said).find_element(By.CLASS_NAME, "said")
    assert pill.text == ONLY_SAID
    assert entry(browser, said).find_element(By.CLASS_NAME, "theirs").text == TITLE


def test_what_others_wrote_looks_it(stage: Stage, browser: Browser) -> None:
    asked = stage.ask("duo", sha=stage.commit(f"{TITLE}\n\n{MESSAGE}"))
    assert stage.visitor("carol").approve(asked.id, reason="I am sure").status == 303
    look(stage, browser, asked)
    assert browser.quotes == [TITLE, "I am sure", TITLE, MESSAGE, "Text like this"]
    assert stage.visitor("frank").decline(asked.id, "I am not").status == 303
    browser.open(asked.url)
    assert browser.quotes == ["I am not", TITLE, "I am sure", TITLE, MESSAGE, "Text like this"]
