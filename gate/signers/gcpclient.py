"""How Google Cloud KMS is called, and how what goes wrong there is told to people."""

import os
import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gate.authorities import HINT, distrust, read_authorities
from gate.deadline import within
from gate.errors import GateError, SignerError, UsageError
from gate.http import open_session
from gate.installation import install_command

ANSWER_SECONDS = 5.0  # per call, connecting included
TOKEN_SECONDS = 15.0  # to fetch an access token, however many requests that takes
_SERVER = "cloudkms.googleapis.com:443"
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):([1-9][0-9]{0,4})")
# A host that was down is tried again sooner than signers ask again.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 500)]
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


class Damaged(Exception):
    """An answer that fails one of its own checks, and is discarded. It says which: "the answer …"."""


class _Sdk(NamedTuple):
    """The libraries, imported only when such a key is used."""

    grpc: Any
    types: Any
    transport: Any
    auth: Any
    http: Any
    crc32c: Callable[[bytes], int]


@cache
def _sdk() -> _Sdk:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the one way to keep its C library from writing to stderr
    try:
        with warnings.catch_warnings():  # of Python versions that Google will not support for ever
            warnings.simplefilter("ignore")
            kms = "google.cloud.kms_v1.services.key_management_service.transports.grpc"
            return _Sdk(
                grpc=import_module("grpc"),
                types=import_module("google.cloud.kms_v1.types"),
                transport=import_module(kms).KeyManagementServiceGrpcTransport,
                auth=import_module("google.auth"),
                http=import_module("google.auth.transport.requests"),
                crc32c=import_module("google_crc32c").value,
            )
    except ImportError:
        raise UsageError("gcpkms: needs the Google Cloud KMS library.", hint=install_command("gcpkms")) from None


def _http(ca: Path | None) -> Callable[..., Any]:
    """What Google's libraries fetch tokens with, made to give up in time; it believes the CAs in `ca` alone."""
    return partial(_sdk().http.Request(open_session(ca) if ca else None), timeout=ANSWER_SECONDS)


class Service:
    """The two methods of Google Cloud KMS that a signer needs. Every call ends within `ANSWER_SECONDS`, plus
    `TOKEN_SECONDS` where an access token has run out. May be used by several threads at once."""

    def __init__(self, channel: Any, credentials: Any, ca: Path | None = None) -> None:
        """`credentials` are those of `channel`, None where it has none. Who gives them out is believed by the CAs in
        the file `ca`."""
        # The transport below Google's client: the client would let the environment choose where it connects.
        self._stubs = _sdk().transport(channel=channel)
        self._credentials = credentials
        self._ca = ca
        self._types = _sdk().types
        self.crc32c = _sdk().crc32c

    def get_public_key(self, name: str) -> Any:
        """Its answer, a `PublicKey`, not yet checked. All raise what gRPC and Google's libraries raise."""
        return self._call(self._stubs.get_public_key, self._types.GetPublicKeyRequest(name=name))

    def algorithm(self, public_key: Any) -> str:
        """The name of a `PublicKey`'s algorithm, or its number where the library knows no name for it."""
        number = self._types.PublicKey.pb(public_key).algorithm  # read from the enum, an unknown one is a warning
        known = {item.value: item.name for item in self._types.CryptoKeyVersion.CryptoKeyVersionAlgorithm}
        return str(known.get(number, number))

    def sign_data(self, name: str, data: bytes) -> Any:
        """Its answer, an `AsymmetricSignResponse`, not yet checked."""
        request = self._types.AsymmetricSignRequest(name=name, data=data, data_crc32c=self.crc32c(data))
        return self._call(self._stubs.asymmetric_sign, request)

    def sign_digest(self, name: str, sha256: bytes) -> Any:
        """Its answer, an `AsymmetricSignResponse`, not yet checked."""
        digest = self._types.Digest(sha256=sha256)
        request = self._types.AsymmetricSignRequest(name=name, digest=digest, digest_crc32c=self.crc32c(sha256))
        return self._call(self._stubs.asymmetric_sign, request)

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        if self._credentials is not None and not self._credentials.valid:
            # gRPC would do it within the call, and report any failure as a server that is down.
            within(TOKEN_SECONDS, lambda: self._credentials.refresh(_http(self._ca)))
        routing = ("x-goog-request-params", f"name={request.name}")  # which region's servers are to answer
        return method(request, timeout=ANSWER_SECONDS, metadata=[routing])


