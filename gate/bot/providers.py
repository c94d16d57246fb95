"""Where people sign in: an OIDC provider found by discovery, or GitHub's OAuth. Nothing of a sign-in is kept here.

OpenID Connect Core 1.0 §3.1; RFC 7636 (PKCE); RFC 9207 and RFC 9700 §4.4 (providers that are mixed up).
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from gate.bot import githubhost
from gate.bot.clientsettings import SignInSettings
from gate.bot.discovery import Issuer, Metadata
from gate.bot.errors import NotProved
from gate.bot.fetch import get_object, unavailable
from gate.bot.oauth import AGAIN, SECONDS, Client, Started, is_same, is_same_host, other_provider
from gate.bot.signedin import SignedIn
from gate.http import bearer
from gate.identity import named, namespace_of
from gate.models import Identity
from gate.text import printable

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_LOGIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NOREPLY = "@users.noreply.github.com"


class Provider(Protocol):
    """One way to sign in."""

    name: str

    def start(self, redirect_uri: str) -> Started:
        """Begin. `redirect_uri` should belong to this provider alone.

        Raises:
            Unavailable: the provider does not answer as it must.
            UsageError: the client's secret is not there.
        """
        ...

    def finish(self, redirect_uri: str, flow: Mapping[str, str], query: Mapping[str, str]) -> SignedIn:
        """Who it is that comes back with this query.

        Raises:
            NotProved: the provider refused, or what comes back does not belong to `flow`, or proves nobody.
            Unavailable: the provider does not answer as it must.
            UsageError: the client's secret is not there.
        """
        ...


def open_provider(settings: SignInSettings) -> Provider:
    """The provider that these settings mean. Nothing is fetched yet."""
    return GitHubProvider(settings) if settings.kind == "github" else OidcProvider(settings)


class OidcProvider:
    """A provider with a discovery document."""

    def __init__(self, settings: SignInSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._issuer = Issuer(settings.url)

    def start(self, redirect_uri: str) -> Started:
        """See `Provider`."""
        metadata = self._metadata()
        return self._client(metadata).start(metadata.authorization, redirect_uri)

    def finish(self, redirect_uri: str, flow: Mapping[str, str], query: Mapping[str, str]) -> SignedIn:
        """See `Provider`."""
        metadata = self._metadata()
        says_iss = metadata.members.get("authorization_response_iss_parameter_supported") is True
        if (says_iss or "iss" in query) and query.get("iss") != self._issuer.url:
            raise other_provider(self._issuer.url, query.get("iss", "none"))
        answer = self._client(metadata).finish(metadata.token, redirect_uri, flow, query)
        if not isinstance(answer.get("id_token"), str):
            raise unavailable(self.name, "gives no id_token")
        claims = self._issuer.verify(answer["id_token"], audience=self._settings.client_id)
        self._check(claims, flow["nonce"])
        return self._person(self._with_email(claims, metadata, answer.get("access_token")))

    def _metadata(self) -> Metadata:
        metadata = self._issuer.metadata()
        if not metadata.authorization or not metadata.token:
            raise unavailable(self.name, "names no endpoints to sign in at")
        return metadata

    def _client(self, metadata: Metadata) -> Client:
        supported = metadata.members.get("token_endpoint_auth_methods_supported")
        only_post = isinstance(supported, list) and "client_secret_basic" not in supported
        return Client(
            self._settings, "client_secret_post" if only_post else "client_secret_basic", "openid email profile"
        )

    def _check(self, claims: Mapping[str, Any], nonce: str) -> None:
        """What OpenID Connect Core §3.1.3.7 asks for beyond any token."""
        client, audience = self._settings.client_id, claims["aud"]
        party = claims.get("azp", client if audience in (client, [client]) else None)
        if party != client:
            raise NotProved(
                "The sign-in is for another client.", hint=AGAIN, expected=client, actual=printable(str(party), 100)
            )
        if not is_same(claims.get("nonce"), nonce):
            raise NotProved("What the provider says is about another sign-in: the nonce differs.", hint=AGAIN)
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise NotProved("The provider does not say who signed in: sub is missing.")

    def _with_email(self, claims: dict[str, Any], metadata: Metadata, access_token: object) -> Mapping[str, Any]:
        """The claims; those of the userinfo endpoint (§5.3) where the id_token leaves the e-mail address out."""
        if "email" in claims or not metadata.userinfo or not isinstance(access_token, str):
            return claims
        told = get_object(self.name, metadata.userinfo, SECONDS, bearer(access_token))
        if told.get("sub") != claims["sub"]:
            raise NotProved("The provider speaks of two people in one sign-in.", hint=AGAIN)
        return told

    def _person(self, claims: Mapping[str, Any]) -> SignedIn:
        email = claims.get("email")
        if not isinstance(email, str) or len(email) > 254 or not _EMAIL.fullmatch(email):
            raise NotProved(
                "The provider does not say which e-mail address is yours.",
                hint="An administrator must let it give the claims `email` and `email_verified` to this bot.",
            )
        if claims.get("email_verified") is not True:
            raise NotProved(
                "The provider has not verified your e-mail address.",
                hint="Verify it there, or ask an administrator to.",
                expected="email_verified: true",
                actual=printable(str(claims.get("email_verified")), 20),
            )
        domain = email.rpartition("@")[2].lower()
        if email.lower().endswith(_NOREPLY) or (self._settings.domains and domain not in self._settings.domains):
            raise NotProved(
                "Addresses of this domain are not accepted from this provider.",
                hint="Sign in with your address at work.",
                expected=" or ".join(sorted(self._settings.domains)) or "an address that mail can be sent to",
                actual=domain,
            )
        return SignedIn((Identity("email", email),), _shown(claims.get("name"), email), self.name)


class GitHubProvider:
    """GitHub's OAuth, at github.com or a GitHub Enterprise Server ("Authorizing OAuth apps", web application flow)."""

    def __init__(self, settings: SignInSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._client = Client(settings, "client_secret_post", scope="")
        self._namespace = namespace_of(urlsplit(settings.url).hostname or "")
        self._api = githubhost.api_of(settings.url)

    def start(self, redirect_uri: str) -> Started:
        """See `Provider`."""
        return self._client.start(f"{self._settings.url}/login/oauth/authorize", redirect_uri)

    def finish(self, redirect_uri: str, flow: Mapping[str, str], query: Mapping[str, str]) -> SignedIn:
        """See `Provider`."""
        if "iss" in query and not is_same_host(query["iss"], self._settings.url):
            raise other_provider(self._settings.url, query["iss"])
        endpoint = f"{self._settings.url}/login/oauth/access_token"
        answer = self._client.finish(endpoint, redirect_uri, flow, query)
        if not isinstance(answer.get("access_token"), str):
            raise unavailable(self.name, "gives no access token")
        return self._person(get_object(self.name, f"{self._api}/user", SECONDS, bearer(answer["access_token"])))

    def _person(self, user: Mapping[str, Any]) -> SignedIn:
        """The account: its login, and its id. Whoever takes a login that somebody else gave up has another id."""
        login, number = user.get("login"), user.get("id")
        if not isinstance(login, str) or not _LOGIN.fullmatch(login) or type(number) is not int:
            raise unavailable(self.name, "does not say who signed in")
        account = Identity("account", named(self._namespace, login, str(number)))
        return SignedIn((account,), _shown(user.get("name"), login), self.name)


def _shown(name: object, otherwise: str) -> str:
    return printable(name, 100) if isinstance(name, str) and name else otherwise
