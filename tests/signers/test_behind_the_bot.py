"""The deploy-bot with a key that it can use and not read: what it signs is what the gate allows."""

import base64
import os
from pathlib import Path

import pytest

from gate.deployment import Deployment
from gate.gate import Gate
from gate.keys import Algorithm
from gate.wiring import load_policy
from tests.bot.provider import SHA, Provider, serving
from tests.bot.running import API_TOKEN, running_bot
from tests.bot.running import Place as BotPlace
from tests.bot.visitor import Visitor
from tests.signers.conftest import Maker
from tests.signers.places import Hsm


@pytest.mark.parametrize(("scheme", "alg"), [("awskms", "ES256"), ("pkcs11", "Ed25519")])
def test_what_the_bot_signs_is_allowed(
    scheme: str, alg: Algorithm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make: Maker = request.getfixturevalue(scheme)
    key = make(alg)
    place = BotPlace(tmp_path)
    (tmp_path / "key.pem").unlink()
    place.settings["signer"] = key.uri
    place.policy["keys"][0] |= {"alg": alg, "public_key": base64.b64encode(key.open().public_key.spki).decode()}
    environ = {"GATE_PKCS11_PIN": Hsm.pin, "SOFTHSM2_CONF": os.environ.get("SOFTHSM2_CONF", "")}
    with serving(Provider()) as provider:
        place.sign_in_with(provider)
        with running_bot(place, environ=environ):
            visitor = Visitor(place.url, place.port)
            assert visitor.get("/readyz").json["signer"] is True
            body = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": "7"}
            asked = visitor.call("/api/requests", API_TOKEN, body).json
            visitor.sign_in(provider, "alice@example.com")
            assert visitor.approve(asked["id"]).status == 303
            told = visitor.call(f"/api/requests/{asked['id']}", asked["secret"]).json
    loaded = load_policy(str(place.policy_path))
    gate = Gate(loaded.policy, loaded.replay_store(), loaded.audit_log())
    about = Deployment("acme/shop", SHA, "production", run_id="7", request_id=asked["id"])
    assert gate.check(told["tokens"], about).allowed
