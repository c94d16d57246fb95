"""Every secret that somebody shows is compared in constant time: an answer tells nobody how near a guess is."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate.bot.errors import NotProved
from gate.bot.jobs import Doorkeeper, JobSettings
from gate.bot.providers import open_provider
from gate.bot.sessions import Sessions
from gate.bot.webhook import receive
from tests.bot.office import office
from tests.bot.provider import CLIENT_SECRET, Provider, serving
from tests.bot.test_jobs import TOKEN, URL
from tests.bot.test_signin import ALICE, REDIRECT, browse, settings

Compared = set[tuple[bytes, bytes]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """What was compared in constant time: what somebody shows, and what it must be."""
    pairs: Compared = set()
    real: Callable[[Any, Any], bool] = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        pairs.add((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return pairs


def test_a_webhook_s_signature(compared: Compared) -> None:
    right = "sha256=" + hmac.new(b"the secret", b"{}", hashlib.sha256).hexdigest()
    receive(b"{}", {"x-hub-signature-256": right}, "the secret")
    with pytest.raises(NotProved):
        receive(b"{}", {"x-hub-signature-256": "sha256=0"}, "the secret")
    assert compared == {(right.encode(), right.encode()), (b"sha256=0", right.encode())}


def test_a_sign_in_s_state_and_nonce(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SSO_SECRET", CLIENT_SECRET)
    with serving(Provider()) as provider:
        way = open_provider(settings(provider))
        started = way.start(REDIRECT)
        assert way.finish(REDIRECT, started.flow, browse(started)) == ALICE
        for name in ("state", "nonce"):
            shown = started.flow[name].encode()
            assert (shown, shown) in compared, name


def test_an_api_token(compared: Compared) -> None:
    shown = hashlib.sha256(b"another").digest()
    with pytest.raises(NotProved):
        Doorkeeper(JobSettings((), (TOKEN,)), URL).identify("Bearer another")
    assert compared == {(TOKEN.sha256, shown)}


def test_a_job_s_secret_and_a_form_s(compared: Compared, tmp_path: Path) -> None:
    desk = office(tmp_path)
    request = desk.ask().request
    sessions = Sessions(desk.state, desk.keyring, desk.clock)
    visitor = sessions.of(sessions.begin("alice@example.com", "Alice", "SSO", ALICE.identities))
    assert visitor
    with pytest.raises(NotProved):
        desk.intake.hand_over(request.id, "a guess")
    with pytest.raises(NotProved):
        sessions.check_csrf(visitor, "a guess")
    assert {right.decode() for shown, right in compared if shown == b"a guess"} == {
        desk.intake.secret(request),
        sessions.csrf(visitor),
    }
