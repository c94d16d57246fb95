"""Enrolling a passkey: the browser makes it, a signed-in engineer's page shows its public part, and it counts once that
is merged into the policy (WebAuthn Level 3, section 7.1, by py_webauthn)."""

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gate.bot.errors import Conflict, NotAllowed, Unavailable
from gate.bot.keyring import Keyring
from gate.bot.sessions import Visitor
from gate.bot.state import State
from gate.keys import base64url
from gate.passkey import Credential, RelyingParty

_LIFE = 300  # seconds to make one
_ALGORITHMS = (-7, -8, -257)  # ES256, Ed25519, RS256: what gate.passkey verifies


class Enrolled(NamedTuple):
    """The public part of a passkey."""

    credential: Credential

    @property
    def id(self) -> str:
        """The credential id, in base64url."""
        return base64url(self.credential.id)

    @property
    def public_key(self) -> str:
        """The public key, in base64."""
        return base64.b64encode(self.credential.spki).decode("ascii")

    def policy_entry(self, person: str) -> str:
        """What belongs into the policy."""
        entry = f"      - id: {self.id}\n        public_key: {self.public_key}\n"
        return f"people:\n  {person}:\n    passkeys:\n{entry}"


class Enrolment:
    """Enrols passkeys, each begun and finished in one session."""

    def __init__(self, state: State, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._state = state
        self._keyring = keyring
        self._clock = clock

    def begin(self, visitor: Visitor, party: RelyingParty, known: Sequence[Credential]) -> dict[str, Any]:
        """The options for `navigator.credentials.create`; authenticators that hold one of `known` make no other."""
        import webauthn  # noqa: PLC0415 (paid for when used)
        from webauthn.helpers import structs  # noqa: PLC0415
        from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415

        challenge, now = secrets.token_bytes(32), int(self._clock())
        slot = self._slot(visitor)
        before = self._state.get("enrolment", slot, now)
        written = self._state.put(
            "enrolment",
            slot,
            {"challenge": base64url(challenge)},
            expires_at=now + _LIFE,
            expected=before.version if before else 0,
            now=now,
        )
        if written is None:
            raise Unavailable("The passkey could not be begun.", hint="Try again.")
        options = webauthn.generate_registration_options(
            rp_id=party.rp_id,
            rp_name="Deploy Gate",
            user_name=visitor.person,
            user_id=self._keyring.derive("user", visitor.person).encode(),
            user_display_name=visitor.person,
            challenge=challenge,
            timeout=_LIFE * 1000,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.PREFERRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=credential.id) for credential in known],
            supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in _ALGORITHMS],
        )
        return dict(json.loads(webauthn.options_to_json(options)))

    def finish(self, visitor: Visitor, party: RelyingParty, answer: str) -> Enrolled:
        """The passkey that the browser made.

        Raises:
            Conflict: it was begun too long ago, or in another tab.
            NotAllowed: it is not one that the gate could verify.
        """
        import webauthn  # noqa: PLC0415 (paid for when used)
        from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415
        from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415

        document = self._state.take("enrolment", self._slot(visitor), int(self._clock()))
        if document is None:
            raise Conflict("This passkey was begun too long ago, or in another tab.", hint="Begin again.")
        try:
            verified = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=base64url_to_bytes(document.value["challenge"]),
                expected_rp_id=party.rp_id,
                expected_origin=party.origin,
                require_user_verification=True,
                supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in _ALGORITHMS],
            )
            return Enrolled(Credential(verified.credential_id, _spki(verified.credential_public_key)))
        except Exception as error:  # noqa: BLE001 (whatever a browser sends must not end in a bug's page)
            raise NotAllowed(
                "The browser's answer is not a passkey that this bot can use.",
                hint="It must be made here, for you, and ask for your finger, face or PIN. Try again.",
                actual=type(error).__name__,
            ) from None

    def _slot(self, visitor: Visitor) -> str:
        return self._keyring.derive("enrolment", visitor.session)


def _spki(cose_key: bytes) -> bytes:
    """The key as the policy writes keys (RFC 5280 SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415
    from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography  # noqa: PLC0415

    key = decoded_public_key_to_cryptography(decode_credential_public_key(cose_key))
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
