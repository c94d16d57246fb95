"""Whose certificates are believed: a file of certificate authorities, and what to say of a server that shows others."""

import re
from pathlib import Path

from gate.errors import UsageError
from gate.files import read_regular
from gate.text import printable

HINT = (
    "If a private authority issued it, name the file of that authority "
    '(docs/operations.md, "Proxies and private authorities"). '
    "Otherwise find out what answers in that server's place."
)
_MOST_BYTES = 4 << 20  # a system's own list has 0.2 MB
_REFUSED = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:\] certificate verify failed)?(?:: ([\w ,.:'-]{1,120}))?")


def distrust(error: object) -> str:
    """What a server does whose certificate is not believed, as a sentence ends; "" where `error` is another."""
    found = _REFUSED.search(str(error))
    if not found:
        return ""
    why = (found[1] or "").strip(" .")
    return "shows a certificate that is not trusted here" + (f" ({printable(why)})" if why else "")


def read_authorities(path: Path) -> bytes:
    """The certificates of a file of authorities, in PEM.

    Raises:
        UsageError: it can't be read, or holds none.
    """
    import ssl  # noqa: PLC0415 (paid for when used)

    try:
        data = read_regular(path, _MOST_BYTES)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (OSError, ValueError) as error:
        why = "not PEM" if isinstance(error, (ssl.SSLError, ValueError)) else error.strerror or "not a file"
        raise UsageError(
            f"The CA file {printable(str(path))} can't be read ({why}).", hint="It holds certificates, in PEM."
        ) from None
    return data
