"""A signer that has one of the tests' own keys."""

from gate.keys import PublicKey
from tests.core.mint import KEYS, sign, spki


class Memory:
    """Signs with the key of that algorithm, held in memory."""

    def __init__(self, alg: str) -> None:
        self._key = KEYS[alg]
        self.public_key = PublicKey(spki(self._key))

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`."""
        return sign(self._key, data)
