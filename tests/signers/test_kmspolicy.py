"""What the doctor says of who may sign with a key of AWS KMS."""

import json
import re
from typing import Any

import pytest

from gate.models import Finding
from gate.signers import Guarded, open_signer
from tests.replay.servers import PASS, Reply, middleman
from tests.signers.places import KmsKeys

ROLE = "arn:aws:iam::111122223333:role/{}"
SIGN = {"Effect": "Allow", "Principal": {"AWS": ROLE.format("bot")}, "Action": "kms:Sign", "Resource": "*"}
ADMINISTER = SIGN | {"Principal": {"AWS": ROLE.format("admin")}, "Action": ["kms:PutKeyPolicy", "kms:Describe*"]}


def diagnosed(kms: KmsKeys, key: str, endpoint: str = "") -> Finding:
    signer = open_signer(kms.uri(key, endpoint), None)
    assert isinstance(signer, Guarded)
    (finding,) = signer.diagnose()
    assert not re.search(r"arn:|111122223333|\n", finding.message + finding.fix)
    return finding


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([SIGN, ADMINISTER], ""),
        (SIGN, ""),
        ([SIGN, SIGN | {"Effect": "Deny", "Principal": "*"}], ""),
        ([SIGN, SIGN | {"Principal": {"AWS": ROLE.format("x")}}], "lets 2 principals sign"),
        ([SIGN, ADMINISTER | {"Action": "kms:*"}], "lets 2 principals sign"),
        ([SIGN, ADMINISTER | {"Action": "KMS:S?gn"}], "lets 2 principals sign"),
        ([SIGN | {"Principal": {"AWS": [ROLE.format("a"), ROLE.format("b")]}}], "lets 2 principals sign"),
        ([SIGN, SIGN | {"Principal": {"Service": "x.amazonaws.com"}}], "lets 2 principals sign"),
        ([SIGN | {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}}], "whom IAM in that account allows"),
        ([SIGN | {"Principal": {"AWS": "111122223333"}}], "whom IAM in that account allows"),
        ([SIGN | {"Principal": "*"}], "lets everybody sign"),
        ([SIGN | {"Principal": {"AWS": "*"}}], "lets everybody sign"),
        ([{"Effect": "Allow", "Principal": "*", "NotAction": "kms:Decrypt", "Resource": "*"}], "lets everybody sign"),
        ([SIGN, {"Effect": "Allow", "Principal": "*", "NotAction": "kms:*", "Resource": "*"}], ""),
    ],
)
def test_who_else_may_sign_is_told(kms: KmsKeys, statements: Any, words: str) -> None:
    key = kms.new("Ed25519")["KeyId"]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    kms.aws.client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=document)
    finding = diagnosed(kms, key)
    assert (finding.severity, bool(finding.fix)) == (("warning", True) if words else ("ok", False))
    assert (words or "lets nobody else sign") in finding.message


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(400, b'{"__type": "AccessDeniedException", "message": "arn:aws:iam::1"}'),
            "that takes kms:GetKeyPolicy",
        ),
        (Reply(400, b'{"__type": "NotFoundException"}'), "does not exist in this region"),
        (Reply(200, b"{}"), "no answer that makes sense"),
        (Reply(200, b'{"Policy": "no JSON"}'), "no answer that makes sense"),
        (Reply(200, b'{"Policy": "{\\"Statement\\": [7]}"}'), "no answer that makes sense"),
    ],
)
def test_what_can_not_be_looked_at_is_told(kms: KmsKeys, reply: Reply, words: str) -> None:
    key = kms.new("Ed25519")["KeyId"]
    with middleman(lambda asked, _: reply if asked == "GetKeyPolicy" else PASS, kms.aws.endpoint) as server:
        finding = diagnosed(kms, key, server.endpoint)
    assert finding.severity == "warning"
    assert finding.message.startswith("can't tell who may sign: ")
    assert words in finding.message
    assert finding.fix


def test_a_stand_in_without_key_policies_is_a_note(kms: KmsKeys) -> None:
    key, lacks = kms.new("Ed25519")["KeyId"], Reply(400, b'{"__type": "UnknownOperationException"}')
    with middleman(lambda asked, _: lacks if asked == "GetKeyPolicy" else PASS, kms.aws.endpoint) as server:
        finding = diagnosed(kms, key, server.endpoint)
    assert (finding.severity, finding.fix) == ("note", "")
    assert "is on a server that does not offer this" in finding.message
