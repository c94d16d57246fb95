"""The test vectors are what their script makes, and the gate answers each as it says."""

import json
from typing import Any

import pytest

from gate.deployment import Deployment
from gate.errors import Denied
from gate.policyfile import compile_policy
from gate.verification import judge
from tests.vectors import make

FILE: dict[str, Any] = json.loads(make.PATH.read_bytes())
GATE = compile_policy(FILE["policy"].encode())


def test_the_file_is_what_the_script_makes() -> None:
    assert make.PATH.read_text(encoding="ascii") == make.text()
    names = [vector["name"] for vector in FILE["vectors"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in FILE["vectors"]])
def test_vector(vector: dict[str, Any]) -> None:
    deployment = Deployment(**(FILE["deployment"] | vector.get("deployment", {})))
    reason = "allowed"
    try:
        judge([vector["token"]], deployment, GATE, vector.get("now", FILE["now"]))
    except Denied as denied:
        reason = denied.reason
    assert reason == vector["reason"]
