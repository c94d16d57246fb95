"""Who asks: a job that its CI vouches for by an OIDC token, or the holder of an API token."""

import hashlib
import hmac
import re
from typing import NamedTuple

from gate.bot.claims import Job, Kind, read_job
from gate.bot.discovery import Issuer
from gate.bot.errors import NotAllowed, NotProved
from gate.bot.jose import looks_like_jwt, open_token
from gate.policy import RepositoryPattern
from gate.text import printable

_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,16384}) *")  # RFC 6750 §2.1


class CiIssuer(NamedTuple):
    """A CI that proves its jobs with OIDC tokens: exactly the `iss` of those, whose claims they are, and which
    repositories it may speak of; of all, where `repositories` is empty."""

    url: str
    kind: Kind
    repositories: tuple[RepositoryPattern, ...] = ()


class ApiToken(NamedTuple):
    """A token for jobs whose CI proves nothing: the SHA-256 of it, and what may be asked for with it.

    `environments` is empty where all may be.
    """

    name: str
    sha256: bytes
    repositories: tuple[RepositoryPattern, ...]
    environments: frozenset[str]


class JobSettings(NamedTuple):
    """Who may ask; at least one of the two is not empty."""

    oidc: tuple[CiIssuer, ...]
    tokens: tuple[ApiToken, ...]


class Doorkeeper:
    """Tells who asks by what they show in `Authorization`.

    `audience` is the bot's URL: the only `aud` that an OIDC token may have. `github` is the issuer of that GitHub at
    which the bot acts: jobs of another are not of the repositories that it finds there. None: any is that one.
    """

    def __init__(self, settings: JobSettings, audience: str, github: str | None = None) -> None:
        self._tokens = settings.tokens
        self._issuers = {ci.url: (Issuer(ci.url), ci) for ci in settings.oidc}
        self._audience = audience
        self._github = github

    def identify(self, authorization: str) -> Job | ApiToken:
        """Who shows this header.

        Raises:
            NotProved: nobody who is known.
            NotAllowed: a job of a repository that its issuer may not speak of.
            Unavailable: that can't be told, because the issuer does not answer.
        """
        match = _BEARER.fullmatch(authorization)
        if not match:
            raise NotProved(
                "The request shows no credential that could be one.",
                hint="Show the OIDC token that the CI gives to the job, or an API token.",
                expected="Authorization: Bearer TOKEN",
            )
        credential = match[1]
        if token := self._token(credential):
            return token
        if looks_like_jwt(credential):
            return self._job(credential)
        raise NotProved(
            "The API token is not one of those that bot.yaml lists.",
            hint="It may have been replaced, or hashed with a line end: bot.yaml wants the SHA-256 of the token alone.",
        )

    def check_speaks(self, url: str, repository: str) -> None:
        """Check that this issuer may speak of that repository. One that is not listed speaks of none to a job, and
        nothing is said here of what its forge's webhooks may.

        Raises:
            NotAllowed: it may not.
        """
        _, ci = self._issuers.get(url, (None, None))
        if ci and ci.repositories and not any(pattern.matches(repository) for pattern in ci.repositories):
            raise NotAllowed(
                "This issuer may not speak of this repository.",
                hint="Which it may speak of is in bot.yaml, under jobs: oidc: repositories.",
                expected="a repository that bot.yaml lists for the issuer",
                actual=repository,
            )

    def _token(self, credential: str) -> ApiToken | None:
        """The API token that this is. Every one is compared, each in constant time."""
        digest = hashlib.sha256(credential.encode("ascii")).digest()
        found = [token for token in self._tokens if hmac.compare_digest(token.sha256, digest)]
        return found[0] if found else None

    def _job(self, token: str) -> Job:
        """The job of an OIDC token. Nothing is fetched for an issuer that is not listed, letter by letter."""
        url = open_token(token).claims.get("iss")
        if not isinstance(url, str) or url not in self._issuers:
            raise NotProved(
                "The token is from an issuer that this bot does not know.",
                hint="Issuers are listed in bot.yaml, under jobs: oidc:, exactly as they spell themselves.",
                expected="an issuer that bot.yaml lists",
                actual=printable(str(url), 200),
            )
        issuer, ci = self._issuers[url]
        claims = issuer.verify(token, audience=self._audience)
        if claims["aud"] not in (self._audience, [self._audience]):
            raise NotProved(
                "The token is meant for others, too: any of them could have sent it on.",
                expected=f"{self._audience} alone",
                actual=printable(str(claims["aud"])),
            )
        job = read_job(ci.kind, url, claims)
        self.check_speaks(url, job.repository)
        return job if ci.kind != "github" or self._github in (None, url) else job._replace(forge="elsewhere")
