"""AWS KMS: keys that can't sign, refusals, lost and forged answers, and what its documentation grants."""

import base64
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

import gate.aws
from gate.errors import GateError, SignerError, UsageError
from gate.keys import ALGORITHMS, Algorithm
from gate.signers import create_key, open_signer
from tests.core.mint import KEYS, Private, spki
from tests.pages import ROOT, Block, Shell, blocks
from tests.parts import Aws, free_port, need
from tests.replay.servers import LOSE, PASS, Plan, Reply, black_hole, middleman
from tests.signers.places import SPECS, KmsKeys

ARN = "arn:aws:kms:eu-west-1:111122223333:key/mrk-0123456789abcdef"
SIGNING = {"Ed25519": "ED25519_SHA_512", "ES256": "ECDSA_SHA_256"}


def is_clean(error: GateError) -> None:
    text = f"{error} {error.hint} {error.expected} {error.actual}"
    assert not re.search(r"arn:|(?<![0-9a-f-])[0-9]{12}|REQUESTID|Traceback|assumed-role|\n", text), text
    assert error.hint
    assert error.__suppress_context__ or error.__context__ is None


def refusal(uri: str) -> SignerError:
    with pytest.raises(SignerError) as caught:
        open_signer(uri, None)
    is_clean(caught.value)
    return caught.value


# Names


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_goes_by_its_id_its_arn_and_its_aliases(kms: KmsKeys, alg: Algorithm) -> None:
    key = kms.new(alg)
    alias = kms.alias(key["KeyId"])
    alias_arn = f"{key['Arn'].rpartition(':')[0]}:{alias}"
    names = [key["KeyId"], key["Arn"], alias, alias_arn, key["Arn"].replace("/", "%2F")]
    assert len({open_signer(kms.uri(name), None).public_key.spki for name in names}) == 1


def test_it_stays_the_key_it_was_opened_as_when_the_alias_moves(kms: KmsKeys) -> None:
    first, second = kms.new("Ed25519"), kms.new("Ed25519")
    alias = kms.alias(first["KeyId"])
    signer = open_signer(kms.uri(alias), None)
    kms.aws.client("kms").update_alias(AliasName=alias, TargetKeyId=second["KeyId"])
    assert signer.public_key.verify(signer.sign(b"data"), b"data")
    assert open_signer(kms.uri(alias), None).public_key.spki != signer.public_key.spki


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("awskms:", "names no key of KMS"),
        ("awskms:///?region=eu-west-1", "names no key of KMS"),
        ("awskms:alias/gate?region=eu-west-1", "names no key of KMS"),
        ("awskms://alias/gate?region=eu-west-1", "names no key of KMS"),
        ("awskms:///alias/?region=eu-west-1", "names no key of KMS"),
        ("awskms:///alias/a%2520b?region=eu-west-1", "names no key of KMS"),
        ("awskms:///arn:aws:s3:::bucket?region=eu-west-1", "names no key of KMS"),
        ("awskms:///alias/gate", "names no AWS region"),
        ("awskms:///alias/gate?region=", "names no AWS region"),
        ("awskms:///alias/gate?region=eu-west-1&profile=x", "unknown option 'profile'"),
        ("awskms:///alias/gate?region=eu-west-1&endpoint=localhost", "is not the URL of a server"),
        (f"awskms:///{ARN}", "names no AWS region"),
        (f"awskms:///{ARN}?region=eu-west-1&x=y", "unknown option 'x'"),
        (f"awskms:///{ARN}?region=us-east-1", "lies in eu-west-1, says its ARN, and its URI says ?region=us-east-1"),
    ],
)
def test_a_uri_of_no_key_is_misuse(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        open_signer(uri, None)
    is_clean(caught.value)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_keys_are_made_in_the_account(alg: Algorithm) -> None:
    with pytest.raises(UsageError, match="made in the AWS account") as caught:
        create_key("awskms:///alias/gate?region=eu-west-1", None, alg)
    assert SPECS[alg] in caught.value.hint


# Keys that can't sign approvals


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "RSA_2048"])
def test_a_key_of_another_spec_is_refused(kms: KmsKeys, spec: str) -> None:
    error = refusal(kms.uri(kms.new(spec)["KeyId"]))
    assert "is not one that can sign approvals" in str(error)
    assert error.actual == f"key spec {spec}, key usage SIGN_VERIFY"
    assert "ECC_NIST_EDWARDS25519" in error.expected