def connect(endpoint: str, ca: Path | None = None) -> Service:
    """The service at `endpoint` (`HOST:PORT`), "" for Google's own, believed by the CAs in the file `ca`. Nothing is
    sent yet.

    TLS and Application Default Credentials, except to this very machine: neither is of use there.

    Raises:
        UsageError: the endpoint is not one, or the library is not installed.
        Exception: there are no credentials; `explain` puts it into words.
    """
    match = _ENDPOINT.fullmatch(endpoint or _SERVER)
    if not match or int(match[2]) > 65535:
        raise UsageError("gcpkms: the endpoint is not HOST:PORT.", hint="Leave it out for Google's own.")
    sdk = _sdk()
    target = f"dns:///{match[0]}"
    if match[1] in _LOOPBACK:
        return Service(sdk.grpc.insecure_channel(target, options=[*_OPTIONS, ("grpc.enable_http_proxy", 0)]), None)
    with warnings.catch_warnings():  # of a person's credentials where a service's would do
        warnings.simplefilter("ignore")
        credentials, _ = within(TOKEN_SECONDS, lambda: sdk.auth.default(scopes=[_SCOPE], request=_http(ca)))
    tls = sdk.grpc.ssl_channel_credentials(read_authorities(ca) if ca else None)
    channel = sdk.transport.create_channel(target, credentials=credentials, ssl_credentials=tls, options=_OPTIONS)
    return Service(channel, credentials, ca)


class _Trouble(NamedTuple):
    message: str
    hint: str


_NO_CREDENTIALS = _Trouble(
    "can't be asked: there are no usable Google credentials here",
    "Give this job a service account, or log in: gcloud auth application-default login.",
)
_REFUSED_CREDENTIALS = _Trouble(
    "can't be asked: Google does not accept these credentials",
    "Log in again, let the job fetch its token again, or set this machine's clock.",
)
_NO_TOKEN = _Trouble(
    "can't be asked: the server that gives out Google's access tokens can't be reached", "Check the network."
)
_UNREACHABLE = _Trouble(
    "did not answer in time, or can't be reached", "Check the network, and the endpoint in its URI where it has one."
)
_BROKEN = _Trouble("answered with an error", "Try again in a moment; then look at the Google Cloud status page.")

# By gRPC's status, and by the classes of Google's exceptions.
_TROUBLES = {
    "PERMISSION_DENIED": _Trouble(
        "can't be used: Google denies access",
        "Grant this identity roles/cloudkms.signerVerifier on the key (docs/keys.md), and check the key's name.",
    ),
    "UNAUTHENTICATED": _REFUSED_CREDENTIALS,
    "NOT_FOUND": _Trouble(
        "does not exist", "Correct project, location, key ring, key or version: gcloud kms keys versions list."
    ),
    "FAILED_PRECONDITION": _Trouble(
        "is not enabled: this version is disabled, destroyed, or not made yet",
        "See its state: gcloud kms keys versions list. Enable it, or use another version and pin that in the policy.",
    ),
    "INVALID_ARGUMENT": _Trouble(
        "is no key for such signatures",
        "Use one for asymmetric signing with EC_SIGN_ED25519 or EC_SIGN_P256_SHA256 (docs/keys.md).",
    ),
    "RESOURCE_EXHAUSTED": _Trouble(
        "can't be used: the project's quota is used up", "Try again in a minute; if it stays, raise the quota."
    ),
    "UNAVAILABLE": _UNREACHABLE,
    "DEADLINE_EXCEEDED": _UNREACHABLE,
    "DefaultCredentialsError": _NO_CREDENTIALS,
    "TransportError": _NO_TOKEN,
    "TimeoutError": _NO_TOKEN,
    "GoogleAuthError": _REFUSED_CREDENTIALS,
}


def explain(error: Exception, what: str) -> GateError:
    """Put any exception into words; `what` names the key. Of Google's own answer only the status is told: its messages
    hold project ids, key names and addresses."""
    if isinstance(error, GateError):
        return error
    if isinstance(error, Damaged):
        return SignerError(
            f"{what} answered wrongly twice: the answer {error}.",
            hint="Nothing was issued. Try again; if it stays, look at what stands between here and Google.",
        )
    status = _status(error)
    if certificate := _distrust(error):
        who = "" if status else "can't be asked: the server that gives out Google's access tokens "
        return SignerError(f"{what} {who}{certificate}.", hint=HINT)
    names = [status] if status else [base.__name__ for base in type(error).__mro__]
    trouble = next((_TROUBLES[name] for name in names if name in _TROUBLES), _BROKEN)
    return SignerError(f"{what} {trouble.message}{f' ({status})' if status else ''}.", hint=trouble.hint)


def is_passing(error: Exception) -> bool:
    """True if the same question may be answered a moment later."""
    passing = isinstance(error, Damaged) or _status(error) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    return passing and not _distrust(error)


def _distrust(error: Exception) -> str:
    """See `distrust`: gRPC says it in the details of its error."""
    details = getattr(error, "details", None)
    return distrust(details() if callable(details) else error)


def _status(error: Exception) -> str:
    """The name of gRPC's status (e.g. `NOT_FOUND`), "" where there is none."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""
