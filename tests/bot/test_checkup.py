"""`gate doctor --bot`: what would keep a bot from its work, or let whoever owns it approve, is said before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from gate.bot import checkup
from gate.bot.checkup import examine_bot
from gate.bot.settings import load_settings
from gate.cli import cli
from gate.models import Finding
from gate.wiring import load_policy
from tests.bot.provider import Provider, serving
from tests.bot.running import SECRETS, Place
from tests.core.authenticator import Authenticator


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with serving(Provider()) as provider:
        place = Place(tmp_path)
        place.sign_in_with(provider)
        yield place


def examine(place: Place) -> list[Finding]:
    place.write()
    loaded = load_policy(str(place.policy_path))
    return list(examine_bot(load_settings(place.folder / "bot.yaml"), loaded, lambda: "no PIN"))


def worst(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.severity for finding in findings if finding.severity != "ok"}


def make_well(place: Place) -> None:
    """As it should be, but for the address."""
    entry = Authenticator(origin=place.url, rp_id="localhost").credential_yaml
    place.policy["people"]["alice@example.com"]["passkeys"] = [yaml.safe_load(entry)]
    place.policy["environments"]["production"]["passkey"] = "required"


def test_a_bot_as_it_should_be(place: Place) -> None:
    make_well(place)
    assert worst(examine(place)) == {"bot's url": "warning"}  # the tests' one is on this machine


def test_a_bot_whose_owner_could_approve(place: Place) -> None:
    place.settings |= {name: place.policy[name] for name in ("audit", "replay")}
    found = worst(examine(place))
    assert found["environment production"] == found["bot's records"] == "warning"
    del place.policy["passkeys"]
    assert worst(examine(place))["bot's passkeys"] == "warning"


def test_a_log_that_is_shared_is_found_however_it_is_spelled(place: Place) -> None:
    make_well(place)
    place.settings["audit"] = f"file://{place.folder}/audit"
    place.settings["replay"] = f"sqlite://{place.folder}/state/../replay.db"
    told = [finding.message for finding in examine(place) if finding.subject == "bot's records"]
    assert [message.split(",")[0] for message in told] == [
        "the bot writes to the gate's own log", "the bot writes to the gate's own replay store",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        ({"state": "sqlite:/dev/null/bot.db"}, "deploy-bot's state sqlite:/dev/null/bot.db"),
        ({"replay": "sqlite:/dev/null/events.db"}, "bot's replay store sqlite:/dev/null/events.db"),
        ({"audit": "file:/dev/null/events"}, "bot's audit log /dev/null/events"),
        ({"notices": {"slack": "env:NOPE"}}, "bot's secrets"),
    ],
)
def test_what_the_bot_could_not_use_once_it_runs(place: Place, changed: dict[str, Any], subject: str) -> None:
    make_well(place)
    place.settings |= changed
    assert worst(examine(place)).get(subject) == "error"


def test_a_bot_that_could_not_work(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_well(place)
    place.policy["passkeys"] = {"origin": "https://gate.example.com"}
    place.settings["jobs"]["oidc"] = [{"issuer": "http://127.0.0.1:9", "kind": "github"}]
    place.settings["state"] = f"sqlite:///{tmp_path}"
    (tmp_path / "key.pem").unlink()
    (tmp_path / "events").write_text("no folder")
    monkeypatch.setenv("GATE_BOT_SESSION_KEY", "short")
    found = worst(examine(place))
    errors = {subject for subject, severity in found.items() if severity == "error"}
    assert {"bot's passkeys", "bot's signer", "bot's session key", "issuer http://127.0.0.1:9"} <= errors
    assert any("state" in subject for subject in errors)
    assert any(subject.startswith("bot's audit log") for subject in errors)
    assert all(finding.fix for finding in examine(place) if finding.severity != "ok")


@pytest.mark.parametrize(
    ("api_url", "issuers", "severity"),
    [
        ("https://api.github.com", ["https://token.actions.githubusercontent.com"], "ok"),
        ("https://api.github.com", ["https://token.actions.githubusercontent.com/acme"], "ok"),
        ("https://api.github.com", ["https://ghe.example.com/_services/token"], "error"),
        ("https://ghe.example.com/api/v3", ["https://ghe.example.com/_services/token"], "ok"),
        ("https://ghe.example.com/api/v3", ["https://token.actions.githubusercontent.com"], "error"),
        ("https://api.acme.ghe.com", ["https://token.actions.acme.ghe.com"], "ok"),
        ("https://api.acme.ghe.com", ["https://token.actions.other.ghe.com"], "error"),
        ("https://api.github.com", ["https://ghe.example.com/_services/token",
                                    "https://token.actions.githubusercontent.com"], "ok"),
        ("https://api.github.com", ["https://proxy.example.com"], "ok"),
    ],
)  # fmt: skip
def test_the_github_of_the_jobs_is_the_one_where_the_bot_acts(
    place: Place, monkeypatch: pytest.MonkeyPatch, api_url: str, issuers: list[str], severity: str
) -> None:
    monkeypatch.setattr(checkup, "_examine_issuer", lambda url: Finding("ok", url, "answers"))
    place.settings["jobs"]["oidc"] = [{"issuer": url, "kind": "github", "repositories": ["acme/*"]} for url in issuers]
    place.settings["github"] = {"api_url": api_url, "token": "env:GH"}
    found = {finding.subject: finding.severity for finding in examine(place)}
    assert found["bot's github"] == severity


@pytest.mark.parametrize(
    ("forges", "url", "well"),
    [
        ({}, "https://github.com", True),
        ({}, "https://ghe.example.com", False),
        ({"ghe.example.com": "github"}, "https://ghe.example.com", True),
        ({"github.com": "github", "ghe.example.com": "github"}, "https://ghe.example.com", False),
    ],
)
def test_plain_logins_are_those_of_where_people_sign_in(
    place: Place, forges: dict[str, str], url: str, *, well: bool
) -> None:
    place.settings["sign_in"] = [
        {"name": "GitHub", "github": url, "client_id": "x", "client_secret": "env:SIGN_IN_SECRET"}
    ]
    place.policy["forges"] = forges
    if not forges:
        del place.policy["forges"]
    [finding] = [each for each in examine(place) if each.subject == "bot's sign-in"]
    assert finding.severity == ("ok" if well else "warning")
    assert well or "forges: {ghe.example.com: github}" in finding.fix


def test_the_doctor_takes_the_bot_s_policy(place: Place) -> None:
    make_well(place)
    place.write()
    done = CliRunner().invoke(cli, ["doctor", "--bot", str(place.folder / "bot.yaml")])
    assert done.exit_code == 0, done.output
    assert "are made and used at" in done.output
    assert str(place.policy_path) in done.output