def test_a_key_of_another_usage_is_refused(kms: KmsKeys) -> None:
    with middleman(answers("ES256", public={"KeyUsage": "KEY_AGREEMENT"}), kms.aws.endpoint) as server:
        error = refusal(kms.uri("alias/gate", server.endpoint))
    assert error.actual == "key spec ECC_NIST_P256, key usage KEY_AGREEMENT"


def test_a_symmetric_key_is_refused(kms: KmsKeys) -> None:
    error = refusal(kms.uri(kms.new("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")["KeyId"]))
    assert "is no key for such signatures (UnsupportedOperationException)" in str(error)


def test_a_key_that_is_not_there_is_refused(kms: KmsKeys) -> None:
    error = refusal(kms.uri("alias/nobody"))
    assert str(error) == "The KMS key alias/nobody does not exist in this region (NotFoundException)."


# How it asks


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_signature_costs_one_call(kms: KmsKeys, alg: Algorithm) -> None:
    key = kms.new(alg)
    with middleman(lambda *_: PASS, kms.aws.endpoint) as server:
        signer = open_signer(kms.uri(key["KeyId"], server.endpoint), None)
        for data in (b"one", b"two", b"x" * 4096):
            assert signer.public_key.verify(signer.sign(data), data)
        with pytest.raises(SignerError, match="too long"):
            signer.sign(b"x" * 4097)
        assert server.seen == {"GetPublicKey": 1, "Sign": 3}


def test_endpoints_in_the_environment_change_nothing(kms: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    key = kms.new("Ed25519")
    with black_hole() as elsewhere:
        for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"):
            monkeypatch.setenv(variable, elsewhere)
        assert open_signer(kms.uri(key["KeyId"]), None).sign(b"data")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("trouble", ["ThrottlingException", LOSE])
def test_a_passing_trouble_is_tried_again(kms: KmsKeys, trouble: str) -> None:
    key, step = kms.new("Ed25519"), trouble if trouble == LOSE else refused(trouble)
    with middleman(lambda _, before: PASS if before else step, kms.aws.endpoint) as server:
        signer = open_signer(kms.uri(key["KeyId"], server.endpoint), None)
        assert signer.public_key.verify(signer.sign(b"data"), b"data")
        assert server.seen == {"GetPublicKey": 2, "Sign": 2}


# What KMS refuses


def refused(code: str, status: int = 400, message: str = "") -> Reply:
    """An error as KMS words it, with all that must not be shown."""
    text = message or f"User: arn:aws:sts::111122223333:assumed-role/bot/i-0abc: {ARN} is disabled."
    return Reply(status, json.dumps({"__type": code, "message": text}).encode(), {"x-amzn-RequestId": "K4BFREQUESTID"})


REFUSALS = [
    (refused("ThrottlingException"), "is throttled by AWS, or too busy (ThrottlingException)."),
    (refused("DisabledException"), "is disabled (DisabledException)."),
    (
        refused("KMSInvalidStateException", message=f"{ARN} is pending deletion."),
        "is scheduled for deletion, or not ready yet (KMSInvalidStateException).",
    ),
    (refused("NotFoundException", message=f"Key '{ARN}' does not exist"), "does not exist in this region (NotFoundE"),
    (refused("AccessDeniedException"), "can't be used: AWS denies access (AccessDeniedException)."),
    (refused("InvalidKeyUsageException"), "is no key for such signatures (InvalidKeyUsageException)."),
    (refused("KMSInternalException", 500), "answered with an error (KMSInternalException)."),
    (refused("DependencyTimeoutException", 500), "answered with an error (DependencyTimeoutException)."),
    (refused("InvalidSignatureException", message="Signature expired"), "the request's signature (InvalidSignatureE"),
    (refused("ExpiredTokenException"), "does not accept these credentials (ExpiredTokenException)."),
    (refused("UnrecognizedClientException"), "does not accept these credentials (UnrecognizedClientException)."),
    (refused("Account 111122223333"), "gave no answer that makes sense."),
    (Reply(200, b""), "gave no answer that makes sense."),
    (Reply(200, b"{}"), "gave no answer that makes sense."),
    (Reply(200, b"null"), "gave no answer that makes sense."),
    (Reply(200, b"<html>Log in to Airport-WiFi</html>"), "gave no answer that makes sense."),
    (Reply(502, b"<html>Bad Gateway</html>"), "answered with an error (502)."),
]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("reply", "message"), REFUSALS, ids=lambda value: "" if isinstance(value, Reply) else value)
def test_each_refusal_is_told_in_its_own_words(kms: KmsKeys, reply: Reply, message: str) -> None:
    with middleman(lambda *_: reply) as server:
        opening = refusal(kms.uri("alias/gate", server.endpoint))
    signing = failure(kms, lambda operation, _: reply if operation == "Sign" else answers("Ed25519")(operation, 0))
    for error in (opening, signing):
        assert str(error).startswith("The KMS key alias/gate ")
        assert message in str(error)


