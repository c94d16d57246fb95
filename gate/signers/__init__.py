"""The signer: signs bytes with a private key that it never shows."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from gate.errors import UsageError
from gate.keys import Algorithm, PublicKey
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


_BACKENDS = {"file": "gate.signers.file"}


def open_signer(uri: str, base: Path | None) -> Signer:
    """The signer that `uri` names; relative paths start at `base`. Each backend has `open_key(uri, base)`.

    Raises:
        UsageError: an unknown scheme, or a URI that the backend does not take.
        SignerError: the key can't be opened.
    """
    parsed = parse_uri(uri)
    signer: Signer = _backend(parsed).open_key(parsed, base)
    return signer


def create_key(uri: str, base: Path | None, alg: Algorithm) -> Signer:
    """A new key where `uri` says, and its signer, where the backend has `new_key(uri, base, alg)`.

    Raises:
        UsageError: the scheme is unknown, or can't make keys from here.
        SignerError: there is something already, or it can't be written.
    """
    parsed = parse_uri(uri)
    new_key: Callable[[Uri, Path | None, Algorithm], Signer] = _backend(parsed).new_key
    return new_key(parsed, base, alg)


def _backend(uri: Uri) -> "_Backend":
    if uri.scheme not in _BACKENDS:
        raise UsageError(
            f"{printable(uri.text)}: no signer is called {uri.scheme!r}",
            hint=f"Known: {', '.join(f'{name}:' for name in _BACKENDS)}",
        )
    backend: _Backend = import_module(_BACKENDS[uri.scheme])
    return backend


class _Backend(Protocol):
    def open_key(self, uri: Uri, base: Path | None) -> Signer: ...
    def new_key(self, uri: Uri, base: Path | None, alg: Algorithm) -> Signer: ...
