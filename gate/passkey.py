"""A passkey's proof: a WebAuthn assertion whose challenge is an approval's own claims (docs/token.md, "Passkeys")."""

import hashlib
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature

from gate.canonical import JsonError, canonical, parse_object
from gate.errors import Denied
from gate.keys import PublicKey, base64url, decode_base64url
from gate.text import printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# The members of the claim, and the most bytes of each: a credential id by WebAuthn §4, authenticator data and client
# data larger than are ever good, and the signature of the largest RSA key.
MEMBERS = {"id": 1023, "authenticatorData": 1024, "clientDataJSON": 2048, "signature": 512}

_TAG = b"deploy-gate passkey v1\n"
_UP, _UV, _BE, _BS, _AT, _ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80  # WebAuthn §6.1
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")  # AlgorithmIdentifier of rsaEncryption (RFC 3279 §2.3.1)
_AGAIN = "Approve again on the deploy-bot's page, with a passkey that the policy lists."


class RelyingParty(NamedTuple):
    """Where passkeys are used: the RP ID that they belong to, and the one origin whose pages may ask for them."""

    rp_id: str
    origin: str


class Credential(NamedTuple):
    """One passkey: its credential id, and its public key as DER SubjectPublicKeyInfo; the algorithm is the key's."""

    id: bytes
    spki: bytes

    @property
    def alg(self) -> Literal["Ed25519", "ES256", "RS256"]:
        """What the key signs with.

        Raises:
            ValueError: it is not one of an Ed25519, a P-256 or an RSA key (2048 to 4096 bits, e at least 65537).
        """
        return "RS256" if self._is_rsa() else PublicKey(self.spki).alg

    def verify(self, signature: bytes, data: bytes) -> bool:
        """True if `signature` is this passkey's over `data`, as WebAuthn §6.5.5 has it: 64 bytes for Ed25519, DER for
        ES256, PKCS #1 v1.5 for RS256.

        Raises:
            ValueError: as `alg` does.
        """
        if self._is_rsa():
            return _verify_rsa(self.spki, signature, data)
        key = PublicKey(self.spki)
        try:
            return key.verify(signature if key.alg == "Ed25519" else _raw(signature), data)
        except (ValueError, OverflowError):  # no DER, or numbers that are none of the curve's
            return False

    def _is_rsa(self) -> bool:
        if self.spki[4:19] != _RSA:
            return False
        _rsa_key(self.spki)
        return True