def test_the_hints_differ() -> None:
    told = {message.partition(" (")[0] for _, message in REFUSALS}
    assert len(told) >= 9


@pytest.mark.usefixtures("hasty")
def test_a_server_that_is_down(kms: KmsKeys) -> None:
    error = refusal(kms.uri("alias/gate", f"http://127.0.0.1:{free_port()}"))
    assert str(error) == "The KMS key alias/gate did not answer in time, or can't be reached."


@pytest.mark.usefixtures("hasty")
def test_a_server_that_never_answers(kms: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.aws, "ANSWER_SECONDS", 0.1)
    with black_hole() as endpoint:
        started = time.monotonic()
        error = refusal(kms.uri("alias/gate", endpoint))
    assert "did not answer in time" in str(error)
    assert time.monotonic() - started < 15


def test_without_credentials(aws: Aws, kms: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "there are no usable AWS credentials here" in str(refusal(kms.uri("alias/gate")))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "there are no usable AWS credentials here" in str(refusal(kms.uri("alias/gate")))


# Answers that are not the key's


def answers(alg: str, *, public: dict[str, Any] | None = None, sign: dict[str, Any] | None = None) -> Plan:
    """A KMS with a key of `alg`, but for the changes to its answers. It signs "data", whatever it is asked to."""
    key = KEYS[alg]
    described = {
        "KeyId": ARN,
        "KeySpec": SPECS[alg],
        "KeyUsage": "SIGN_VERIFY",
        "PublicKey": spki(key),
        "SigningAlgorithms": [SIGNING[alg]],
    } | (public or {})
    signed = {"KeyId": ARN, "Signature": der(key, b"data"), "SigningAlgorithm": SIGNING[alg]} | (sign or {})
    replies = {"GetPublicKey": described, "Sign": signed}
    return lambda operation, _: Reply(200, json.dumps(replies[operation], default=in_base64).encode())


def der(key: Private, data: bytes) -> bytes:
    """The signature as KMS gives it, but always the same for the same data."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def failure(kms: KmsKeys, plan: Plan) -> SignerError:
    """How signing "data" fails, where opening does not."""
    with middleman(plan) as server:
        signer = open_signer(kms.uri("alias/gate", server.endpoint), None)
        with pytest.raises(SignerError) as caught:
            signer.sign(b"data")
    is_clean(caught.value)
    return caught.value


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_the_stand_in_for_forged_answers_can_also_be_right(kms: KmsKeys, alg: Algorithm) -> None:
    with middleman(answers(alg)) as server:
        signer = open_signer(kms.uri(ARN, server.endpoint), None)
        assert signer.public_key.verify(signer.sign(b"data"), b"data")


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize(
    "change",
    [
        {"KeyId": ARN + "0"},
        {"KeyId": None},
        {"SigningAlgorithm": "ED25519_PH_SHA_512"},
        {"SigningAlgorithm": None},
        {"Signature": None},
        {"Signature": 7},
        {"Signature": "not base64"},
    ],
    ids=str,
)
def test_an_answer_about_something_else_is_no_signature(kms: KmsKeys, alg: str, change: dict[str, Any]) -> None:
    assert "gave no answer that makes sense" in str(failure(kms, answers(alg, sign=change)))


NO_SIGNATURES: list[tuple[str, bytes]] = [
    ("Ed25519", b""),
    ("Ed25519", bytes(64)),
    ("Ed25519", der(KEYS["Ed25519"], b"other data")),
    ("Ed25519", der(KEYS["ES256"], b"data")),
    ("ES256", b""),
    ("ES256", bytes(64)),
    ("ES256", bytes.fromhex("3006020100020100")),
    ("ES256", bytes.fromhex("3008020102020300ffff")),
    ("ES256", bytes.fromhex("3027022101" + "00" * 32 + "020101")),
    ("ES256", bytes.fromhex("30060201ff0201ff")),
    ("ES256", der(KEYS["ES256"], b"data") + b"\0"),
    ("ES256", der(KEYS["ES256"], b"other data")),
    ("ES256", der(KEYS["Ed25519"], b"data")),
]


@pytest.mark.parametrize(("alg", "signature"), NO_SIGNATURES)
def test_a_signature_that_is_not_the_keys_is_never_handed_out(kms: KmsKeys, alg: str, signature: bytes) -> None:
    error = str(failure(kms, answers(alg, sign={"Signature": signature})))
    assert "not its public key's" in error or "gave no answer that makes sense" in error


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("alias/gate", {"KeyId": "mrk-0123456789abcdef"}),
        ("alias/gate", {"KeyId": None}),
        ("mrk-0123456789abcdef", {"KeyId": ARN + "0"}),
        ("0123456789abcdef", {}),
        (ARN, {"KeyId": ARN.replace("1111", "9999")}),
        ("alias/gate", {"PublicKey": spki(KEYS["ES256"])}),
        ("alias/gate", {"PublicKey": spki(KEYS["Ed25519"])[:-1]}),
        ("alias/gate", {"PublicKey": None}),
        ("alias/gate", {"KeySpec": SPECS["ES256"]}),
    ],
)
def test_a_public_key_of_something_else_is_refused(kms: KmsKeys, name: str, change: dict[str, Any]) -> None:
    with middleman(answers("Ed25519", public=change)) as server:
        assert "gave no answer that makes sense" in str(refusal(kms.uri(name, server.endpoint)))


# Its documentation


def _block() -> Block:
    """The commands that make the key."""
    (block,) = [block for block in blocks(ROOT / "docs/keys.md") if "aws kms create-key" in block.text]
    return block


def _documents() -> list[dict[str, Any]]:
    """The key's policy, and the role's."""
    (written,) = re.findall(r"<<'END'\n(.*?)^END$", _block().text, re.M | re.S)
    listed = [
        block.text for block in blocks(ROOT / "docs/keys.md") if block.language == "json" and "kms:" in block.text
    ]
    return [json.loads(text) for text in (written, *listed)]


def _statements(wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    return [statement for document in _documents() for statement in document["Statement"] if wanted(statement)]


def test_the_commands_make_a_key_that_the_gate_can_use(kms: KmsKeys, tmp_path: Path) -> None:
    need(shutil.which("aws", path=Path(sys.executable).parent) is not None, "AWS command line (pip install awscli)")
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    shell = Shell(tmp_path, {**mine, "AWS_ENDPOINT_URL": kms.aws.endpoint, "AWS_DEFAULT_REGION": kms.aws.region})
    assert shell.run(_block().text)[0] == 0
    signer = open_signer(kms.uri("alias/deploy-gate"), None)
    assert signer.public_key.alg == "Ed25519"
    key_id = kms.aws.client("kms").describe_key(KeyId="alias/deploy-gate")["KeyMetadata"]["KeyId"]
    policy = kms.aws.client("kms").get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
    assert json.loads(policy) == _documents()[0]


def test_the_documents_grant_the_bot_what_the_docstring_says_and_no_more() -> None:
    docstring = (ROOT / "gate/signers/awskms.py").read_text().split('"""')[1]
    needed = set(re.findall(r"`(kms:\w+)`", docstring)) - {"kms:SigningAlgorithm"}
    for document in _documents():
        granted = _actions(s for s in document["Statement"] if s["Effect"] == "Allow" and "Administer" not in s["Sid"])
        assert granted == needed


def test_the_documents_limit_signatures_to_one_algorithm() -> None:
    signing = _statements(lambda statement: "kms:Sign" in _actions([statement]) and statement["Effect"] == "Allow")
    assert len(signing) == 2
    for statement in signing:
        assert statement["Condition"]["StringEquals"]["kms:SigningAlgorithm"] == "ED25519_SHA_512"


def test_the_key_policy_lets_nobody_but_the_bot_sign() -> None:
    (bot,) = {s["Principal"]["AWS"] for s in _statements(lambda s: s["Sid"] == "OnlyTheBotSigns")}
    (denied,) = _statements(lambda statement: statement["Effect"] == "Deny")
    assert _actions([denied]) == {"kms:Sign"}
    assert denied["Principal"] == "*"
    assert denied["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": bot}}
    administered = _actions(_statements(lambda statement: "Administer" in statement["Sid"]))
    assert not administered & {"kms:Sign", "kms:*", "kms:CreateGrant"}


def _actions(statements: Any) -> set[str]:
    listed = [statement["Action"] for statement in statements]
    return {action for actions in listed for action in ([actions] if isinstance(actions, str) else actions)}
