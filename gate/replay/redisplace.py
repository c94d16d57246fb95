"""Where a Redis server is, and how to be let in: what a `redis://` URI says."""

import os
import re
import ssl
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gate.errors import ReplayUnavailable, UsageError
from gate.uris import LOOPBACK, Uri

_MAX_BYTES = 4096
_SHAPE = "HOST[:PORT][/DB]"


class Place(NamedTuple):
    """A server and a database on it. With `tls` it has to prove its name, by `ca` (PEM) or by the system's own CAs.

    `may_forget` accepts a server that evicts keys, or keeps them nowhere but in memory.
    """

    host: str
    port: int
    db: int
    tls: bool
    user: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    may_forget: bool = False

    @property
    def name(self) -> str:
        """What it is called in messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"replay store {'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @property
    def speaks_in_clear(self) -> bool:
        """True where the network could listen, or answer in its place."""
        return not self.tls and not self.is_local

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host in LOOPBACK

    def password(self) -> str | None:
        """The first line of the password file, None where there is none.

        Raises:
            ReplayUnavailable: it can't be read, or others than its owner can.
        """
        if self.password_file is None:
            return None
        try:
            with open(self.password_file, "rb", opener=_open_now) as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(_MAX_BYTES) if stat.S_ISREG(mode) and not mode & 0o077 else None
        except OSError as error:
            raise self._locked_out(f"can't be read ({error.strerror})", "Check password_file in its URI.") from None
        if text is None:
            raise self._locked_out("is no file that its owner alone may read", "Run chmod 600 on it.")
        try:
            return text.decode().partition("\n")[0].removesuffix("\r")
        except UnicodeDecodeError:
            raise self._locked_out("holds no text", "Write the password into its first line.") from None

    def tls_context(self) -> ssl.SSLContext | None:
        """What the server has to prove its name by, None without TLS.

        Raises:
            ReplayUnavailable: the CA's file is of no use.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            why = "not PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ReplayUnavailable(
                f"The CA file of the {self.name} can't be read ({why}).",
                hint="Check ca in its URI: a file of certificates in PEM.",
            ) from None

    def _locked_out(self, why: str, hint: str) -> ReplayUnavailable:
        return ReplayUnavailable(f"The password file of the {self.name} {why}.", hint=hint)


def parse_place(uri: Uri, base: Path | None) -> Place:
    """What `redis[s]://[USER@]HOST[:PORT][/DB][?password_file=PATH&ca=PATH&unsafe_may_forget=true]` says.

    Relative paths start at `base`.

    Raises:
        UsageError: it is none such.
    """
    tls = uri.scheme == "rediss"
    uri.only("password_file", "unsafe_may_forget", *(["ca"] if tls else []))
    uri.location("host")
    try:
        parts = urlsplit(f"//{uri.rest.removeprefix('//')}")
        host, port, path = parts.hostname, parts.port, parts.path
    except ValueError:
        host, port, path = None, None, ""
    if not host or port == 0 or not re.fullmatch(r"(/[0-9]{0,6})?", path):
        raise UsageError(f"{uri.text}: names no Redis server", hint=f"Write {uri.scheme}://{_SHAPE}")
    if uri.query.get("unsafe_may_forget", "true") != "true":
        raise UsageError(f"{uri.text}: unsafe_may_forget is true, or left out", hint="Leave it out.")
    return Place(
        host=host,
        port=port or 6379,
        db=int(path.removeprefix("/") or 0),
        tls=tls,
        user=unquote(parts.username or ""),
        password_file=uri.option_path("password_file", base),
        ca=uri.option_path("ca", base),
        may_forget="unsafe_may_forget" in uri.query,
    )


def _open_now(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a FIFO would wait for somebody to write to it
