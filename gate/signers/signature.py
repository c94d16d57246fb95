"""What every signer does around a signature: bounds what is signed, writes it as JOSE does, proves it before use."""

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gate.errors import SignerError
from gate.keys import PublicKey

MAX_DATA = 4096  # what AWS KMS signs raw; the same for every signer, so that a token fits all of them


def check_size(data: bytes) -> None:
    """Check, before any key is asked, that every signer could sign `data`.

    Raises:
        SignerError: it is longer than 4,096 bytes.
    """
    if len(data) > MAX_DATA:
        raise SignerError(
            "What is to be signed is too long.",
            expected=f"at most {MAX_DATA:,} bytes",
            actual=f"{len(data):,} bytes",
            hint="Give a shorter reason.",
        )


def jose(der: bytes) -> bytes:
    """A DER ECDSA-Sig-Value of P-256 (RFC 3279 §2.2.3) in JOSE form, `r‖s`: 64 bytes (RFC 7518 §3.4).

    Raises:
        ValueError: it is none.
    """
    r, s = decode_dss_signature(der)
    if not (0 < r < 2**256 and 0 < s < 2**256):
        raise ValueError("not a signature of P-256")
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def proven(signature: bytes, key: PublicKey, data: bytes, what: str) -> bytes:
    """`signature`, once it is known to be what the gate will accept; `what` names the signer, e.g. "The KMS key x".

    Raises:
        SignerError: it is not `key`'s signature over `data`.
    """
    if not key.verify(signature, data):
        raise SignerError(
            f"{what} answered with a signature that is not its public key's.",
            hint="Nothing was issued. Check what stands between here and the key, and that nobody exchanged it.",
        )
    return signature
