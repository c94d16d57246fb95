"""`pkcs11:` a key in a hardware security module, or in any other token with a PKCS#11 module (RFC 7512 names it).

ES256 takes the mechanism CKM_ECDSA over a SHA-256 that is made here, which every module has; Ed25519 takes CKM_EDDSA.
The token's user PIN comes from the file that `pin-source` names, or from the face; it is asked for at each login and
kept nowhere. docs/keys.md says how to set a token up.
"""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from threading import Lock
from typing import Any, NamedTuple

from gate.errors import SignerError, UsageError
from gate.keys import Algorithm, PublicKey
from gate.signers import Pin
from gate.signers.ecpoint import CURVES, public_key
from gate.signers.pkcs11token import Token, open_token
from gate.signers.pkcs11uri import KeyUri
from gate.signers.signature import check_size, proven
from gate.uris import Uri

_SIGN: dict[Algorithm, str] = {"Ed25519": "EDDSA", "ES256": "ECDSA"}
_GENERATE: dict[Algorithm, tuple[str, str]] = {
    "Ed25519": ("EC_EDWARDS", "EC_EDWARDS_KEY_PAIR_GEN"),
    "ES256": ("EC", "EC_KEY_PAIR_GEN"),
}


class _Pair(NamedTuple):
    """A private key, as an object of a session, and its public key."""

    private: Any
    public_key: PublicKey


class Pkcs11Signer:
    """Signs with a key pair of a token, one signature at a time; may be used from several threads.

    Where its session is gone (the module or the device was restarted, or the process forked), it opens another one,
    once for each signature.
    """

    def __init__(self, token: Token, session: Any) -> None:
        self._token = token
        self._lock = Lock()
        self._pair = self._find(session)

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""
        return self._pair.public_key

    def sign(self, data: bytes) -> bytes:
        """See `Signer.sign`."""
        check_size(data)
        with self._lock:
            signature = self._sign_somehow(data)
        return proven(signature, self.public_key, data, self._token.uri.key)

    def _sign_somehow(self, data: bytes) -> bytes:
        with suppress(self._token.library.PKCS11Error):
            return self._sign(data)
        self._reopen()
        try:
            return self._sign(data)
        except self._token.library.PKCS11Error as error:
            self._token.fail(error)

    def _sign(self, data: bytes) -> bytes:
        alg = self.public_key.alg
        message = sha256(data).digest() if alg == "ES256" else data
        signature: bytes = self._pair.private.sign(message, mechanism=self._token.library.Mechanism[_SIGN[alg]])
        return signature

    def _reopen(self) -> None:
        pair = self._find(self._token.session())
        if pair.public_key.spki != self.public_key.spki:
            raise SignerError(
                f"{self._token.uri.key} is another one since its token was restarted.",
                hint="Find out who exchanged it. If it was you, list its public key in the policy, and start again.",
            )
        self._pair = pair

    def _find(self, session: Any) -> _Pair:
        try:
            return _pair(self._token, session)
        except self._token.library.PKCS11Error as error:
            self._token.fail(error)


def open_key(uri: Uri, base: Path | None, pin: Pin | None) -> Pkcs11Signer:
    """The signer of a key pair in a token.

    Raises:
        UsageError: the URI does not name a module, a token and a key; or python-pkcs11 is not installed.
        SignerError: there is no PIN, no such module, token or key, or the token can't sign with it.
    """
    token = open_token(uri, base, pin)
    return Pkcs11Signer(token, token.session())


def new_key(uri: Uri, base: Path | None, alg: Algorithm, pin: Pin | None) -> Pkcs11Signer:
    """Make a key pair in a token, whose private key never leaves it, and open it.

    Raises:
        UsageError: as for `open_key`, or the URI has no label for it.
        SignerError: as for `open_key`, or there is such a key already.
    """
    token = open_token(uri, base, pin)
    if not token.uri.label:
        raise UsageError("pkcs11: gives the new key no label", hint="Add ;object=NAME to the URI.")
    session = token.session(rw=True)
    try:
        _generate(token, session, alg)
    except token.library.PKCS11Error as error:
        token.fail(error)
    return Pkcs11Signer(token, session)


def _pair(token: Token, session: Any) -> _Pair:
    """The one key pair of that label and id; raises SignerError, or an exception of the library."""
    private, public = (_object(token, session, kind) for kind in ("PRIVATE_KEY", "PUBLIC_KEY"))
    try:
        key = _read(token.library, public)
    except ValueError:
        raise SignerError(
            f"{token.uri.key} is neither Ed25519 nor P-256.", hint="Make another: gate keys new … --alg ES256"
        ) from None
    token.check_mechanism(session, _SIGN[key.alg], f"sign with {key.alg}")
    if not hasattr(private, "sign"):
        raise SignerError(f"{token.uri.key} is not allowed to sign (CKA_SIGN).", hint="Make another: gate keys new …")
    return _Pair(private, key)


def _read(library: Any, public: Any) -> PublicKey:
    if public[library.Attribute.KEY_TYPE] not in (library.KeyType.EC, library.KeyType.EC_EDWARDS):
        raise ValueError("not a key on an elliptic curve")
    return public_key(public[library.Attribute.EC_PARAMS], public[library.Attribute.EC_POINT])


def _object(token: Token, session: Any, kind: str) -> Any:
    found = _objects(token.uri, token.library, session, kind)
    if len(found) != 1:
        words = kind.lower().replace("_", " ")
        raise SignerError(
            f"{token.uri.place} holds {len(found) or 'no'} {words}{'s' * (len(found) > 1)} of that name.",
            expected=f"one private and one public key: {token.uri.key.removeprefix('The PKCS#11 key ')}",
            hint="Correct object=… or id=… in the URI; gate keys new makes a pair.",
        )
    return found[0]


def _objects(uri: KeyUri, library: Any, session: Any, kind: str) -> list[Any]:
    named = {library.Attribute.CLASS: library.ObjectClass[kind]}
    if uri.label:
        named[library.Attribute.LABEL] = uri.label
    if uri.id:
        named[library.Attribute.ID] = uri.id
    return list(session.get_objects(named))


def _generate(token: Token, session: Any, alg: Algorithm) -> None:
    library, uri = token.library, token.uri
    if any(_objects(uri, library, session, kind) for kind in ("PRIVATE_KEY", "PUBLIC_KEY")):
        raise SignerError(f"{uri.key} is there already, and is left as it is.", hint="Choose another name.")
    key_type, mechanism = _GENERATE[alg]
    token.check_mechanism(session, mechanism, f"make an {alg} key")
    attribute, flag = library.Attribute, library.MechanismFlag
    curve = session.create_domain_parameters(library.KeyType[key_type], {attribute.EC_PARAMS: CURVES[alg]}, local=True)
    curve.generate_keypair(
        id=uri.id or token_bytes(16),
        label=uri.label,
        store=True,
        capabilities=flag.SIGN | flag.VERIFY,
        private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
    )
