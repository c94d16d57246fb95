"""Which GitHub: where people read it, where its API is, and who vouches for its jobs.

github.com and the tenants of ghe.com have a host for each; GitHub Enterprise Server has one host, with paths
(docs.github.com, "Getting started with the REST API" and "OpenID Connect reference").
"""

import re
from urllib.parse import urlsplit

from gate.identity import namespace_of

GITHUB_COM = "https://github.com"
_ISSUER = "https://token.actions.githubusercontent.com"
_TENANTS_ISSUER = re.compile(r"https://token\.actions\.([a-z0-9-]+\.ghe\.com)")
_SERVERS_API, _SERVERS_ISSUER = "/api/v3", "/_services/token"  # below the server's own URL


def of_api(api_url: str) -> str:
    """The URL at which people read what this API serves."""
    parts = urlsplit(api_url)
    host = parts.hostname or ""
    if _has_hosts(host.removeprefix("api.")):
        return f"https://{host.removeprefix('api.')}"
    place = parts.netloc.lower()
    return f"{parts.scheme}://{place.removesuffix(':443') if parts.scheme == 'https' else place}"


def of_issuer(issuer: str) -> str:
    """The URL at which people read what this issuer vouches for; an enterprise may have a path of its own at
    github.com's. "" where that can't be told."""
    if issuer == _ISSUER or issuer.startswith(f"{_ISSUER}/"):
        return GITHUB_COM
    if issuer.startswith("https://") and issuer.endswith(_SERVERS_ISSUER):
        return issuer.removesuffix(_SERVERS_ISSUER)
    tenant = _TENANTS_ISSUER.fullmatch(issuer)
    return f"https://{tenant[1]}" if tenant else ""


def namespace(issuer: str) -> str:
    """What the logins are prefixed with that this issuer vouches for (gate.identity)."""
    return namespace_of(urlsplit(of_issuer(issuer) or issuer).hostname or "")


def api_of(url: str) -> str:
    """The URL of the REST API of the GitHub that people read at `url`."""
    host = url.removeprefix("https://")
    return f"https://api.{host}" if _has_hosts(host) else f"{url}{_SERVERS_API}"


def _has_hosts(host: str) -> bool:
    return host == "github.com" or host.endswith(".ghe.com")
