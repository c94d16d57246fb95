"""The `pkcs11:` URI (RFC 7512), as far as it finds one key of one token.

No complaint about one repeats more of it than the names of attributes: a PIN that stands in it by mistake is not to
reach any log.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gate.errors import UsageError
from gate.text import printable
from gate.uris import Uri

_TOKEN = ("token", "serial", "manufacturer", "model")
_PATH = (*_TOKEN, "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_EXAMPLE = "pkcs11:token=gate;object=deploy-key?module-path=/usr/lib/softhsm/libsofthsm2.so"


class KeyUri(NamedTuple):
    """What a URI says: the module, the attributes its token must have, and the key's label and id.

    `label` is "" and `id` empty where the URI has none, never both. `pin_file`, where there is one, may be relative.
    """

    module: Path
    token: dict[str, str]
    label: str
    id: bytes
    pin_file: Path | None

    @property
    def key(self) -> str:
        """What messages call the key."""
        return f"The PKCS#11 key {printable(self.label, 100) or self.id.hex()[:64]}"

    @property
    def place(self) -> str:
        """What messages call the token."""
        return f"The PKCS#11 token {printable(', '.join(self.token.values()), 100)}"


def parse_key_uri(uri: Uri) -> KeyUri:
    """Read a `pkcs11:` URI, strictly.

    Raises:
        UsageError: it has an attribute that is not of use here, or one twice, or one that can't be decoded; or it
            lacks the module, the token or the key.
    """
    path, _, query = uri.text.partition(":")[2].partition("?")
    named = _attributes(path.split(";"), _PATH)
    options = {name: _text(name, value) for name, value in _attributes(query.split("&"), _QUERY).items()}
    key_id = named.pop("id", b"")
    found = {name: _text(name, value) for name, value in named.items()}
    if found.pop("type", "private") != "private":
        raise UsageError("pkcs11: type is not private, and only a private key signs", hint="Leave type out.")
    label = found.pop("object", "")
    if not found or not (label or key_id):
        raise UsageError("pkcs11: names no token, or no key", hint=f"Write e.g. {_EXAMPLE}")
    return KeyUri(_module(options), found, label, key_id, _pin_file(options))


def _attributes(parts: Sequence[str], known: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in parts if parts != [""] else ():
        name, _, value = part.partition("=")
        if name not in known:
            raise UsageError(
                f"pkcs11: {_safe(name)} is no attribute that is of use here", hint=f"Known here: {', '.join(known)}."
            )
        if name in found:
            raise UsageError(f"pkcs11: {name} is there twice")
        found[name] = _bytes(name, value)
    return found


def _safe(name: str) -> str:
    """The name of an attribute; where it is not shaped like one, it could be anything."""
    return repr(name) if re.fullmatch(r"[a-z-]{1,32}", name) else "a part of it"


def _bytes(name: str, value: str) -> bytes:
    if not value or not value.isascii() or re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise UsageError(
            f"pkcs11: {name} is empty, or not percent-encoded as it must be", hint="Write %20 for a space, %01 for 01."
        )
    return unquote_to_bytes(value)


def _text(name: str, value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    if not text.isprintable() or "\ufffd" in text:
        raise UsageError(f"pkcs11: {name} is not printable text in UTF-8")
    return text


def _module(options: dict[str, str]) -> Path:
    module = Path(options.get("module-path", ""))
    if not module.is_absolute():
        raise UsageError(
            "pkcs11: names no module by its absolute path",
            hint="Add ?module-path=/usr/lib/softhsm/libsofthsm2.so, or where your HSM's library is (docs/keys.md).",
        )
    return module


def _pin_file(options: dict[str, str]) -> Path | None:
    if "pin-source" not in options:
        return None
    matched = re.fullmatch(r"file:(?://(?=/))?(?!//)(.+)", options["pin-source"])
    if not matched:
        raise UsageError(
            "pkcs11: pin-source is not a file: URI", hint="Write pin-source=file:/path/to/a/file/of/mode/0600"
        )
    return Path(matched[1])
