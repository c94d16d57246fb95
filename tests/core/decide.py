"""Deciding with the tests' own policy, and looking hard at each denial."""

from dataclasses import replace
from typing import Any

import pytest

from gate.deployment import Deployment
from gate.errors import Denied, exit_code, verdict
from gate.policyfile import compile_policy
from gate.tokens import Approval
from gate.trace import CheckName
from gate.verification import CHECKS, judge
from tests.core.mint import (
    NOW,
    POLICY,
    SHA,
)

GATE = compile_policy(POLICY.encode())
DEPLOYMENT = Deployment("acme/shop", SHA, "production")
PAIR = replace(DEPLOYMENT, environment="pair")
BOB: dict[str, Any] = {"sub": "bob@example.com", "jti": "B" * 22}


def decide(*tokens: str, deployment: Deployment = DEPLOYMENT, now: int = NOW) -> tuple[Approval, ...]:
    """Everything that is pure: the approvals, or Denied."""
    return judge(tokens, deployment, GATE, now, only=CHECKS.keys() - {CheckName.SEPARATION})


def denial(*tokens: str, deployment: Deployment = DEPLOYMENT, now: int = NOW) -> Denied:
    """The denial, once it has been seen to explain itself."""
    with pytest.raises(Denied) as caught:
        decide(*tokens, deployment=deployment, now=now)
    denied = caught.value
    texts = (denied.message, denied.hint, denied.expected, denied.actual)
    assert all(texts)
    assert all(text.isprintable() and len(text) < 400 for text in texts)
    assert denied.message.endswith(".")
    assert denied.expected != denied.actual
    assert not any(text in shown for text in tokens if text for shown in texts)
    assert denied.step in [name.value for name in CHECKS]
    assert (verdict(denied.reason), exit_code(denied.reason)) == ("deny", 1)
    return denied
