"""How people sign in: the section `sign_in` of `bot.yaml`."""

import re
from pathlib import Path

from gate.bot.clientsettings import SignInSettings
from gate.bot.jobsettings import issuer_url
from gate.bot.secret import secret
from gate.fields import Fields, bad, list_of, word
from gate.http import is_safe
from gate.strictyaml import Node
from gate.text import printable

_DOMAIN = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_LONGEST_NAME = 60


def read_sign_in(node: Node, base: Path | None) -> tuple[SignInSettings, ...]:
    """The section `sign_in`; paths of secrets are relative to `base`.

    Raises:
        PolicyError: something in it is unknown, missing, there twice or unusable; names the line.
    """
    ways: dict[str, SignInSettings] = {}
    for item in node.items or ():
        way = _way(item, base)
        if way.name in ways:
            raise bad(item, f"two ways to sign in are called {printable(way.name, 60)}.")
        if way.kind == "github" and any(other.kind == "github" for other in ways.values()):
            raise bad(
                item, "one GitHub at most: a login there may be another's elsewhere, and the policy has just one."
            )
        ways[way.name] = way
    if not ways:
        raise bad(node, "sign_in must be a list of at least one way to sign in.")
    return tuple(ways.values())


def _way(node: Node, base: Path | None) -> SignInSettings:
    fields = Fields(node, "this way to sign in")
    name = fields.required("name", _name)
    issuer = fields.optional("issuer", issuer_url, "")
    github = fields.optional("github", _github, "")
    client_id = fields.required("client_id", word)
    client_secret = fields.required("client_secret", lambda at: secret(at, base))
    none: list[str] = []
    domains = fields.optional("domains", list_of(_domain), none)
    fields.done()
    if bool(issuer) == bool(github):
        raise bad(node, "a way to sign in has either an issuer (OIDC) or github.")
    if github and domains:
        raise bad(node, "domains are for e-mail addresses; GitHub's people are told by their logins.")
    return SignInSettings(
        name, "github" if github else "oidc", issuer or github, client_id, client_secret, frozenset(domains)
    )


def _name(node: Node) -> str:
    name = word(node)
    if len(name) > _LONGEST_NAME:
        raise bad(node, f"a name has at most {_LONGEST_NAME} characters: it is what stands on the button.")
    return name


def _github(node: Node) -> str:
    url = word(node).removesuffix("/")
    if not is_safe(url) or url.count("/") != 2:
        raise bad(node, "this must be https://github.com, or https://HOST of a GitHub Enterprise Server.")
    return url.lower()


def _domain(node: Node) -> str:
    domain = word(node).lower()
    if not _DOMAIN.fullmatch(domain):
        raise bad(node, "this must be the domain of e-mail addresses, such as example.com.")
    return domain
