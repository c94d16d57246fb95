"""Approval tokens made by hand, right and wrong, with keys and times that never change. Nothing of the gate is used."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.core.authenticator import ALGORITHMS, ORIGIN, Authenticator

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def _secret(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(_secret("ed-key"))
ES256 = ec.derive_private_key(int.from_bytes(_secret("ec-key"), "big"), ec.SECP256R1())
OLD = ed25519.Ed25519PrivateKey.from_private_bytes(_secret("old-key"))
STRANGER = ed25519.Ed25519PrivateKey.from_private_bytes(_secret("stranger"))
KEYS: dict[str, Private] = {"Ed25519": ED25519, "ES256": ES256}
KIDS = {"Ed25519": "ed-key", "ES256": "ec-key"}

PASSKEYS = {alg: Authenticator(alg=alg) for alg in ALGORITHMS}  # alice's
CAROLS = Authenticator(name="carol")

NOW = 1_800_000_000  # 2027-01-15 08:00:00Z
SHA = "1f3c9ab2e0aa4d5b8c7d6e5f4a3b2c1d0e9f8a7b"
OTHER_SHA = SHA[::-1]
SCOPE = f"deploy:acme/shop:{SHA}"
CLAIMS: dict[str, Any] = {
    "iss": "gate",
    "sub": "alice@example.com",
    "aud": "deploy-gate",
    "scope": SCOPE,
    "environment": "production",
    "jti": "AAAAAAAAAAAAAAAAAAAAAA",
    "iat": NOW,
    "exp": NOW + 600,
}


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def spki(key: Private) -> bytes:
    """The DER SubjectPublicKeyInfo of the key's public half."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: Private, data: bytes) -> bytes:
    """The key's signature over `data` in JOSE form, always the same for the same data (RFC 8032, RFC 6979)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def to_json(members: Mapping[str, Any]) -> bytes:
    """Compact JSON; members that are `...` are left out, so that a change can also take one away."""
    kept = {name: value for name, value in members.items() if value is not ...}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def header(alg: str = "Ed25519", /, **changes: Any) -> bytes:
    """The JSON of a good header, but for the changes."""
    return to_json({"alg": alg, "kid": KIDS.get(alg, "ed-key"), "typ": "deploy-approval+jwt"} | changes)


def claims(**changes: Any) -> bytes:
    """The JSON of good claims, but for the changes."""
    return to_json(CLAIMS | changes)


def compact(header_json: bytes, claims_json: bytes, key: Private = ED25519) -> str:
    """The JWS of these very bytes, signed."""
    return signed(f"{base64url(header_json)}.{base64url(claims_json)}", key)


def signed(signing_input: str, key: Private = ED25519) -> str:
    """The signing input, whatever it is, with its signature."""
    return f"{signing_input}.{base64url(sign(key, signing_input.encode('utf-8', 'surrogatepass')))}"


def token(alg: str = "Ed25519", *, key: Private | None = None, kid: Any = None, **changes: Any) -> str:
    """A good approval, but for the changes to its claims; `key` signs it in place of the algorithm's own."""
    named = header(alg) if kid is None else header(alg, kid=kid)
    return compact(named, claims(**changes), key or KEYS[alg])


def proved(passkey: Authenticator | None = None, *, assertion: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """An approval with the assertion of `passkey`, alice's first one by default, over these very claims; `assertion`
    changes how it is made."""
    return compact(header(), to_json((passkey or PASSKEYS["ES256"]).approve(CLAIMS | changes, **(assertion or {}))))


POLICY = f"""\
version: 1
replay: "memory:"
audit: file:audit
keys:
  - kid: ed-key
    alg: Ed25519
    public_key: {base64.b64encode(spki(ED25519)).decode()}
    approvers: ["*@example.com", dave]
  - kid: ec-key
    alg: ES256
    public_key: {base64.b64encode(spki(ES256)).decode()}
    approvers: [alice@example.com]
  - kid: old-key
    alg: Ed25519
    public_key: {base64.b64encode(spki(OLD)).decode()}
    approvers: ["*@example.com"]
    not_before: 2026-11-01T00:00:00Z
    not_after: 2027-01-15T08:00:00Z
teams:
  release: [Bob@example.com, carol@example.com]
people:
  alice@example.com: {{github: alice, emails: [alice@personal.example], passkeys: [
      {", ".join(passkey.credential_yaml for passkey in PASSKEYS.values())}]}}
  bob@example.com: {{github: dave}}
  carol@example.com:
    passkeys:
      - {CAROLS.credential_yaml}
passkeys: {{origin: "{ORIGIN}"}}
environments:
  production:
    repositories: [acme/*]
    approvers: [alice@example.com, release]
    separation_of_duties: false
  pair:
    repositories: [acme/shop, group/sub/*]
    approvers: [alice@example.com, release, dave]
    approvals: 2
    separation_of_duties: false
    max_age: 1h
  guarded:
    repositories: [acme/shop]
    approvers: [alice@example.com, release]
    separation_of_duties: false
    passkey: required
"""
