"""`awskms:` a key in AWS KMS: Ed25519 (`ECC_NIST_EDWARDS25519`) or ES256 (`ECC_NIST_P256`), usage `SIGN_VERIFY`.

The IAM actions that it needs, on that one key:

- `kms:GetPublicKey`, once for each signer that is opened
- `kms:Sign`, once for each signature, limited by the condition `kms:SigningAlgorithm` to `ED25519_SHA_512` or to
  `ECDSA_SHA_256`, whichever is the key's

docs/keys.md, "AWS KMS" has the role's policy, and the key's own, which lets nobody else sign.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from gate import aws
from gate.errors import SignerError, UsageError
from gate.keys import Algorithm, PublicKey
from gate.models import Finding
from gate.signers import Pin, kmspolicy
from gate.signers.signature import check_size, jose, proven
from gate.text import printable
from gate.uris import Uri

_ID = r"[A-Za-z0-9-]{1,128}"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_ARN = rf"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{{12}}:(?:key/({_ID})|({_ALIAS}))"

_WANTED = "key spec ECC_NIST_EDWARDS25519 or ECC_NIST_P256, key usage SIGN_VERIFY"
_MAKE = (
    "aws kms create-key --key-spec ECC_NIST_EDWARDS25519 --key-usage SIGN_VERIFY (docs/keys.md has it with its policy)"
)
_TROUBLES = {
    "AccessDeniedException": aws.Trouble(
        "can't be used: AWS denies access",
        "Grant this role kms:GetPublicKey and kms:Sign (docs/keys.md); see the key's own policy too.",
    ),
    "DisabledException": aws.Trouble("is disabled", "If it is to sign again: aws kms enable-key."),
    "KMSInvalidStateException": aws.Trouble(
        "is scheduled for deletion, or not ready yet",
        "If it is to sign again: aws kms cancel-key-deletion, then aws kms enable-key.",
    ),
    "NotFoundException": aws.Trouble(
        "does not exist in this region", f"Correct its name or region, or make one: {_MAKE}."
    ),
    "InvalidKeyUsageException": aws.Trouble("is no key for such signatures", f"Use one with {_WANTED}."),
    "UnsupportedOperationException": aws.Trouble("is no key for such signatures", f"Use one with {_WANTED}."),
}


class _Method(NamedTuple):
    """How KMS signs with a key of one spec, and how its signature becomes one of JOSE."""

    alg: Algorithm
    signing_algorithm: str
    message_type: str

    def message(self, data: bytes) -> bytes:
        return sha256(data).digest() if self.message_type == "DIGEST" else data

    def signature(self, answer: bytes) -> bytes:
        return jose(answer) if self.alg == "ES256" else answer


_METHODS = {
    "ECC_NIST_EDWARDS25519": _Method("Ed25519", "ED25519_SHA_512", "RAW"),
    "ECC_NIST_P256": _Method("ES256", "ECDSA_SHA_256", "DIGEST"),
}

_GARBAGE = (KeyError, TypeError, AttributeError, ValueError)  # what reading an answer that makes no sense ends in


class _Key(NamedTuple):
    """What GetPublicKey says of a key."""

    arn: str
    public_key: PublicKey
    method: _Method


class KmsSigner:
    """Signs with the key that KMS calls `name`. It stays that very key, wherever an alias moves to later.

    Opening it is one call (GetPublicKey), and so is each signature (Sign); may be used from several threads.
    """

    def __init__(self, client: Any, name: str, what: str) -> None:
        self._client = client
        self._what = what
        answer = self._call("get_public_key", KeyId=name)
        try:
            self._key = _key(answer, name, what)
        except _GARBAGE as error:
            raise _explained(error, what) from None

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""
        return self._key.public_key

    def sign(self, data: bytes) -> bytes:
        """See `Signer.sign`."""
        check_size(data)
        method = self._key.method
        answer = self._call(
            "sign",
            KeyId=self._key.arn,
            Message=method.message(data),
            MessageType=method.message_type,
            SigningAlgorithm=method.signing_algorithm,
        )
        try:
            signature = _signature(answer, self._key)
        except _GARBAGE as error:
            raise _explained(error, self._what) from None
        return proven(signature, self.public_key, data, self._what)

    def diagnose(self) -> Iterator[Finding]:
        """See `Guarded.diagnose`."""
        return kmspolicy.examine(self._client, self._key.arn, self._what)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**parameters)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises is no signature)
            raise _explained(error, self._what) from None
        return answer


def open_key(uri: Uri, base: Path | None, pin: Pin | None) -> KmsSigner:  # noqa: ARG001 (every backend's signature)
    """The signer of an `awskms:///KEY-ID-ARN-OR-ALIAS?region=R[&endpoint=URL]` URI.

    Raises:
        UsageError: it names no key, or the options are not those two.
        SignerError: KMS does not answer for the key, or it is not one for approvals.
    """
    name, what = _name(uri)
    aws.check_options(uri._replace(text="awskms:///…"))  # the URI may hold an ARN, and so an account id
    region = re.match(r"arn:[^:]+:kms:([^:]+):", name)
    if region and region[1] != uri.query["region"]:
        raise UsageError(
            f"{what} lies in {region[1]}, says its ARN, and its URI says ?region={uri.query['region']}",
            hint=f"Write ?region={region[1]}, or name the key that you mean.",
        )
    try:
        client = aws.client("kms", uri.query)
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is no signer)
        raise _explained(error, what) from None
    return KmsSigner(client, name, what)


def new_key(uri: Uri, base: Path | None, alg: Algorithm, pin: Pin | None) -> NoReturn:  # noqa: ARG001 (as above)
    """Refuses: a key in KMS needs a policy of its own from the first moment.

    Raises:
        UsageError: always; it says how such a key is made.
    """
    spec = next(spec for spec, method in _METHODS.items() if method.alg == alg)
    raise UsageError(
        "a key in KMS is made in the AWS account, together with the policy that says who may sign",
        hint=f"aws kms create-key --key-spec {spec} --key-usage SIGN_VERIFY, with the policy in docs/keys.md.",
    )


def _name(uri: Uri) -> tuple[str, str]:
    """What KMS calls the key, and what messages call it: without the account id that an ARN holds."""
    name = unquote(uri.rest.removeprefix("///"))
    arn = re.fullmatch(_ARN, name)
    if not uri.rest.startswith("///") or not (arn or re.fullmatch(rf"{_ID}|{_ALIAS}", name)):
        raise UsageError(
            "awskms: names no key of KMS", hint="Write awskms:///alias/NAME?region=R, or a key id or an ARN after ///"
        )
    return name, f"The KMS key {(arn[2] or arn[3]) if arn else name}"


def _key(answer: Mapping[str, Any], name: str, what: str) -> _Key:
    """The key in an answer of GetPublicKey that was asked for `name`; raises SignerError, or one of `_GARBAGE`."""
    arn, spec, usage = str(answer["KeyId"]), str(answer["KeySpec"]), str(answer["KeyUsage"])
    if spec not in _METHODS or usage != "SIGN_VERIFY":
        raise SignerError(
            f"{what} is not one that can sign approvals.",
            expected=_WANTED,
            actual=printable(f"key spec {spec}, key usage {usage}", 100),
            hint=f"Neither can be changed. Make another: {_MAKE}.",
        )
    public_key = PublicKey(answer["PublicKey"])
    if public_key.alg != _METHODS[spec].alg or not _is_about(arn, name):
        raise ValueError("an answer about another key")
    return _Key(arn, public_key, _METHODS[spec])


def _is_about(arn: str, name: str) -> bool:
    """Whether the key `arn` may be the one that was asked for: an alias may stand for any."""
    if "alias/" in name:
        return re.fullmatch(_ARN, arn) is not None
    return arn == name or arn.endswith(f":key/{name}")


def _signature(answer: Mapping[str, Any], key: _Key) -> bytes:
    """The signature in an answer of Sign, in JOSE form; raises one of `_GARBAGE`."""
    if (answer["KeyId"], answer["SigningAlgorithm"]) != (key.arn, key.method.signing_algorithm):
        raise ValueError("an answer about another key, or of another algorithm")
    return key.method.signature(answer["Signature"])


def _explained(error: Exception, what: str) -> SignerError:
    code = aws.code(error)
    trouble = _TROUBLES.get(code)
    if trouble and getattr(error, "operation_name", "") in ("GetPublicKey", "Sign"):
        return SignerError(f"{what} {trouble.message} ({code}).", hint=trouble.hint)
    message, hint = aws.explain(error, what)
    return SignerError(message, hint=hint)
