"""The URIs that name everything outside the process (docs/reference.md, "URIs")."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from gate.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")  # RFC 3986 §3.1
_LONGEST = 4096  # characters: the longest path, and more than any other URI needs
_PATHS = {"file", "sqlite"}  # the schemes whose URI is a path
_OVER_TLS = {"awskms", "dynamodb", "gcpkms", "rediss", "s3"}
# Every option that a URI of any scheme may have, and whether its value is a path; tests look for one that is missing.
_OPTIONS = {
    "ca": True,
    "module-path": True,
    "password_file": True,
    "pin-source": True,
    "endpoint": False,
    "owner": False,
    "region": False,
    "retention_days": False,
    "unsafe_may_forget": False,
}
_BINARY = re.compile(r"pkcs11:", re.IGNORECASE)  # its id is bytes, percent-encoded (RFC 7512 §2.3)


class Uri(NamedTuple):
    """A parsed URI. `rest` is all between the scheme and the query, undecoded, with its slashes."""

    text: str
    scheme: str
    rest: str
    query: dict[str, str]

    def path(self, base: Path | None) -> Path:
        """The path of a `file:` or `sqlite:` URI: absolute after `///`, otherwise relative to `base`.

        `base` is the policy file's folder, or None where the policy has none (it came from S3).

        Raises:
            UsageError: it names a host, or no path, or is relative and there is no base.
        """
        if self.query:
            raise UsageError(f"{self.text}: a path takes no ?options", hint=f"Write {self.scheme}:{self.rest}")
        if self.rest.startswith("//") and not self.rest.startswith("///"):
            raise UsageError(
                f"{self.text}: a path names no host",
                hint=f"Write {self.scheme}:///absolute/path, or {self.scheme}:path beside the policy.",
            )
        path = Path(unquote(self.rest[2:] if self.rest.startswith("///") else self.rest))
        if not path.name:
            raise UsageError(f"{self.text}: names no path", hint=f"Write {self.scheme}:///absolute/path.")
        if path.is_absolute():
            return path
        if base is None:
            raise UsageError(
                f"{self.text}: is relative, but the policy does not lie in a folder",
                hint=f"Write {self.scheme}:///absolute/path.",
            )
        return base / path

    def option_path(self, option: str, base: Path | None) -> Path | None:
        """The path that an option names, relative to `base` where there is one; None where the option is not there.

        Raises:
            UsageError: it names none, or is relative and there is no base.
        """
        if option not in self.query:
            return None
        value = self.query[option]
        path = Path(value.removeprefix("file:") if option == "pin-source" else value)  # which is a URI (RFC 7512 §2.4)
        if not path.name or (base is None and not path.is_absolute()):
            raise UsageError(f"{self.scheme}: {option} is no absolute path", hint=f"Write {option}=/absolute/path.")
        return path if base is None else base / path

    def believing(self, authorities: Path | None, base: Path | None) -> "Uri":
        """This URI with the file of the CAs by which its server is believed, as `ca`: its own, which may be relative to
        `base`, else `authorities`. One that speaks no TLS stays as it is.

        Raises:
            UsageError: its own is none, or is relative and there is no base.
        """
        named = self.option_path("ca", base) or authorities if self.scheme in _OVER_TLS else None
        return self._replace(query={**self.query, "ca": str(named)}) if named else self

    def paths(self, base: Path | None) -> Iterator[Path]:
        """Every path that the URI names, itself or by an option; relative ones start at `base`.

        Raises:
            UsageError: one is none, or is relative and there is no base.
        """
        if self.scheme in _PATHS:
            yield self.path(base)
        for option in self.query:
            if _OPTIONS.get(option, True) and (path := self.option_path(option, base)):
                yield path

    def location(self, what: str) -> tuple[str, str]:
        """`(host, path)` of a `scheme://HOST/PATH` URI, `what` being the word for HOST in the error.

        Raises:
            UsageError: there is no `//`, or no host.
        """
        host, _, path = self.rest.removeprefix("//").partition("/")
        if not self.rest.startswith("//") or not host:
            raise UsageError(f"{self.text}: names no {what}", hint=f"Write {self.scheme}://{what.upper()}…")
        return host, unquote(path)

    def only(self, *names: str) -> None:
        """Check that the query has no option but `names`.

        Raises:
            UsageError: it has.
        """
        unknown = sorted(self.query.keys() - set(names))
        if unknown:
            raise UsageError(
                f"{self.text}: unknown option {unknown[0]!r}", hint=f"Known options: {', '.join(names) or 'none'}."
            )


def parse_uri(text: str) -> Uri:
    """Take a URI apart.

    Raises:
        UsageError: it is too long, has no scheme, a fragment, the same option twice, or what does not print, however
            it is encoded (in a `pkcs11:` URI, as it stands).
    """
    if len(text) > _LONGEST:
        raise UsageError(f"a URI has at most {_LONGEST} characters", actual=f"{text[:100]!a} and more")
    if not (text if _BINARY.match(text) else unquote(text)).isprintable() or " " in text:
        raise UsageError("a URI holds only printable characters, and no spaces", actual=ascii(text))
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme) or "#" in text:
        raise UsageError(f"{text}: not a URI", hint="Write it as scheme:path, e.g. file:audit or sqlite:replay.db.")
    rest, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(dict(pairs)) != len(pairs):
        raise UsageError(f"{scheme}:{rest}: has the same option twice")
    return Uri(text, scheme.lower(), rest, dict(pairs))
