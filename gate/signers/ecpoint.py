"""Public keys as PKCS#11 tokens hold them: a curve (`CKA_EC_PARAMS`) and a point on it (`CKA_EC_POINT`)."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate.keys import Algorithm, PublicKey

# Each curve by the DER of its object identifier, which is what new keys are asked for with.
CURVES: dict[Algorithm, bytes] = {
    "Ed25519": bytes.fromhex("06032b6570"),  # RFC 8410 §3
    "ES256": bytes.fromhex("06082a8648ce3d030107"),  # RFC 5480 §2.1.1.1
}
_NAMED_ED25519 = b"\x13\x0cedwards25519"  # the other way that PKCS #11 v3.0 §2.3.10 allows
_LENGTHS: dict[Algorithm, int] = {"Ed25519": 32, "ES256": 65}


def public_key(params: bytes, point: bytes) -> PublicKey:
    """The public key of these two attributes. The point may stand in a DER OCTET STRING, or as it is.

    Raises:
        ValueError: it is no Ed25519 or P-256 key, or no point on the curve.
    """
    alg = _algorithm(params)
    raw = _raw(point, _LENGTHS[alg])
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey = (
        ed25519.Ed25519PublicKey.from_public_bytes(raw)
        if alg == "Ed25519"
        else ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    )
    return PublicKey(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _algorithm(params: bytes) -> Algorithm:
    for alg, curve in CURVES.items():
        if params == curve or (alg == "Ed25519" and params == _NAMED_ED25519):
            return alg
    raise ValueError("neither edwards25519 nor P-256")


def _raw(point: bytes, length: int) -> bytes:
    if len(point) == length + 2 and point[:2] == bytes((0x04, length)):
        return point[2:]
    if len(point) == length:
        return point
    raise ValueError("not an uncompressed point of the curve")
