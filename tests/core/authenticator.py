"""A passkey in software: it signs what a browser would let it sign, or whatever a test wants. Nothing of the gate is
used, and the same name, algorithm and challenge always give the same bytes."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORIGIN, RP_ID = "https://gate.example.com", "gate.example.com"
UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
SYNCED = UP | UV | BE | BS  # what phones and password managers say
ALGORITHMS = ("ES256", "Ed25519", "RS256")
MEMBERS = ("id", "authenticatorData", "clientDataJSON", "signature")

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

# The primes of the only RSA key of the tests, since making one takes long, and another one each time.
_P = int("""
    ee609628d6c49cba7cd45879521472f10851362ca847d7a6116b72fa87cebdbceb3525252fad0b64a0486a975830cce07f80586f6a94cfa37deb
    a2b5fed80f2e43e9e65986c9fe3dff5379bf26ef88cc044a2eb8ab7ebff49cca8b85152f3879d14af0d689a651faf0b80ab51a67ce07b5e5d078
    344c40bfa11ac964f2d7270f""".replace("\n", "").replace(" ", ""), 16)  # fmt: skip
_Q = int("""
    ce8fb41d720203e984847b11c3517fb2edbe87cd4cfbda30cbe5137c96bdd24eb43acbb417c6ee13a23ea1e844265aecb3992dd172f619462e72
    f0cd04c76d486bca5edc9797eb4c37155284d362eb2a116aa03f57e194c78fe43c15ee1e0881c092f312006092e697b4699e2ecd9cc267e34f9d
    53c7c6fed0e021007ecc3e31""".replace("\n", "").replace(" ", ""), 16)  # fmt: skip


class Enrolled(NamedTuple):
    """What an authenticator shows of a passkey when it is made: its id, and its public key in two forms."""

    id: bytes
    spki: bytes
    cose: bytes


class Authenticator:
    """One passkey, for the pages of `origin`. Another `name` is another passkey."""

    def __init__(
        self, origin: str = ORIGIN, rp_id: str = RP_ID, alg: str = "ES256", name: str = "alice", length: int = 16
    ) -> None:
        self.origin, self.rp_id, self.alg = origin, rp_id, alg
        seed = hashlib.sha256(f"{name} {alg}".encode()).digest()
        self.key = _key(alg, seed)
        public = self.key.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.credential = Enrolled(hashlib.shake_128(seed).digest(length), spki, _cose(public))

    @property
    def credential_yaml(self) -> str:
        """The passkey as an entry of `people.*.passkeys`."""
        public_key = base64.b64encode(self.credential.spki).decode()
        return f"{{id: {base64url(self.credential.id)}, public_key: {public_key}}}"

    def assert_(
        self,
        challenge: bytes,
        /,
        *,
        flags: int = SYNCED,
        rp_id: str = "",
        counter: int = 0,
        extra: bytes = b"",
        client_data: bytes | None = None,
        **client: Any,
    ) -> dict[str, str]:
        """An assertion over `challenge`, as the claim `passkey` holds it.

        `client` changes members of the client data (`...` takes one away), `client_data` is all of it, and `extra`
        stands behind the 37 bytes of the authenticator data. All of it is signed.
        """
        members = {"type": "webauthn.get", "challenge": base64url(challenge), "origin": self.origin,
                   "crossOrigin": False} | client  # fmt: skip
        kept = {name: value for name, value in members.items() if value is not ...}
        data = json.dumps(kept, separators=(",", ":")).encode() if client_data is None else client_data
        hashed = hashlib.sha256((rp_id or self.rp_id).encode()).digest()
        authenticator_data = hashed + bytes([flags]) + counter.to_bytes(4, "big") + extra
        return {
            "id": base64url(self.credential.id),
            "authenticatorData": base64url(authenticator_data),
            "clientDataJSON": base64url(data),
            "signature": base64url(self.sign(authenticator_data + hashlib.sha256(data).digest())),
        }

    def create(self, challenge: bytes, /, *, flags: int = SYNCED | AT) -> dict[str, Any]:
        """The new passkey, as a browser tells of it to whoever asked for one with `challenge`; nobody attests it."""
        client = {"type": "webauthn.create", "challenge": base64url(challenge), "origin": self.origin}
        key_id = self.credential.id
        data = hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + bytes(4)
        data += bytes(16) + len(key_id).to_bytes(2, "big") + key_id + self.credential.cose
        head = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData"  # CBOR: {fmt: "none", attStmt: {}, authData: …}
        return {
            "id": base64url(key_id),
            "rawId": base64url(key_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": base64url(json.dumps(client, separators=(",", ":")).encode()),
                "attestationObject": base64url(head + b"\x59" + len(data).to_bytes(2, "big") + data),
            },
        }

    def approve(self, claims: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """The claims with this passkey's assertion over them; `changes` are those of `assert_`."""
        return {**claims, "passkey": self.assert_(challenge_of(claims), **changes)}  # noqa: UP005 (not that one)

    def sign(self, data: bytes) -> bytes:
        """The passkey's signature as WebAuthn has it: DER for ES256."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), SHA256())
        return self.key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def challenge_of(claims: Mapping[str, Any]) -> bytes:
    """What docs/token.md says that a passkey signs."""
    return hashlib.sha256(b"deploy-gate passkey v1\n" + rfc8785.dumps(dict(claims))).digest()


def _key(alg: str, seed: bytes) -> Private:
    if alg == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    if alg == "ES256":
        return ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP256R1())
    d = pow(65537, -1, (_P - 1) * (_Q - 1))
    public = rsa.RSAPublicNumbers(65537, _P * _Q)
    return rsa.RSAPrivateNumbers(
        _P, _Q, d, rsa.rsa_crt_dmp1(d, _P), rsa.rsa_crt_dmq1(d, _Q), rsa.rsa_crt_iqmp(_P, _Q), public
    ).private_key()


def _cose(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> bytes:
    """The COSE_Key (RFC 9052 §7), in the CBOR that CTAP2 wants."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return bytes.fromhex("a4010103272006215820") + key.public_bytes_raw()
    if isinstance(key, rsa.RSAPublicKey):
        return bytes.fromhex("a401030339010020590100") + key.public_numbers().n.to_bytes(256, "big") + b"\x21\x43\1\0\1"
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return bytes.fromhex("a5010203262001215820") + point[1:33] + b"\x22\x58\x20" + point[33:]
