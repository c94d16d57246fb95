"""HTTP to where nobody is trusted: bounded in bytes and time, without redirects, and without a .netrc."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

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
    what the other side did instead."""

    status: int
    headers: dict[str, str]
    body: bytes
    trouble: str = ""


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


@contextmanager
def connect() -> "Iterator[Session]":
    """A session of `requests` that keeps its connections open and follows no redirect.

    Proxies and certificate authorities are those that the environment gives to `requests`. Pass an `auth`, `bearer` or
    `nobody`, with each request: `requests` would otherwise look into .netrc, and prefer what it finds.
    """
    import requests  # noqa: PLC0415 (paid for when used)

    class Closed(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """Redirects are ours: requests would parse the target, and read the body whole, even unfollowed."""

    with Closed() as session:
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
    return Answer(0, {}, b"", trouble(error))


def trouble(error: OSError) -> str:
    """What the other side did instead of answering, as a sentence ends: the words of `requests` have URLs in them."""
    from requests import exceptions  # noqa: PLC0415 (paid for when used)

    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "shows a certificate that is not trusted here"
    if isinstance(error, exceptions.SSLError):
        return "does not speak TLS as it must"
    if isinstance(error, exceptions.ProxyError):
        return "can't be reached through the proxy"
    if isinstance(error, (exceptions.Timeout, TimeoutError)):
        return "took too long to answer"
    return "can't be reached"
