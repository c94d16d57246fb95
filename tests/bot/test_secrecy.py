"""Where no secret may be seen after a whole journey: logs, metrics, records, and pages of others."""

import hashlib
import json
import re
import secrets
from pathlib import Path

import pytest
import yaml

from tests.bot.provider import CLIENT_ID, Provider, serving
from tests.bot.running import API_TOKEN, Place, running_bot
from tests.bot.test_slack import receiving
from tests.bot.visitor import Visitor, come_back
from tests.core.authenticator import Authenticator

BODY = {"repository": "acme/shop", "sha": "0" * 40, "environment": "production", "run_id": "9"}


def test_no_secret_is_seen_where_it_does_not_belong(tmp_path: Path) -> None:
    api, session_key = f"sentinel-{secrets.token_hex(8)}", f"sentinel-{secrets.token_hex(24)}"
    with serving(Provider()) as provider, receiving() as slack:
        place = Place(tmp_path / "bot")
        place.sign_in_with(provider)
        place.settings["jobs"]["tokens"][0]["sha256"] = hashlib.sha256(api.encode()).hexdigest()
        place.settings["notices"] = {"slack": "env:SLACK"}
        alice = Authenticator(place.url, "localhost")
        place.policy["people"]["alice@example.com"]["passkeys"] = [yaml.safe_load(alice.credential_yaml)]
        place.write()
        environ = {"SLACK": slack.url, "GATE_BOT_SESSION_KEY": session_key}
        with running_bot(place, environ=environ) as bot:
            visitor = Visitor(place.url, place.port, passkey=alice)
            oidc = provider.ci_token(audience=place.url)
            asked = visitor.call("/api/requests", oidc, {}).json
            other = visitor.call("/api/requests", api, BODY).json
            visitor.call("/api/requests", oidc[:-6] + "AAAAAA", {})
            visitor.call("/api/requests", "wrong-" + api, {})
            visitor.call(f"/api/requests/{asked['id']}", other["secret"])
            start = visitor.get("/sign-in/0")
            back = come_back(start)
            code, state = re.search(r"code=([^&]+)", back), re.search(r"state=([^&]+)", back)
            assert code and state
            flow = visitor.cookies["gate-sign-in"]
            provider.expect("alice@example.com")
            visitor.get(back.replace(code[1], "other"))
            visitor.cookies["gate-sign-in"] = flow
            assert visitor.get(back).status == 303
            session = visitor.cookies["gate"]
            pages = [visitor.get("/").text, visitor.get(f"/requests/{asked['id']}").text]
            assert visitor.approve(asked["id"], reason="hotfix").status == 303
            told = visitor.call(f"/api/requests/{asked['id']}", asked["secret"]).json
            [token] = told["tokens"]
            pages += [
                visitor.get(path).text for path in ("/", f"/requests/{asked['id']}", "/history", "/passkeys", "/x")
            ]
            pages += [visitor.get("/metrics").text, visitor.get("/readyz").text]
            everything = "".join(pages)
            bot.stop()
            log = bot.text()
        records = "".join(path.read_text() for path in (place.folder / "audit").rglob("*.json"))
        posted = json.dumps(slack.posted)
    hidden = {
        "API token": api, "OIDC token": oidc, "its signature": oidc.rpartition(".")[2], "session": session,
        "poll secret": asked["secret"], "other poll secret": other["secret"], "approval": token,
        "approval's signature": token.rpartition(".")[2], "client secret": "a secret of the client", "code": code[1],
        "state": state[1], "flow": flow, "session key": session_key, "Slack": "/services/T00000000",
    }  # fmt: skip
    assert CLIENT_ID in start.headers["location"]
    for place_name, text in {"log": log, "pages": everything, "records": records, "Slack": posted}.items():
        for name, secret in hidden.items():
            assert secret not in text, f"{name} in {place_name}"
    assert asked["id"] not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    answered = [line for line in lines if line["message"] == "answered"]
    assert all(re.fullmatch("[0-9a-f]{16}", line["request_id"]) for line in answered)
    assert len({line["request_id"] for line in answered}) == len(answered)
    assert {"/api/requests", "/requests/{id}/approve", "/sign-in/{number}/callback"} <= {
        one["route"] for one in answered
    }


@pytest.mark.parametrize("broken", ["policy", "state", "signer", "records"])
def test_a_part_that_is_not_ready_is_named_and_shows_nothing_of_itself(tmp_path: Path, broken: str) -> None:
    place = Place(tmp_path / "bot")
    if broken == "state":
        (tmp_path / "bot" / "file").write_text("x")
        place.settings["state"] = "sqlite:file/bot.db"
    if broken == "policy":
        place.policy["version"] = 7
    if broken == "records":
        (tmp_path / "bot" / "file").write_text("x")
        place.settings["audit"] = "file:file/events"
    if broken == "signer":
        other = Place(tmp_path / "other")
        place.policy["keys"] = other.policy["keys"]
    place.write()
    with running_bot(place) as bot:
        visitor = Visitor(place.url, place.port)
        answer = visitor.get("/readyz")
        parts = {"policy": True, "state": True, "signer": True, "records": True} | {broken: False}
        parts |= {"signer": False} if broken == "policy" else {}
        assert (answer.status, answer.json) == (503, {"ready": False, **parts})
        assert visitor.get("/healthz").status == 200
        page = visitor.call("/api/requests", API_TOKEN, BODY)
        assert page.status == (200 if broken in ("signer", "records") else 503)
        if page.status == 503:
            assert page.headers["retry-after"] == "10"
            assert page.json["error"]["reason"] == "bot.unavailable"
        assert str(tmp_path) not in page.text
        assert "Traceback" not in page.text
        bot.stop()
        first = json.loads(bot.text().splitlines()[0])
        assert first["message"] == "not ready" or broken == "state"
        assert "a bug" not in bot.text()
