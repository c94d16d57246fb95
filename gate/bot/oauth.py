"""An OAuth 2 client (RFC 6749, with PKCE) on Authlib's session, with bounded time and bytes, and no redirects."""

import hmac
import io
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from authlib.common.security import generate_token  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session, OAuthError  # type: ignore[import-untyped]

from gate import http
from gate.bot.clientsettings import SignInSettings
from gate.bot.errors import NotProved, Unavailable
from gate.bot.fetch import MOST_BYTES, unanswered, unavailable
from gate.deadline import within
from gate.text import printable

SECONDS = 10.0  # that one request may take
AGAIN = "Sign in again, in one go and in one browser."


class CodeRefused(NotProved):
    """The provider was asked, and does not take the code."""


class Started(NamedTuple):
    """A sign-in that has begun: where to send the browser, and the `flow` (texts) that must come back unseen and
    unchanged with that same browser."""

    url: str
    flow: dict[str, str]


class Client(NamedTuple):
    """The bot as a client of one provider. `auth_method` is how it shows its secret (RFC 6749 §2.3.1)."""

    settings: SignInSettings
    auth_method: str
    scope: str

    def start(self, endpoint: str, redirect_uri: str) -> Started:
        """Begin a sign-in at this authorization endpoint."""
        state, nonce, verifier = _random(), _random(), _random()
        extra = {"nonce": nonce} if "openid" in self.scope else {}
        url, _ = self._session().create_authorization_url(
            endpoint, state=state, code_verifier=verifier, redirect_uri=redirect_uri, **extra
        )
        flow = {"provider": self.settings.name, "state": state, "nonce": nonce, "code_verifier": verifier}
        return Started(url, flow)

    def finish(
        self, endpoint: str, redirect_uri: str, flow: Mapping[str, str], query: Mapping[str, str]
    ) -> dict[str, Any]:
        """What the token endpoint gives for the code that came with `query`.

        Raises:
            NotProved: `query` is no answer to `flow`, or is a refusal, or the provider refuses the code.
            Unavailable: the provider does not answer as it must, or refuses this client.
        """
        code = _code(self.settings.name, flow, query)
        whose = self.settings.name

        def exchange() -> dict[str, Any]:
            with self._session() as session:
                return dict(
                    session.fetch_token(
                        endpoint,
                        grant_type="authorization_code",
                        code=code,
                        code_verifier=flow["code_verifier"],
                        redirect_uri=redirect_uri,
                    )
                )

        try:
            return within(2 * SECONDS, exchange)
        except OAuthError as error:
            raise _refused(whose, error) from None
        except http.TooLarge:
            raise unavailable(whose, "answers with more than is read") from None
        except (TimeoutError, requests.Timeout, requests.ConnectionError) as error:
            raise unanswered(whose, error) from None
        except (OSError, ValueError, TypeError, RecursionError):
            raise unavailable(whose, "does not answer as it must") from None

    def _session(self) -> "_Session":
        return _Session(
            self.settings.client_id,
            self.settings.client_secret.read(),
            token_endpoint_auth_method=self.auth_method,
            scope=self.scope or None,
            code_challenge_method="S256",
        )


def _code(name: str, flow: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The authorization code, if `query` is the answer to `flow` at the provider `name`, and no refusal."""
    if flow.get("provider") != name:
        raise other_provider(name, flow.get("provider", "none"))
    if not is_same(query.get("state"), flow.get("state", "")):
        raise NotProved("This is the end of another sign-in than this browser began: the state differs.", hint=AGAIN)
    if "error" in query:
        raise NotProved(
            "You chose not to sign in." if query["error"] == "access_denied" else "The provider refused the sign-in.",
            hint="Sign in again, or in another way.",
            actual=printable(query["error"], 60),
        )
    code = query.get("code", "")
    if not code or len(code) > 4096 or not (code.isascii() and code.isprintable()):
        raise NotProved("The provider sent no code along.", hint=AGAIN)
    return code


def is_same(theirs: object, ours: str) -> bool:
    """True if `theirs` is the text `ours`, which is not empty; in constant time."""
    return (
        bool(ours)
        and isinstance(theirs, str)
        and hmac.compare_digest(theirs.encode("utf-8", "replace"), ours.encode("utf-8", "replace"))
    )


def other_provider(expected: str, actual: str) -> NotProved:
    """The error for an answer that comes from somebody else than was asked."""
    return NotProved(
        "This is the end of a sign-in somewhere else.", hint=AGAIN, expected=expected, actual=printable(actual, 100)
    )


def _random() -> str:
    """48 random letters and digits, 285 bits: a state, a nonce, a code verifier (RFC 7636 §4.1 wants 43 to 128)."""
    return str(generate_token(48))


class _Session(OAuth2Session):  # type: ignore[misc]
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a provider that answers with a redirect does not see the code, or the client's secret, elsewhere."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, and read the answer within bounds; Authlib itself would read whatever comes."""
        kwargs |= {"timeout": SECONDS, "stream": True}
        with super().send(request, **kwargs) as streamed:
            answer = http.read(streamed, MOST_BYTES)
        whole = requests.Response()
        whole.status_code, whole.url, whole.request = answer.status, streamed.url, request
        whole.headers["Content-Type"] = answer.headers.get("content-type", "")
        whole.raw = io.BytesIO(answer.body)
        return whole


def _refused(whose: str, error: OAuthError) -> NotProved | Unavailable:
    code = printable(str(error.error), 60)
    if code in ("invalid_grant", "bad_verification_code"):
        return CodeRefused(f"{whose} does not accept this sign-in any more.", hint="Sign in again.", actual=code)
    return Unavailable(
        f"{whose} refuses this bot.",
        hint="Check client_id, client_secret and the redirect URL that is registered there.",
        actual=code,
    )


def is_same_host(url: str, other: str) -> bool:
    """True if both URLs have one scheme, host and port."""
    try:
        return urlsplit(url)[:2] == urlsplit(other)[:2]
    except ValueError:
        return False
