"""The bot as a client of those by whom people sign in."""

from typing import Literal, NamedTuple

from gate.bot.secret import Secret


class SignInSettings(NamedTuple):
    """One way to sign in. `url` is the OIDC issuer, or the GitHub that people have their accounts at.

    `domains` (in lower case) are those that an e-mail address must be in; empty where the provider's word is enough.
    """

    name: str
    kind: Literal["oidc", "github"]
    url: str
    client_id: str
    client_secret: Secret
    domains: frozenset[str] = frozenset()
