"""Where signers keep their keys, and how tests make some there."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gate.keys import Algorithm
from gate.signers import Signer, open_signer
from tests.parts import Aws

SPECS: dict[str, str] = {"Ed25519": "ECC_NIST_EDWARDS25519", "ES256": "ECC_NIST_P256"}


_MODULES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
]


def softhsm_module() -> Path | None:
    """Where SoftHSM lies, None if this machine lacks it or the command that sets it up."""
    found = next((Path(path) for path in _MODULES if Path(path).exists()), None)
    return found if shutil.which("softhsm2-util") else None


class Place(NamedTuple):
    """A key's URI, and what is needed beside it."""

    uri: str
    base: Path | None = None
    pin: Callable[[], str] | None = None
    alg: Algorithm = "Ed25519"

    def open(self) -> Signer:
        """A new signer of this key."""
        return open_signer(self.uri, self.base, self.pin)


class KmsKeys(NamedTuple):
    """A KMS."""

    aws: Aws

    def uri(self, name: str, endpoint: str = "") -> str:
        """The URI of the key that KMS calls `name`."""
        return f"awskms:///{name}?region={self.aws.region}&endpoint={endpoint or self.aws.endpoint}"

    def new(self, alg: str, usage: str = "SIGN_VERIFY") -> dict[str, Any]:
        """A new key (KMS calls this its metadata); `alg` may also be a key spec."""
        made = self.aws.client("kms").create_key(KeySpec=SPECS.get(alg, alg), KeyUsage=usage)
        return dict(made["KeyMetadata"])

    def alias(self, key_id: str) -> str:
        """A new alias of a key."""
        name = f"alias/{secrets.token_hex(6)}"
        self.aws.client("kms").create_alias(AliasName=name, TargetKeyId=key_id)
        return name


class Hsm:
    """A SoftHSM whose state lies in `folder`."""

    pin = "crypto_user:s3cret pass"  # shaped as CloudHSM's are

    def __init__(self, module: Path, folder: Path) -> None:
        self.module = module
        self.folder = folder
        (folder / "tokens").mkdir()
        self.configuration = self.configured("softhsm2.conf")

    def configured(self, name: str, *more: str) -> Path:
        """Another configuration over the same tokens."""
        lines = [f"directories.tokendir = {self.folder / 'tokens'}", "objectstore.backend = file", "log.level = ERROR"]
        path = self.folder / name
        path.write_text("\n".join([*lines, *more, ""]))
        return path

    def add_token(self, label: str) -> None:
        """Another token; there may be several of one label."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "securityofficer"]
        environment = os.environ | {"SOFTHSM2_CONF": str(self.configuration)}
        subprocess.run([*command, "--pin", self.pin], env=environment, check=True, capture_output=True)

    def uri(self, label: str, token: str = "gate", **options: str) -> str:
        """The URI of a key."""
        more = "".join(f"&{name.replace('_', '-')}={value}" for name, value in options.items())
        return f"pkcs11:token={token};object={label}?module-path={self.module}{more}"

    def place(self, token: str = "gate") -> Place:
        """A place for a key that is not made yet."""
        return Place(self.uri(f"key-{secrets.token_hex(6)}", token), pin=lambda: self.pin)

    def library(self) -> Any:
        """python-pkcs11's handle of the module: what happens through it, happens behind the signer's back."""
        import pkcs11

        return pkcs11.lib(str(self.module))

    def session(self, token: str = "gate", **options: Any) -> Any:
        """A session of one's own that may write."""
        import pkcs11

        (found,) = [found for found in self.library().get_tokens() if found.label == token]
        try:
            return found.open(rw=True, user_pin=self.pin, **options)
        except pkcs11.UserAlreadyLoggedIn:
            return found.open(rw=True, **options)
