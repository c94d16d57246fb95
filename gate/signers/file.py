"""`file:` a private key in a file: PKCS#8 PEM (RFC 5958), readable by its owner alone."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from gate.errors import SignerError
from gate.keys import Algorithm, PublicKey
from gate.signers import Pin
from gate.signers.privatefile import read_private
from gate.signers.signature import check_size, jose
from gate.uris import Uri

_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class FileSigner:
    """Signs with a private key that was read into memory."""

    def __init__(self, key: _PrivateKey) -> None:
        self._key = key
        self._public_key = PublicKey(
            key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""
        return self._public_key

    def sign(self, data: bytes) -> bytes:
        """See `Signer.sign`."""
        check_size(data)
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return jose(self._key.sign(data, ec.ECDSA(SHA256())))


def open_key(uri: Uri, base: Path | None, pin: Pin | None) -> FileSigner:  # noqa: ARG001 (every backend's signature)
    """The signer of the key in a file.

    Raises:
        UsageError: the URI is not one of a path.
        SignerError: the file can't be read, others may read it, or it holds no key that can sign approvals.
    """
    path = uri.path(base)
    data = read_private(
        path,
        "private key",
        otherwise="make a new key",
        missing="`gate init` makes a key, `gate keys new` another.",
    )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignerError(
            f"{path}: holds no private key in PKCS#8 PEM, or one with a password.",
            hint=f"Make one: gate keys new file:{path}.new",
        ) from None
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return FileSigner(key)
    raise SignerError(f"{path}: the key is neither Ed25519 nor P-256.", hint="Make one: gate keys new")


def new_key(uri: Uri, base: Path | None, alg: Algorithm, pin: Pin | None) -> FileSigner:  # noqa: ARG001 (as above)
    """Write a new private key to a file of mode 0600, and open it.

    Raises:
        SignerError: something stands there already, or it can't be written.
    """
    path = uri.path(base)
    key = ed25519.Ed25519PrivateKey.generate() if alg == "Ed25519" else ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, pem)
    except FileExistsError:
        raise SignerError(f"{path}: is there already, and is left as it is.", hint="Choose another name.") from None
    except OSError as error:
        raise SignerError(
            f"{path}: can't be written ({error.strerror}).", hint="Name a file in a folder of your own."
        ) from None
    return FileSigner(key)


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            file.write(data)
    except OSError:
        path.unlink()
        raise
