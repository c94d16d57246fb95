"""Who the deploy-bot is at GitHub: an app's tokens, fetched from a server that GitHub's own description checks."""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gate.bot.notices import Undelivered
from gate.bot.notices.github import GitHub as Channel
from gate.bot.notices.sections import read_github
from gate.errors import PolicyError, UsageError
from gate.forge import api
from gate.forge.githubapp import App, PlainToken
from gate.forge.rest import Forge, Refused
from gate.strictyaml import parse
from tests.bot.github import Fault, GitHub, serving
from tests.bot.githubdata import APP_ID, TOKEN, Reply, sha
from tests.bot.githubroutes import problem
from tests.bot.news import notice
from tests.sabotage import HTTP_WITHOUT_END, ends, relay

ALL = {"actions": "write", "contents": "read", "deployments": "write", "pull_requests": "write", "statuses": "write"}


def _pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode())


@lru_cache
def _key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:
        for _ in range(3):
            served.shop.add_commit()
        served.shop.public_key = _key().public_key()
        served.shop.permissions = {**ALL, "checks": "write"}
        yield served


def app(github: GitHub, **settings: Any) -> App:
    settings = {"read_key": lambda: _pem(_key()), "timeouts": (2.0, 2.0), "patience": 0.0, **settings}
    return App(github.url, APP_ID, **settings)


def test_a_token_for_one_repository_with_what_is_needed(github: GitHub) -> None:
    token = app(github).token("Acme/Shop")
    assert github.shop.issued[token][1] == ALL
    (request,) = github.asked("POST", "/access_tokens")
    assert request.body == {"repositories": ["shop"], "permissions": ALL}


def test_only_what_was_granted_is_asked_for(github: GitHub) -> None:
    github.shop.permissions = {"actions": "read", "statuses": "write"}
    token = app(github).token("acme/shop")
    assert github.shop.issued[token][1] == {"actions": "read", "statuses": "write"}


def test_without_any_of_the_permissions_there_is_no_token(github: GitHub) -> None:
    github.shop.permissions = {"checks": "write"}
    with pytest.raises(Refused, match="none of the permissions"):
        app(github).token("acme/shop")
    assert github.asked("POST") == []


def test_tokens_are_kept_until_shortly_before_they_expire(github: GitHub) -> None:
    now = [time.time()]
    credentials = app(github, clock=lambda: now[0])
    first = credentials.token("acme/shop")
    now[0] += 3000
    assert credentials.token("acme/shop") == first
    now[0] = time.time()
    credentials = app(github, clock=lambda: now[0])
    github.shop.now -= timedelta(seconds=3400)  # so that it has 200 seconds left
    assert credentials.token("acme/shop") != credentials.token("acme/shop")


def test_a_token_that_is_refused_is_forgotten(github: GitHub) -> None:
    forge = Forge(github.url, app(github))
    Channel(forge).deliver(notice())
    github.shop.issued.clear()
    with pytest.raises(Undelivered) as caught:
        Channel(forge).deliver(notice("approved"))
    assert not caught.value.final
    Channel(forge).deliver(notice("approved"))
    assert github.shop.statuses[sha(3)][0]["state"] == "success"


def test_the_whole_notice_as_an_app(github: GitHub) -> None:
    number = github.shop.add_pull(sha(3))
    github.shop.add_run(30433642, sha(3))
    github.shop.add_deployment(sha(3))
    channel = Channel(Forge(github.url, app(github)))
    channel.deliver(notice())
    channel.deliver(notice("approved", rerun=True))
    (comment,) = github.shop.comments[number]
    assert "Approved" in comment["body"]
    assert github.shop.runs[30433642]["run_attempt"] == 2
    assert len(github.asked("POST", "/access_tokens")) == 1


def test_a_permission_that_is_missing_is_refused_where_it_is_needed(github: GitHub) -> None:
    github.shop.permissions.pop("statuses")
    number = github.shop.add_pull(sha(3))
    with pytest.raises(Undelivered, match="may not do this") as caught:
        Channel(Forge(github.url, app(github))).deliver(notice())
    assert caught.value.final
    assert len(github.shop.comments[number]) == 1


def test_not_installed(github: GitHub) -> None:
    with pytest.raises(Refused, match="is not installed on acme/other") as caught:
        app(github).token("acme/other")
    assert caught.value.is_final


def test_suspended(github: GitHub) -> None:
    github.shop.suspended = True
    with pytest.raises(Refused, match="suspended"):
        app(github).token("acme/shop")


