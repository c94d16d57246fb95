"""Who may sign with a key of AWS KMS, by the key's own policy: what `gate doctor --signer awskms:…` looks at.

The IAM actions that it needs, on that one key: `kms:GetKeyPolicy`, and `kms:GetPublicKey` to open the signer.
A grant, which no policy shows, can let others sign too; so no role but the key's administrators should make any.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from gate import aws
from gate.iampolicy import listed, matches
from gate.models import Finding

_FIX = "Let its policy allow kms:Sign to the bot's role alone (docs/keys.md, or gate aws deploy)."


def examine(client: Any, arn: str, what: str) -> Iterator[Finding]:
    """Whether the policy of the key `arn` lets one principal sign, and no more; `what` is the key's name for people."""
    try:
        policy = json.loads(client.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
        signers = {name for statement in listed(policy["Statement"]) for name in _signers(statement)}
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises, nobody looked)
        yield _unseen(error, what)
        return
    if any("*" in name for name in signers):
        yield Finding("warning", "signer", "its key's policy lets everybody sign", _FIX)
    elif any(re.fullmatch(r"[0-9]{12}|arn:[^:]+:iam::[0-9]{12}:root", name) for name in signers):
        message = "its key's policy lets everybody sign whom IAM in that account allows to"
        yield Finding("warning", "signer", message, _FIX)
    elif len(signers) > 1:
        yield Finding("warning", "signer", f"its key's policy lets {len(signers)} principals sign", _FIX)
    else:
        yield Finding("ok", "signer", "its key's policy lets nobody else sign")


def _signers(statement: dict[str, Any]) -> Iterator[str]:
    """The principals that a statement lets sign; `*` where it can't be told whom it leaves out."""
    if statement["Effect"] != "Allow" or not _is_about_signing(statement):
        return
    principal = statement.get("Principal", "*")
    for names in principal.values() if isinstance(principal, dict) else [principal]:
        yield from map(str, listed(names))


def _is_about_signing(statement: dict[str, Any]) -> bool:
    if "NotAction" in statement:
        return not any(matches(name.lower(), "kms:sign") for name in listed(statement["NotAction"]))
    return any(matches(name.lower(), "kms:sign") for name in listed(statement["Action"]))


def _unseen(error: Exception, what: str) -> Finding:
    message, fix = aws.explain(error, what)
    if aws.is_not_offered(error):
        return Finding("note", "signer", f"can't tell who may sign: {message}")
    if aws.code(error).startswith("AccessDenied"):
        message, fix = "that takes kms:GetKeyPolicy", "Grant it (docs/operations.md)."
    return Finding("warning", "signer", f"can't tell who may sign: {message}", fix)
