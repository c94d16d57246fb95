"""HTTP to where nobody is trusted: bounded in bytes and time, without redirects, and without a .netrc."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from gate.authorities import distrust
from gate.uris import LOOPBACK

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

    Authorize = Callable[[PreparedRequest], PreparedRequest]

_CHUNK = 1 << 16
_MOST_TOKEN = 16 << 10  # characters; GitHub's OIDC tokens have some 2,000


class TooLarge(Exception):
    """The answer is longer than the caller reads."""


class Answer(NamedTuple):
    """A whole answer; the names of its headers are in lower case. Where none came the status is 0, and `trouble` says
    what the other side did instead; `untrusted` that its certificate is not believed, which no other try would change.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    trouble: str = ""
    untrusted: bool = False


def is_safe(url: str, *, query: bool = False) -> bool:
    """True for an absolute URL that secrets may be sent to: https, or http on this machine; without user or fragment,
    and without a query unless that is allowed."""
    try:
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in LOOPBACK
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set("@# \\" if query else "@?# \\")
    return (local or parts.scheme == "https") and whole and plain


def is_token(text: str) -> bool:
    """True if `text` can be a bearer token: visible ASCII, of bearable length."""
    return 0 < len(text) <= _MOST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def open_session(ca: Path | None = None) -> "Session":
    """A session of `requests` that keeps its connections open and follows no redirect.

    Servers are believed by the CAs in the file `ca` alone; without it by those that the environment gives to
    `requests`, as are the proxies. Pass an `auth`, `bearer` or `nobody`, with each request: `requests` would otherwise
    look into .netrc, and prefer what it finds.
    """
    import requests  # noqa: PLC0415 (paid for when used)

    class Closed(requests.Session):
        def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
            """Variables would otherwise go before the session's own CAs."""
            settings = super().merge_environment_settings(*args, **kwargs)
            return settings | {"verify": str(ca)} if ca else settings

        def get_redirect_target(self, resp: requests.Response) -> None:
            """Redirects are ours: requests would parse the target, and read the body whole, even unfollowed."""

    return Closed()


@contextmanager
def connect(ca: Path | None = None) -> "Iterator[Session]":
    """The same for as long as the block takes."""
    with open_session(ca) as session:
        yield session


def nobody(request: "PreparedRequest") -> "PreparedRequest":
    """An `auth` that adds nothing."""
    return request


def bearer(token: str) -> "Authorize":
    """An `auth` that shows this token (RFC 6750 §2.1)."""

    def authorize(request: "PreparedRequest") -> "PreparedRequest":
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return authorize


def read(response: "Response", limit: int) -> Answer:
    """The answer that a streamed response begins, of at most `limit` bytes, decompressed.

    Raises:
        TooLarge: it is longer.
        OSError: it breaks off; every error of requests is one.
    """
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


def unanswered(error: OSError) -> Answer:
    """The answer where there is none but this error of `requests`."""
    return Answer(0, {}, b"", trouble(error), untrusted=bool(distrust(error)))


def trouble(error: OSError) -> str:
    """What the other side did instead of answering, as a sentence ends: the words of `requests` have URLs in them."""
    from requests import exceptions  # noqa: PLC0415 (paid for when used)

    if certificate := distrust(error):
        return certificate
    if isinstance(error, exceptions.SSLError):
        return "does not speak TLS as it must"
    if isinstance(error, exceptions.ProxyError):
        return "can't be reached through the proxy"
    if isinstance(error, (exceptions.Timeout, TimeoutError)):
        return "took too long to answer"
    return "can't be reached"
