"""The signer: signs bytes with a private key that it never shows."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from gate.errors import UsageError
from gate.keys import Algorithm, PublicKey
from gate.models import Finding
from gate.text import printable
from gate.uris import Uri, parse_uri


class Signer(Protocol):
    """What a backend does. Every method may raise SignerError."""

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key; its `alg` is what the signer signs with."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over `data` (at most 4,096 bytes) in JOSE form: 64 bytes."""
        ...


@runtime_checkable
class Guarded(Protocol):
    """A signer that can tell who else may sign with its key."""

    def diagnose(self) -> Iterator[Finding]:
        """How the key is guarded; what can't be looked at is a finding too."""
        ...


Pin = Callable[[], str]
"""Asks whoever runs this for a token's PIN, when it is needed."""

_BACKENDS = {
    "file": "gate.signers.file",
    "awskms": "gate.signers.awskms",
    "pkcs11": "gate.signers.pkcs11",
    "gcpkms": "gate.signers.gcpkms",
}


def open_signer(uri: str, base: Path | None, pin: Pin | None = None, ca: Path | None = None) -> Signer:
    """The signer that `uri` names; relative paths start at `base`. Each backend has `open_key(uri, base, pin)`. Over
    TLS it is believed by the CAs of the URI's own `ca`, else those in the file `ca`.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
        SignerError: the key can't be opened.
    """
    parsed = _parse(uri)
    signer: Signer = _backend(parsed).open_key(parsed.believing(ca, base), base, pin)
    return signer


def create_key(uri: str, base: Path | None, alg: Algorithm, pin: Pin | None = None) -> Signer:
    """A new key where `uri` says, and its signer. Each backend has `new_key(uri, base, alg, pin)`.

    Raises:
        UsageError: the scheme is unknown, or can't make keys from here.
        SignerError: there is something already, or it can't be written.
    """
    parsed = _parse(uri)
    signer: Signer = _backend(parsed).new_key(parsed, base, alg, pin)
    return signer


def _parse(uri: str) -> Uri:
    if "pin-value" in uri.lower():  # before any message can repeat it
        raise UsageError(
            "a PIN never stands in a URI, where logs and process lists show it",
            hint="Take pin-value away. Write pin-source=file:/path, set GATE_PKCS11_PIN, or be asked on a terminal.",
        )
    try:
        return parse_uri(uri)
    except UsageError:
        if not uri.lower().startswith("pkcs11:"):
            raise
    raise UsageError(  # without the URI, which may hold a PIN under any name
        "pkcs11: not a URI, or one with an option twice, a space or a #", hint="Write %20 for a space, %23 for #."
    )


def _backend(uri: Uri) -> "_Backend":
    if uri.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri.text)}: no signer is called {uri.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    backend: _Backend = import_module(_BACKENDS[uri.scheme])
    return backend


class _Backend(Protocol):
    def open_key(self, uri: Uri, base: Path | None, pin: Pin | None) -> Signer: ...
    def new_key(self, uri: Uri, base: Path | None, alg: Algorithm, pin: Pin | None) -> Signer: ...
