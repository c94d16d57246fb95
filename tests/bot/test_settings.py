"""bot.yaml: read as strictly as the policy, every mistake with its line."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import yaml

from gate.bot import building
from gate.bot.building import build, own_github
from gate.bot.settings import Settings, load_settings
from gate.bot.site import Site
from gate.bot.startup import check_secrets, troubles
from gate.errors import PolicyError, SignerError, UsageError
from tests.bot.running import SECRETS, Place

GOOD = """\
version: 1
url: https://gate.example.com
policy: gate.yaml
signer: file:key.pem
state: sqlite:bot.db
session_key: env:GATE_BOT_SESSION_KEY
request_life: 30m
jobs:
  oidc:
    - {issuer: "https://token.actions.githubusercontent.com", kind: github}
sign_in:
  - {name: SSO, issuer: "https://sso.example.com", client_id: x, client_secret: "env:X"}
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
audit: file:events
replay: sqlite:events.db
"""


def load(folder: Path, text: str) -> Settings:
    (folder / "bot.yaml").write_text(text)
    return load_settings(folder / "bot.yaml")


def test_good_settings_are_read_and_paths_start_at_their_folder(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert (settings.url, settings.request_life) == ("https://gate.example.com", 1800)
    assert settings.policy == str(tmp_path / "gate.yaml")
    assert (settings.audit, settings.replay) == ("file:events", "sqlite:events.db")
    assert (settings.github, settings.notices) == (None, ())
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")
    assert not settings.is_local
    assert load(tmp_path, GOOD.replace("https://gate.example.com", "http://localhost:8765")).is_local
    assert load(tmp_path, GOOD.replace("gate.yaml", "s3://bucket/gate.yaml?region=x")).policy.startswith("s3://")
    assert load(tmp_path, GOOD.replace("request_life: 30m\n", "").replace("state: sqlite:bot.db\n", "")).state


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("version: 1", "version: 2", 1, "version"),
        ("version: 1", 'version: "1"', 1, "number 1"),
        ("url: https://gate.example.com", "url: https://gate.example.com/x", 2, "origin"),
        ("url: https://gate.example.com", "url: https://Gate.example.com", 2, "origin"),
        ("url: https://gate.example.com", "url: https://gate.example.com:443", 2, "origin"),
        ("url: https://gate.example.com", "url: https://u:p@gate.example.com", 2, "origin"),
        ("url: https://gate.example.com", "url: https://gate.example.com?x", 2, "origin"),
        ("url: https://gate.example.com", "url: ftp://gate.example.com", 2, "origin"),
        ("url: https://gate.example.com", "url: gate.example.com", 2, "origin"),
        ("url: https://gate.example.com", "url: https://", 2, "origin"),
        ("url: https://gate.example.com", "url: https://x:99999", 2, "not a URL"),
        ("url: https://gate.example.com", "url: http://gate.example.com", 2, "must be https"),
        ("url: https://gate.example.com", "url: http://10.0.0.1", 2, "must be https"),
        ("url: https://gate.example.com", "url: http://localhost.example.com", 2, "must be https"),
        ("url: https://gate.example.com", "url: ''", 2, ""),
        ("session_key: env:GATE_BOT_SESSION_KEY", "session_key: the-key-itself", 6, "where the secret is"),
        ("request_life: 30m", "request_life: 25h", 7, "a day"),
        ("request_life: 30m", "request_life: 0s", 7, ""),
        ("request_life: 30m", "request_life: soon", 7, ""),
        ("request_life: 30m", "unknown: 1", 7, "unknown"),
        ("request_life: 30m", "version: 1", 7, ""),
        ("kind: github", "kind: jenkins", 10, "kind"),
        ("client_id: x, ", "", 12, "client_id"),
        ("env:X", "X", 12, "where the secret is"),
        ("10.0.0.0/8", "10.0.0.1/8", 13, "proxy"),
        ("10.0.0.0/8", "10.0.0.0/33", 13, "proxy"),
        ("10.0.0.0/8", '"*"', 13, "proxy"),
        ("10.0.0.0/8", "proxy.example.com", 13, "proxy"),
        ("trusted_proxies: [10.0.0.0/8, 192.0.2.1]", "trusted_proxies: 10.0.0.0/8", 13, ""),
        ("audit: file:events\n", "", 1, "'audit'"),
        ("replay: sqlite:events.db\n", "", 1, "'replay'"),
        ("trusted_proxies: [10.0.0.0/8, 192.0.2.1]", "notices: {pager: x}", 13, "pager"),
        ("trusted_proxies: [10.0.0.0/8, 192.0.2.1]", "github: {app_id: '1'}", 13, "github"),
        ("signer: file:key.pem\n", "", 1, "signer"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in GOOD
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert f"Line {line}:" in caught.value.message
    assert what in caught.value.message + caught.value.hint
    assert caught.value.message.startswith("bot.yaml: ")
    assert "the-key-itself" not in caught.value.message + caught.value.hint


def test_people_sign_in_with_one_github_at_most(tmp_path: Path) -> None:
    """`alice` of the one is not `alice` of the other, and the policy has one of them."""
    ways = "".join(
        f"  - {{name: {host}, github: 'https://{host}', client_id: x, client_secret: 'env:X'}}\n"
        for host in ("github.com", "ghe.example.com")
    )
    head, _, tail = GOOD.partition("  - {name: SSO")
    with pytest.raises(PolicyError, match=r"Line 13: one GitHub at most"):
        load(tmp_path, head + ways + tail.partition("\n")[2])


def test_a_file_that_can_t_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match="can't be read"):
            load_settings(path)
    with pytest.raises(PolicyError, match=r"bot\.yaml"):
        load(tmp_path, "- a list\n")


# --- what is looked at when it starts ---------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return Place(tmp_path)


def built(place: Place, **changed: Any) -> Site:
    place.settings |= changed
    place.write()
    return build(load_settings(place.folder / "bot.yaml"), pin=str)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"session_key": "env:MISSING"}, "env:MISSING"),
        ({"session_key": "file:missing"}, "file:missing"),
        ({"session_key": "env:EMPTY"}, "env:EMPTY"),
        ({"session_key": "env:SHORT"}, "too short"),
        ({"notices": {"slack": "env:MISSING"}}, "env:MISSING"),
        ({"notices": {"slack": "env:SHORT"}}, "Slack"),
        ({"notices": {"email": {"server": "smtps://x", "from": "a@x.org", "user": "u", "password": "env:MISSING"}}},
         "env:MISSING"),
        ({"github": {"token": "env:MISSING"}}, "env:MISSING"),
        ({"github": {"token": "env:SHORT", "webhook_secret": "env:MISSING"}}, "env:MISSING"),
        ({"github": {"app_id": "1", "private_key": "file:missing"}}, "file:missing"),
        ({"github": {"app_id": "1", "private_key": "env:SHORT"}}, "key"),
        ({"sign_in": [{"name": "x", "github": "https://github.com", "client_id": "x", "client_secret": "env:MISSING"}]},
         "env:MISSING"),
    ],
)  # fmt: skip
def test_a_secret_that_is_missing_or_unusable_is_found_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], named: str
) -> None:
    monkeypatch.setenv("EMPTY", "  ")
    monkeypatch.setenv("SHORT", "short-secret")
    with pytest.raises(UsageError) as caught:
        built(place, **changed)
    assert named in caught.value.message
    assert "short-secret" not in caught.value.message + caught.value.hint


def test_all_secrets_that_are_there_are_fine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK", "https://hooks.slack.com/services/x")
    email = {"server": "smtp://localhost", "from": "a@example.com"}
    github = {"token": "env:SLACK", "webhook_secret": "env:SLACK"}
    site = built(place, notices={"slack": "env:SLACK", "email": email}, github=github)
    assert list(troubles(site)) == []
    check_secrets(load_settings(place.folder / "bot.yaml"))


def test_what_keeps_people_from_approving_is_said_at_the_start(place: Place, tmp_path: Path) -> None:
    assert list(troubles(built(place))) == []
    place.policy["passkeys"]["origin"] = "https://elsewhere.example.com"
    [said] = troubles(built(place))
    assert "https://elsewhere.example.com" in said
    assert place.url in said
    del place.policy["passkeys"]
    assert list(troubles(built(place))) == []
    keys, place.policy["keys"] = place.policy["keys"], Place(tmp_path / "other").policy["keys"]
    [said] = troubles(built(place))
    assert "does not list the bot's key" in said
    place.policy["keys"] = keys
    (tmp_path / "key.pem").unlink()
    [said] = troubles(built(place))
    assert "key can't be used" in said
    place.policy["version"] = 9
    [said] = troubles(built(place))
    assert "policy" in said


def test_the_bot_s_own_log_is_where_it_records_and_nothing_of_the_gate_s_is_written(
    place: Place, tmp_path: Path
) -> None:
    site = built(place, audit="file:own-audit", replay="sqlite:own.db")
    site.logbook.enrolled("alice@example.com", "id")
    assert list((tmp_path / "own-audit").rglob("*.json"))
    assert not (tmp_path / "audit").exists()
    assert site.history.streams() == ["deploy-gate/bot/events"]


def test_a_webhook_speaks_of_the_jobs_of_its_own_github(tmp_path: Path) -> None:
    one = load(tmp_path, GOOD + "github: {token: 'env:X'}\n")
    assert own_github(one) == "https://token.actions.githubusercontent.com"
    assert own_github(one._replace(github=None)) == "", "it acts nowhere, and runs nothing again"
    ghes = "https://ghe.example.com/_services/token"
    elsewhere = GOOD.replace("https://token.actions.githubusercontent.com", ghes) + "github: {token: 'env:X'}\n"
    assert own_github(load(tmp_path, elsewhere)) == "", "its API is another GitHub's"
    bounded = GOOD.replace("kind: github}", "kind: github, repositories: [a/b]}")
    second = f'    - {{issuer: "{ghes}", kind: github, repositories: [c/d]}}\nsign_in:'
    two = bounded.replace("sign_in:", second)
    both = two + "github: {api_url: 'https://ghe.example.com/api/v3', token: 'env:X'}\n"
    assert own_github(load(tmp_path, both)) == ghes
    assert own_github(load(tmp_path, two + "github: {token: 'env:X'}\n")).endswith("githubusercontent.com")
    third = two + "github: {api_url: 'https://other.example.com/api/v3', token: 'env:X'}\n"
    assert own_github(load(tmp_path, third)) == ""
    only_tokens = yaml.safe_load(GOOD)
    only_tokens["jobs"] = {"tokens": [{"name": "x", "sha256": "0" * 64, "repositories": ["acme/*"]}]}
    assert own_github(load(tmp_path, yaml.safe_dump(only_tokens))) == ""


def test_the_key_is_opened_once_whoever_comes_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, ready = [], Barrier(8)

    def slowly(*_: object) -> object:
        opened.append(1)
        time.sleep(0.1)
        return place.signer

    monkeypatch.setattr(building, "open_signer", slowly)
    signer = building._signer(load_settings(place.folder / "bot.yaml"), lambda: "no PIN")

    def first(_: int) -> object:
        ready.wait()
        return signer()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(first, range(8))) == {place.signer}
    assert opened == [1]


def test_who_waited_behind_a_failure_does_not_wait_for_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fails(*_: object) -> object:
        tried.append(1)
        time.sleep(0.1)
        raise SignerError("The token is out.")

    monkeypatch.setattr(building, "open_signer", fails)
    signer = building._signer(load_settings(place.folder / "bot.yaml"), lambda: "no PIN")
    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(signer) for _ in range(8)]
        assert all(isinstance(outcome.exception(), SignerError) for outcome in outcomes)
    assert tried == [1]
    monkeypatch.setattr(building, "_FAILURE_LIVES", 0.0)
    monkeypatch.setattr(building, "open_signer", lambda *_: place.signer)
    assert building._signer(load_settings(place.folder / "bot.yaml"), lambda: "no PIN")() is place.signer
