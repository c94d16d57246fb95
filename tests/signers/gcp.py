"""A local server that speaks Google Cloud KMS's own protocol, with its own messages, and can be told to misbehave."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate.errors import GateError, SignerError, UsageError
from gate.signers import gcpclient, open_signer
from tests.core.mint import KEYS, Private
from tests.parts import need

NAME = "projects/acme-secret-id/locations/europe-west1/keyRings/deploy/cryptoKeys/gate/cryptoKeyVersions/1"
SECRETS = ("acme-secret-id", "raw text", "127.0.0.", "dns:", "secret-account", "invalid_grant")
ALGORITHMS = {"Ed25519": "EC_SIGN_ED25519", "ES256": "EC_SIGN_P256_SHA256"}


def sdk() -> Any:
    """Google's libraries, imported as the signer imports them: without their warnings."""
    try:
        return gcpclient._sdk()
    except UsageError:
        need(False, "google-cloud-kms and google-crc32c (pip install 'deploy-gate[gcpkms]')")


def pem(key: Any) -> str:
    """The key's public half as Google writes it."""
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


class Kms:
    """One key version, and what was asked about it.

    `spoil` changes an answer before it is sent, the first `times` of them; `status` answers all with an error, and
    `delay` (seconds) comes before each.
    """

    def __init__(self, alg: str) -> None:
        self.key: Private = KEYS[alg]
        self.signing_key: Private = self.key
        self.algorithm = ALGORITHMS[alg]
        self.address = ""
        self.calls: list[str] = []
        self.metadata: list[dict[str, str]] = []
        self.spoil: Callable[[Any], None] = lambda answer: None
        self.times = 1_000
        self.status = ""
        self.delay = 0.0

    @property
    def uri(self) -> str:
        """The key's URI at this server."""
        return f"gcpkms://{NAME}?endpoint={self.address}"

    def get_public_key(self, request: Any, context: Any) -> Any:
        """GetPublicKey."""
        self._begin("GetPublicKey", request, context)
        types, text = sdk().types, pem(self.key)
        answer = types.PublicKey(
            pem=text,
            pem_crc32c=sdk().crc32c(text.encode()),
            name=NAME,
            algorithm=types.CryptoKeyVersion.CryptoKeyVersionAlgorithm[self.algorithm],
            protection_level=types.ProtectionLevel.HSM,
        )
        return self._spoilt(answer)

    def asymmetric_sign(self, request: Any, context: Any) -> Any:
        """AsymmetricSign."""
        self._begin("AsymmetricSign", request, context)
        digest = self.algorithm == ALGORITHMS["ES256"]
        signed = request.digest.sha256 if digest else request.data
        received = request.digest_crc32c if digest else request.data_crc32c
        if bool(request.digest.sha256) != digest or received not in (None, sdk().crc32c(signed)):
            context.abort(sdk().grpc.StatusCode.INVALID_ARGUMENT, f"not a request for {NAME}")
        signature = self._signature(signed)
        answer = sdk().types.AsymmetricSignResponse(
            signature=signature,
            signature_crc32c=sdk().crc32c(signature),
            name=NAME,
            verified_data_crc32c=request.data_crc32c is not None,
            verified_digest_crc32c=request.digest_crc32c is not None,
        )
        return self._spoilt(answer)

    def _signature(self, signed: bytes) -> bytes:
        if isinstance(self.signing_key, ec.EllipticCurvePrivateKey):
            return self.signing_key.sign(signed, ec.ECDSA(Prehashed(SHA256())))
        return self.signing_key.sign(signed)

    def _begin(self, method: str, request: Any, context: Any) -> None:
        self.calls.append(method)
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        time.sleep(self.delay)
        if self.status or request.name != NAME:
            code = sdk().grpc.StatusCode[self.status or "NOT_FOUND"]
            context.abort(code, f"{NAME}: raw text of the service\nover two lines, {secrets.token_hex(4)}")

    def _spoilt(self, answer: Any) -> Any:
        if self.times > 0:
            self.times -= 1
            self.spoil(answer)
        return answer


def refusal(act: Callable[[], object]) -> SignerError:
    """The error of a signer that `act` ends in, once it has been seen to be fit for people."""
    with pytest.raises(SignerError) as caught:
        act()
    _check_plain(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value


def misuse(uri: str) -> UsageError:
    """The error of a wrong URI, once it has been seen to be fit for people."""
    with pytest.raises(UsageError) as caught:
        open_signer(uri, None)
    _check_plain(caught.value)
    return caught.value


def _check_plain(error: GateError) -> None:
    """It prints, says what to do next, and tells nothing of the account."""
    assert error.hint
    for text in (error.message, error.hint, error.expected, error.actual):
        assert text.isprintable()
        assert not any(secret in text for secret in SECRETS)


@contextmanager
def running_kms(alg: str, address: str = "127.0.0.1:0", tls: tuple[bytes, bytes] | None = None) -> Iterator[Kms]:
    """Serve a key of `alg` until the block ends, port 0 being a free one; `tls` is a private key and a certificate."""
    grpc, types, kms = sdk().grpc, sdk().types, Kms(alg)
    methods = {
        "GetPublicKey": (kms.get_public_key, types.GetPublicKeyRequest, types.PublicKey),
        "AsymmetricSign": (kms.asymmetric_sign, types.AsymmetricSignRequest, types.AsymmetricSignResponse),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=request.deserialize, response_serializer=answer.serialize
        )
        for name, (method, request, answer) in methods.items()
    }
    service = grpc.method_handlers_generic_handler("google.cloud.kms.v1.KeyManagementService", handlers)
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=[service], options=[("grpc.so_reuseport", 0)])
        if tls:
            port = server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
        else:
            port = server.add_insecure_port(address)
        kms.address = f"{address.rpartition(':')[0]}:{port}"
        server.start()
        try:
            yield kms
        finally:
            server.stop(None).wait()
