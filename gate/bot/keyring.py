"""Everything that the session key makes: ids that nobody can guess, secrets that need no storing, sealed cookies.

One key, the same on every bot; each use has a purpose of its own, so that no output of one is good for another.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from gate.errors import UsageError
from gate.keys import base64url

_LEAST = 32  # bytes
_SIGNER = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}


class Keyring:
    """Derives from `key`, at least 32 bytes.

    Raises:
        UsageError: the key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST:
            raise UsageError(
                "The session key is too short.",
                expected=f"at least {_LEAST} random bytes",
                actual=f"{len(key)} bytes",
                hint="Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'",
            )
        self._key = key

    def derive(self, purpose: str, *parts: str) -> str:
        """32 characters of base64url that only this key makes of `purpose` and `parts`."""
        return base64url(self._mac(purpose, *parts)[:24])

    def matches(self, given: str, purpose: str, *parts: str) -> bool:
        """Is `given` what `derive` makes of the rest? In constant time."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.derive(purpose, *parts).encode())

    def seal(self, purpose: str, value: Mapping[str, Any], *, until: int) -> str:
        """`value` as text that `unseal` reads until then (epoch seconds). Signed, not hidden."""
        return str(self._serializer(purpose).dumps({"until": until, "value": dict(value)}))

    def unseal(self, purpose: str, text: str, *, now: int) -> dict[str, Any] | None:
        """The value, None where `text` was not sealed for this purpose by this key, or is over at `now`. Another bot's
        clock may be ahead of this one's."""
        try:
            sealed = self._serializer(purpose).loads(text)
            value, until = sealed["value"], sealed["until"]
        except (BadData, UnicodeError, KeyError, TypeError):
            return None
        return value if isinstance(value, dict) and now < until else None

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=f"gate.bot {purpose}", signer_kwargs=_SIGNER)

    def _mac(self, *parts: str) -> bytes:
        # Each part with its length, so that no two lists of parts read the same.
        text = "".join(f"{len(part.encode())}:{part}," for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).digest()
