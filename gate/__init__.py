"""Deploy Gate: a machine-checkable proof that a human approved this deploy.

import gate

decision = gate.Gate.from_policy("gate.yaml").check([token], gate.Deployment(repository=..., sha=..., environment=...))
decision.allowed, decision.reason, decision.message
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gate.deployment import Deployment
    from gate.errors import GateError
    from gate.gate import Gate
    from gate.issuer import Issuer
    from gate.models import Decision

__version__ = "0.1.0"
__all__ = ["Decision", "Deployment", "Gate", "GateError", "Issuer", "__version__"]

_HOMES = {
    "Decision": "gate.models",
    "Deployment": "gate.deployment",
    "Gate": "gate.gate",
    "GateError": "gate.errors",
    "Issuer": "gate.issuer",
}


def __getattr__(name: str) -> Any:  # PEP 562: `import gate` pays only for what is used
    if name not in _HOMES:
        raise AttributeError(f"module 'gate' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