def test_another_key(github: GitHub) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(Refused, match="refuses the credentials"):
        app(github, read_key=lambda: _pem(other)).token("acme/shop")


@pytest.mark.parametrize("key", ["no key", "", _pem(ec.generate_private_key(ec.SECP256R1()))])
def test_no_rsa_key(github: GitHub, key: str) -> None:
    with pytest.raises(UsageError, match="no RSA key") as caught:
        app(github, read_key=lambda: key).token("acme/shop")
    assert not key or key not in f"{caught.value} {caught.value.hint}"
    assert github.requests == []


def test_a_lost_token_is_asked_for_again(github: GitHub) -> None:
    github.faults = [Fault("POST", "/access_tokens", lost=True)]
    assert app(github, patience=5.0).token("acme/shop") in github.shop.issued


@pytest.mark.parametrize("status", [403, 500])
def test_github_gives_no_token(github: GitHub, status: int) -> None:
    github.faults = [Fault("POST", "/access_tokens", problem(status, "No"))]
    with pytest.raises(Refused) as caught:
        app(github).token("acme/shop")
    assert caught.value.status == status


@pytest.mark.parametrize("body", [None, [], {"token": 1, "expires_at": "2030-01-01T00:00:00Z"}, {"token": "a"}])
def test_an_answer_that_is_no_token(github: GitHub, body: Any) -> None:
    github.faults = [Fault("POST", "/access_tokens", Reply(201, body))]
    with pytest.raises(Refused, match="not what its documentation says"):
        app(github).token("acme/shop")


def test_an_answer_that_drips_is_none(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "TRY_SECONDS", 0.3)
    with relay(urlsplit(github.url).port or 0, HTTP_WITHOUT_END["a dripping body"]) as port:
        impatient = App(f"http://127.0.0.1:{port}", APP_ID, lambda: _pem(_key()), patience=0.0)
        assert ends(lambda: impatient.token("acme/shop")) is Refused


def test_no_secret_in_any_log_or_error(github: GitHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = app(github)
    Channel(Forge(github.url, credentials)).deliver(notice())
    token = credentials.token("acme/shop")
    github.faults = [Fault("GET", "/statuses", problem(403, token))]
    with pytest.raises(Undelivered) as caught:
        Channel(Forge(github.url, credentials)).deliver(notice("approved"))
    proofs = {request.headers["authorization"] for request in github.requests}
    said = f"{caplog.text} {caught.value!r} {caught.value.hint} {caught.value.actual}"
    for secret in (token, *(proof.partition(" ")[2] for proof in proofs), *_pem(_key()).splitlines()[1:-1]):
        assert secret not in said


def _section(text: str, base: Path) -> Any:
    return read_github(parse(text.encode()), base)


def test_the_section_with_an_app(github: GitHub, tmp_path: Path) -> None:
    section = _section(f"api_url: {github.url}\napp_id: '{APP_ID}'\nprivate_key: file:app.pem\n", tmp_path)
    (tmp_path / "app.pem").write_text(_pem(_key()))  # read when it is needed
    assert section.credentials.token("acme/shop") in github.shop.issued
    assert section.webhook_secret is None


def test_the_section_with_a_token(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = _section(f"{{api_url: '{github.url}', token: env:GH, webhook_secret: env:HOOK}}", tmp_path)
    monkeypatch.setenv("GH", TOKEN)
    monkeypatch.setenv("HOOK", "s3cret")
    Channel(section.forge()).deliver(notice())
    assert section.webhook_secret.read() == "s3cret"
    assert section.credentials.app_id == ""
    section.credentials.forget("acme/shop")
    assert TOKEN not in repr(section)


def test_the_usual_github(tmp_path: Path) -> None:
    assert _section("token: env:GH\n", tmp_path).api_url == "https://api.github.com"


@pytest.mark.parametrize(
    "text",
    [
        "app_id: '1'\n",
        "private_key: env:K\n",
        "api_url: https://api.github.com\n",
        "{app_id: '1', private_key: env:K, token: env:T}",
        "{app_id: 'a b', private_key: env:K}",
        "token: ghp_something\n",
        "{token: env:T, api_url: 'http://github.example.com'}",
        "{token: env:T, api_url: 'https://user:password@github.example.com'}",
        "{token: env:T, other: 1}",
    ],
)
def test_a_section_that_makes_no_sense(text: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="Line 1"):
        _section(text, tmp_path)


def test_a_plain_token_is_read_each_time() -> None:
    tokens = iter("ab")
    credentials = PlainToken(lambda: next(tokens))
    assert [credentials.token("acme/shop"), credentials.token("acme/shop")] == ["a", "b"]