def _raw(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: PLC0415 (paid for when used)

    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _rsa_key(spki: bytes) -> "RSAPublicKey":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 (paid for when used)
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    key = load_der_public_key(spki)
    if not isinstance(key, RSAPublicKey) or not 2048 <= key.key_size <= 4096:
        raise ValueError("an RSA key of less than 2048 or more than 4096 bits")
    exponent = key.public_numbers().e
    if exponent < 65537 or exponent % 2 == 0:
        raise ValueError("an RSA key with a small or an even exponent")
    return key


def _verify_rsa(spki: bytes, signature: bytes, data: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415 (paid for when used)
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        _rsa_key(spki).verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def challenge(claims: Mapping[str, Any]) -> bytes:
    """What a passkey signs to approve `claims`: SHA-256 of a tag and their canonical form, without `passkey`.

    Raises:
        JsonError: they hold what JSON can't.
    """
    approved = {name: value for name, value in claims.items() if name != "passkey"}
    return hashlib.sha256(_TAG + canonical(approved)).digest()


def check_assertion(claims: Mapping[str, Any], credentials: Sequence[Credential], party: RelyingParty) -> None:
    """Check that the claim `passkey` proves a gesture by the owner of `credentials` over these very claims, on a page
    of `party` (WebAuthn §7.2). The signature counter is not looked at: passkeys that are synced have none.

    Raises:
        Denied: `passkey.invalid`, at the step `passkey`.
    """
    decoded = _decode(claims.get("passkey"))
    credential = _owned(decoded["id"], credentials)
    _check_client_data(decoded["clientDataJSON"], challenge(claims), party.origin)
    _check_authenticator_data(decoded["authenticatorData"], party.rp_id)
    signed = decoded["authenticatorData"] + hashlib.sha256(decoded["clientDataJSON"]).digest()
    if not credential.verify(decoded["signature"], signed):
        raise _invalid("The passkey's signature is not that of the passkey it names.", f"one in {credential.alg}",
                       "another, or an assertion that was changed")  # fmt: skip


def _invalid(message: str, expected: str, actual: str, hint: str = _AGAIN) -> Denied:
    return Denied("passkey.invalid", message, expected=expected, actual=actual, hint=hint, step="passkey")


def _decode(claim: Any) -> dict[str, bytes]:
    """The members of the claim as bytes."""
    if not isinstance(claim, Mapping) or claim.keys() != MEMBERS.keys():
        raise _invalid("The passkey's assertion is incomplete.", f"exactly {', '.join(MEMBERS)}", "other members")
    return {name: _decode_member(name, claim[name], limit) for name, limit in MEMBERS.items()}


def _decode_member(name: str, text: Any, limit: int) -> bytes:
    if not isinstance(text, str) or len(text) > (limit * 4 + 2) // 3:
        raise _invalid(f"The {name} of the passkey's assertion is too large, or no text.",
                       f"at most {limit} bytes in base64url", "more, or something else")  # fmt: skip
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise _invalid(f"The {name} of the passkey's assertion is not base64url.", "canonical base64url, no padding",
                       f"a text that {error}") from None  # fmt: skip


def _owned(identifier: bytes, credentials: Sequence[Credential]) -> Credential:
    for credential in credentials:
        if credential.id == identifier:
            return credential
    raise _invalid(
        "The passkey is none of this approver's in the policy.",
        f"one of {len(credentials)} that the policy lists" if credentials else "a passkey that the policy lists",
        "another one",
        "Approve with a passkey of your own, or add it to the policy under people.*.passkeys.",
    )


def _check_client_data(data: bytes, expected: bytes, origin: str) -> None:
    try:
        client = parse_object(data)
    except JsonError as error:
        raise _invalid("The passkey's client data is not one JSON object.", "clientDataJSON of a browser",
                       str(error)) from None  # fmt: skip
    if client.get("type") != "webauthn.get":
        raise _invalid("The passkey's client data is not that of an assertion.", "webauthn.get", _shown(client, "type"))
    if not compare_digest(_text(client, "challenge").encode(), base64url(expected).encode()):
        raise _invalid("The passkey approved something else than this approval says.",
                       "the challenge of these very claims", "another challenge")  # fmt: skip
    if client.get("origin") != origin:
        raise _invalid("The passkey was used on a page of another origin.", origin, _shown(client, "origin"))
    if client.get("crossOrigin", False) is not False:
        raise _invalid("The passkey was used in a frame of another site.", "crossOrigin false or absent",
                       _shown(client, "crossOrigin"))  # fmt: skip
    if "topOrigin" in client:
        raise _invalid("The passkey was used on a page inside of another one.", "no topOrigin",
                       _shown(client, "topOrigin"))  # fmt: skip


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _shown(members: Mapping[str, Any], name: str) -> str:
    return printable(str(members.get(name, "none")), 80) or "an empty text"


def _check_authenticator_data(data: bytes, rp_id: str) -> None:
    if len(data) < 37:
        raise _invalid("The passkey's authenticator data is too short.", "37 bytes", f"{len(data)} bytes")
    if not compare_digest(data[:32], hashlib.sha256(rp_id.encode()).digest()):
        raise _invalid("The passkey belongs to another site.", f"the RP ID {rp_id}", "another one")
    flags = data[32]
    if not flags & _UP:
        raise _invalid("Nobody was present when the passkey was used.", "the flag UP", "it is not set")
    if not flags & _UV:
        raise _invalid("The passkey did not verify who used it.", "the flag UV", "it is not set",
                       "Use the passkey with its PIN, a fingerprint or a face.")  # fmt: skip
    if flags & _BS and not flags & _BE:
        raise _invalid("The passkey says that it is backed up and that it can't be.", "the flag BS only with BE",
                       "BS alone")  # fmt: skip
    # An assertion has no attested credential data (WebAuthn §6.1), and nobody asked for an extension.
    if flags & (_AT | _ED) or len(data) > 37:
        raise _invalid(
            "The passkey's authenticator data holds more than was asked for.",
            "37 bytes, and neither of the flags AT and ED",
            f"{len(data)} bytes, flags {flags:#04x}",
        )
