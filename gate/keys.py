"""Public keys, and the trust that a policy puts in each."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple, get_args

from cryptography.exceptions import InvalidSignature

from gate.canonical import canonical

Algorithm = Literal["Ed25519", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/--")  # to base64's own alphabet, and that to what is in neither

# A DER SubjectPublicKeyInfo of either kind is a fixed prefix and the key's bytes (RFC 8410 §4; RFC 5480 §2).
_ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")

# The y coordinates, as they can be written, of the points of small order: under such a "key" anybody can sign.
_P = 2**255 - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = {0, 1, _ORDER_8, _P - _ORDER_8, _P - 1, _P, _P + 1}


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """The bytes that `text` stands for: one text for one value (RFC 4648 §3.5), so no padding, no stray bits, no other
    alphabet, no white space.

    Raises:
        ValueError: it is another text; the message goes on after "it".
    """
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD)
        data = binascii.a2b_base64(standard + b"==")
    except ValueError:
        raise ValueError("is not base64url") from None
    if binascii.b2a_base64(data, newline=False).rstrip(b"=") != standard:
        raise ValueError("is not canonical base64url")
    return data


class PublicKey:
    """An Ed25519 or P-256 public key. The algorithm is the key's; no token ever chooses it."""

    def __init__(self, spki: bytes) -> None:
        """Read a DER SubjectPublicKeyInfo.

        Raises:
            ValueError: it is not one of an Ed25519 key that has one owner, or of a P-256 key as an uncompressed point
                on the curve.
        """
        self.spki = spki
        self.alg: Algorithm
        if spki.startswith(_ED25519_SPKI) and len(spki) == 44:
            self.alg, self._verify = "Ed25519", _ed25519_verifier(spki[12:])
        elif spki.startswith(_P256_SPKI) and len(spki) == 91:
            self.alg, self._verify = "ES256", _es256_verifier(spki[26:])
        else:
            raise ValueError("not the SubjectPublicKeyInfo of an Ed25519 or an uncompressed P-256 key")

    def verify(self, signature: bytes, data: bytes) -> bool:
        """True if `signature` is this key's over `data`, in JOSE form: 64 bytes (RFC 8037 §3.1, RFC 7518 §3.4)."""
        if len(signature) != 64:
            return False
        try:
            self._verify(signature, data)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint: what the key is called where nobody gave it a name."""
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url(self.spki[12:])}
        if self.alg == "ES256":
            x, y = self.spki[27:59], self.spki[59:]
            jwk = {"crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y)}
        return base64url(hashlib.sha256(canonical(jwk)).digest())


def _ed25519_verifier(raw: bytes) -> Callable[[bytes, bytes], None]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 (cold start)

    if int.from_bytes(raw, "little") % 2**255 in _SMALL_ORDER:
        raise ValueError("an Ed25519 key of small order")
    return Ed25519PublicKey.from_public_bytes(raw).verify


def _es256_verifier(point: bytes) -> Callable[[bytes, bytes], None]:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 (cold start)
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    algorithm = ec.ECDSA(SHA256())

    def verify(signature: bytes, data: bytes) -> None:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), data, algorithm)

    return verify


REVOKED = 0  # epoch seconds: a window that ended then holds for no approval that could still be alive


class TrustedKey(NamedTuple):
    """A public key that the policy lists.

    `not_before` and `not_after` (epoch seconds, None: no bound) bound when an approval may have been issued.
    `names` are the approvers it may speak for; `domains` those e-mail domains of which it may speak for everybody.
    All are in lower case.
    """

    kid: str
    key: PublicKey
    names: frozenset[str]
    domains: frozenset[str]
    not_before: int | None = None
    not_after: int | None = None

    def in_window(self, issued_at: int) -> bool:
        """True if an approval issued at `issued_at` (epoch seconds) is one that this key was trusted for."""
        return (self.not_before is None or self.not_before <= issued_at) and (
            self.not_after is None or issued_at <= self.not_after
        )

    def speaks_for(self, approver: str) -> bool:
        """True if the key may sign approvals by `approver` (in lower case)."""
        if approver in self.names:
            return True
        local, _, domain = approver.rpartition("@")
        return bool(local) and domain in self.domains
