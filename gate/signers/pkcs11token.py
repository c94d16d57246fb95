"""One PKCS#11 token: its module, its sessions, its login, and its errors in words."""

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from gate.errors import SignerError, UsageError
from gate.installation import install_command
from gate.signers import Pin
from gate.signers.pkcs11uri import KeyUri, parse_key_uri
from gate.signers.privatefile import read_private
from gate.text import printable
from gate.uris import Uri

_PIN = "Correct it before you try again: a few wrong ones lock the token. CloudHSM wants CU_user:password."
_GONE = "Look after the device, its client and the network; then try again."

# By the classes of the library's exceptions, which are the CKR_… codes of PKCS #11.
_TROUBLES = {
    "PinIncorrect": ("refuses the PIN", _PIN),
    "PinInvalid": ("refuses the PIN", _PIN),
    "PinLenRange": ("refuses the PIN", _PIN),
    "PinLocked": ("is locked, after too many wrong PINs", "Its security officer can unlock it, and set a new PIN."),
    "PinExpired": ("wants a new PIN before it works again", "Change the PIN with the token's own tool."),
    "UserPinNotInitialized": ("has no user PIN yet", "Its security officer sets one, with the token's own tool."),
    "TokenNotPresent": ("is not there any more", _GONE),
    "DeviceRemoved": ("is not there any more", _GONE),
    "DeviceMemory": ("is full", "Remove what is not needed from it, with the token's own tool."),
    "SessionCount": ("has no session to spare", "End what else uses it, or raise its limit."),
    "MechanismInvalid": ("can't do what this key needs", "Use an ES256 key: gate keys new … --alg ES256"),
    "TokenWriteProtected": ("can't be written to", "Make the key with the token's own tool."),
    "TemplateInconsistent": ("makes no such keys", "Make the key with the token's own tool (docs/keys.md)."),
    "SessionReadOnly": ("can't be written to", "Make the key with the token's own tool."),
    "UserNotLoggedIn": ("wants another login than its user's", "Check which user the PIN belongs to."),
}


class Token:
    """The token that a URI names. Each session logs in with a PIN that `pin` gives at that moment."""

    def __init__(self, uri: KeyUri, pin: Pin) -> None:
        """Load the library.

        Raises:
            UsageError: python-pkcs11 is not installed.
        """
        self.uri = uri
        self._pin = pin
        self._refused = False
        try:
            self.library: Any = import_module("pkcs11")
        except ImportError:
            raise UsageError("pkcs11: needs the library python-pkcs11", hint=install_command("pkcs11")) from None

    def session(self, *, rw: bool = False) -> Any:
        """A new session, logged in as the token's user; `rw`: one that may write.

        Raises:
            SignerError: there is no such module or token, or it refuses the PIN. A PIN that was refused is never
                tried again by this object, since tokens lock themselves after a few.
        """
        try:
            return self._login(self._find(), rw)
        except self.library.PKCS11Error as error:
            self.fail(error)

    def check_mechanism(self, session: Any, name: str, what: str) -> None:
        """Check that the token has the mechanism `name`; `what` is what it is needed for, e.g. "sign with Ed25519".

        Raises:
            SignerError: it has not.
        """
        if self.library.Mechanism[name] not in session.token.slot.get_mechanisms():
            raise SignerError(
                f"{self.uri.place} can't {what}: it has no mechanism CKM_{name}.",
                hint="Use an ES256 key: gate keys new … --alg ES256",
            )

    def fail(self, error: Exception) -> NoReturn:
        """Raise the SignerError that puts an exception of the library into words."""
        name = type(error).__name__
        message, hint = _TROUBLES.get(name, ("failed", _GONE))
        raise SignerError(f"{self.uri.place} {message} ({name}).", hint=hint) from None

    def _login(self, token: Any, rw: bool) -> Any:  # noqa: FBT001 (private)
        if self._refused:
            raise SignerError(f"{self.uri.place} refused the PIN before, and is not asked again.", hint=_PIN)
        pin = self._pin()
        try:
            return token.open(rw=rw, user_pin=pin)
        except self.library.UserAlreadyLoggedIn:  # another signer of this process was: a login is for all its sessions
            return token.open(rw=rw)
        except self.library.PKCS11Error as error:
            self._refused = type(error).__name__.startswith("Pin")
            raise

    def _find(self) -> Any:
        found = [token for token in self._tokens() if self._fits(token)]
        if len(found) != 1:
            raise SignerError(
                f"{self.uri.place} is not there." if not found else f"{self.uri.place} is there {len(found)} times.",
                expected="exactly one token",
                actual=printable(", ".join(token.label or "(no label)" for token in self._tokens()) or "no token"),
                hint="Correct the attributes of the URI; serial=… tells two of the same label apart.",
            )
        return found[0]

    def _fits(self, token: Any) -> bool:
        is_ = {
            "token": token.label,
            "serial": token.serial.decode("utf-8", "replace"),
            "manufacturer": token.manufacturer_id,
            "model": token.model,
        }
        return all(is_[name] == value for name, value in self.uri.token.items())

    def _tokens(self) -> list[Any]:
        tokens = []
        for slot in self._slots():
            with suppress(self.library.TokenNotPresent, self.library.TokenNotRecognised):
                tokens.append(slot.get_token())
        return tokens

    def _slots(self) -> list[Any]:
        module = self._module(self.uri.module)
        try:
            slots: list[Any] = module.get_slots(token_present=True)
        except self.library.PKCS11Error:  # it was restarted, or this process is a fork of the one that started it
            with suppress(self.library.PKCS11Error):
                module.finalize()
            module.initialize()
            slots = module.get_slots(token_present=True)
        return slots

    def _module(self, path: Path) -> Any:
        if not path.is_file():
            raise SignerError(
                f"{printable(str(path))}: there is no such PKCS#11 module.",
                hint="Install the HSM's client library, or correct module-path in the URI.",
            )
        try:
            return self.library.lib(str(path))
        except self.library.PKCS11Error:
            raise SignerError(
                f"{printable(str(path))}: can't be loaded as a PKCS#11 module, or does not start.",
                hint="Check that it is the HSM's PKCS#11 library, for this machine, and that its configuration is set.",
            ) from None


def open_token(uri: Uri, base: Path | None, pin: Pin | None) -> Token:
    """The token of a `pkcs11:` URI. Its PIN comes from the URI's `pin-source`, otherwise from `pin`.

    Raises:
        UsageError: the URI does not name a module, a token and a key; or python-pkcs11 is not installed.
    """
    key = parse_key_uri(uri)

    def ask() -> str:
        given = _read_pin(key.pin_file, base) if key.pin_file else pin() if pin else ""
        if not given:
            raise SignerError(
                f"{key.place} needs a PIN.", hint="Set GATE_PKCS11_PIN, or add pin-source=file:/path to the URI."
            )
        return given

    return Token(key, ask)


def _read_pin(path: Path, base: Path | None) -> str:
    if not path.is_absolute() and base is None:
        raise UsageError("pkcs11: pin-source is relative, but the policy does not lie in a folder")
    data = read_private(
        (base or Path()) / path,
        "PIN",
        otherwise="change the PIN",
        missing="Write the PIN into it, or set GATE_PKCS11_PIN and take pin-source out of the URI.",
    )
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SignerError(f"{path}: holds no PIN in UTF-8.", hint="Write the PIN into it, and nothing else.") from None
