"""`gcpkms:` a key version in Google Cloud KMS, in software or in an HSM; the private key never leaves it.

    gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V[?endpoint=HOST:PORT&ca=PATH]

The version is of algorithm `EC_SIGN_ED25519` or `EC_SIGN_P256_SHA256`, in any protection level; `HSM` keeps the key in
hardware. Whoever signs needs `roles/cloudkms.signerVerifier` on the key, or a role with these two permissions alone:

- `cloudkms.cryptoKeyVersions.viewPublicKey` (GetPublicKey, once for each signer)
- `cloudkms.cryptoKeyVersions.useToSign` (AsymmetricSign, one round trip for each signature)

Credentials are Google's Application Default Credentials. The endpoint comes from the URI alone.
"""

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from gate.errors import SignerError, UsageError
from gate.keys import Algorithm, PublicKey
from gate.signers import Pin
from gate.signers.gcpclient import Damaged, Service, connect, explain, is_passing
from gate.signers.signature import check_size, jose, proven
from gate.uris import Uri

_WHAT = "The Google Cloud KMS key"
_ALGORITHMS: dict[str, Algorithm] = {"EC_SIGN_ED25519": "Ed25519", "EC_SIGN_P256_SHA256": "ES256"}
_PAUSE = 1.0  # seconds

_KEY = re.compile(
    r"//projects/(?P<project>[a-z0-9.:-]+)/locations/(?P<location>[a-z0-9-]+)"
    r"/keyRings/(?P<ring>[A-Za-z0-9_-]{1,63})/cryptoKeys/(?P<key>[A-Za-z0-9_-]{1,63})"
    r"(?P<version>/cryptoKeyVersions/[1-9][0-9]*)?"
)
_FORM = "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1"

_Answer = TypeVar("_Answer")


class GcpKmsSigner:
    """Signs with one version of a key in Google Cloud KMS. May be used by several threads at once."""

    def __init__(self, service: Service, name: str) -> None:
        """Ask for the public key of `name`, a key version's resource name (`projects/…/cryptoKeyVersions/V`).

        Raises:
            SignerError: Google does not give it, damaged it twice, or it is of another algorithm.
        """
        self._service = service
        self._name = name
        self._public_key = _twice(self._fetch_public_key)

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`: 64 bytes (RFC 8037 §3.1, RFC 7518 §3.4).

        Raises:
            SignerError: `data` is too long, or Google does not sign it, or answers with something else.
        """
        check_size(data)
        signature = _twice(lambda: self._fetch_signature(data))
        return proven(signature, self._public_key, data, _WHAT)

    def _fetch_public_key(self) -> PublicKey:
        answer = self._service.get_public_key(self._name)
        if answer.name != self._name:
            raise Damaged("names another key")
        if answer.pem_crc32c != self._service.crc32c(answer.pem.encode()):
            raise Damaged("holds a public key that is not that of its checksum")
        algorithm = self._service.algorithm(answer)
        if algorithm not in _ALGORITHMS:
            _refuse(algorithm)
        key = _read_pem(answer.pem)
        if key.alg != _ALGORITHMS[algorithm]:
            raise Damaged("holds a public key that is not of its algorithm")
        return key

    def _fetch_signature(self, data: bytes) -> bytes:
        pure = self._public_key.alg == "Ed25519"
        if pure:
            answer = self._service.sign_data(self._name, data)
            received = answer.verified_data_crc32c
        else:
            answer = self._service.sign_digest(self._name, hashlib.sha256(data).digest())
            received = answer.verified_digest_crc32c
        if answer.name != self._name:
            raise Damaged("names another key")
        if not received:
            raise Damaged("does not say that the request arrived whole")
        if answer.signature_crc32c != self._service.crc32c(answer.signature):
            raise Damaged("holds a signature that is not that of its checksum")
        return bytes(answer.signature) if pure else _raw(answer.signature)


def open_key(uri: Uri, base: Path | None, pin: Pin | None = None) -> GcpKmsSigner:  # noqa: ARG001 (every backend's)
    """The signer of a key version.

    Raises:
        UsageError: the URI names no version, or the library is not installed.
        SignerError: there are no credentials, or the public key can't be had.
    """
    match = _match(uri)
    if not match["version"]:
        raise UsageError(
            "gcpkms: names a key without its version, so another key could take its place.",
            hint="Add the version, e.g. /cryptoKeyVersions/1. `gcloud kms keys versions list` shows them.",
        )
    try:
        service = connect(uri.query.get("endpoint", ""), uri.option_path("ca", None))
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is no signer)
        raise explain(error, _WHAT) from None
    return GcpKmsSigner(service, match[0].removeprefix("//"))


def new_key(uri: Uri, base: Path | None, alg: Algorithm, pin: Pin | None = None) -> NoReturn:  # noqa: ARG001
    """Keys are made by who administers them, who must not be who signs: say how.

    Raises:
        UsageError: always, with the command that makes the key.
    """
    match = _match(uri)
    kind = "ec-sign-ed25519" if alg == "Ed25519" else "ec-sign-p256-sha256"
    raise UsageError(
        "gcpkms: a key is made by whoever administers Google Cloud KMS, not by the gate.",
        hint=f"gcloud kms keys create {match['key']} --project {match['project']} --location {match['location']}"
        f" --keyring {match['ring']} --purpose asymmetric-signing --default-algorithm {kind} --protection-level hsm",
    )


def _match(uri: Uri) -> re.Match[str]:
    uri._replace(text="gcpkms").only("endpoint", "ca")  # without the project's id
    match = _KEY.fullmatch(uri.rest)
    if match is None:
        raise UsageError("gcpkms: is not the resource name of a key version.", hint=f"Write {_FORM}")
    return match


def _twice(question: Callable[[], _Answer]) -> _Answer:
    """The answer to `question`, which is asked once more where what went wrong may pass."""
    try:
        try:
            return question()
        except Exception as error:
            if not is_passing(error):
                raise
        time.sleep(_PAUSE)
        return question()
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises is no answer)
        raise explain(error, _WHAT) from None


def _refuse(algorithm: str) -> NoReturn:
    raise SignerError(
        f"{_WHAT} is of an algorithm that approvals are not signed with.",
        expected=" or ".join(_ALGORITHMS),
        actual=algorithm,
        hint="Make another: `gate keys new` with this URI prints the command.",
    )


def _read_pem(pem: str) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        key = serialization.load_pem_public_key(pem.encode())
        der, spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return PublicKey(key.public_bytes(der, spki))
    except (ValueError, UnsupportedAlgorithm):
        raise Damaged("holds no public key") from None


def _raw(der: bytes) -> bytes:
    try:
        return jose(der)
    except ValueError:
        raise Damaged("holds no ECDSA signature") from None
