"""The site: everything that the handlers share."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gate.bot.deliveries import Deliveries
from gate.bot.desk import Desk
from gate.bot.enrolment import Enrolment
from gate.bot.errors import NotAllowed
from gate.bot.herald import Herald
from gate.bot.hold import Hold
from gate.bot.intake import Intake
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits
from gate.bot.logbook import Logbook
from gate.bot.logs import REQUEST_ID
from gate.bot.notary import Notary
from gate.bot.policysource import PolicySource
from gate.bot.presence import Presence
from gate.bot.register import Register
from gate.bot.secret import Secret
from gate.bot.sessions import LIFE, Sessions, Visitor
from gate.bot.state import State
from gate.bot.views import Views, wants_json
from gate.bot.web import Call, json_error, retry_header
from gate.errors import GateError

if TYPE_CHECKING:
    from gate.bot.dev import DevSignIn
    from gate.bot.history import History
    from gate.bot.jobs import Doorkeeper
    from gate.bot.providers import Provider

BotCall = Call[Visitor]

_PATHS = re.compile(r"/(?:requests/[A-Za-z0-9_-]{1,64}|passkeys|history)?")
_HEADINGS = {401: "Please sign in", 403: "That is not possible", 404: "There is nothing here", 409: "Too late"}


@dataclass(frozen=True)
class Site:
    """One bot. `url` is its only origin; nothing is ever taken from a Host header.

    `github` is the issuer of that GitHub at which it acts, "" where there is none; `webhook_secret` signs what that one
    delivers, and `hold` answers it, None where nothing is to be delivered.
    """

    url: str
    policy: PolicySource
    state: State
    keyring: Keyring
    register: Register
    notary: Notary
    intake: Intake
    desk: Desk
    herald: Herald
    deliveries: Deliveries
    presence: Presence
    logbook: Logbook
    sessions: Sessions
    enrolment: Enrolment
    doorkeeper: "Doorkeeper"
    providers: tuple["Provider | DevSignIn", ...]
    history: "History"
    limits: Limits
    views: Views
    github: str = ""
    webhook_secret: Secret | None = None
    hold: Hold | None = None
    dev: "DevSignIn | None" = None
    clock: Callable[[], float] = time.time

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by TLS."""
        return self.url.startswith("https://")

    @property
    def cookie_name(self) -> str:
        """With the prefix, browsers take it from this host alone, by TLS alone (RFC 6265bis, section 4.1.3)."""
        return "__Host-gate" if self.is_secure else "gate"

    def check_signer(self) -> None:
        """Check that the bot's key can be used, and that the policy of now trusts it.

        Raises:
            Unavailable: it can't, or does not.
        """
        self.notary.check_signer(self.policy.current().policy)

    def check_state(self) -> None:
        """Check that the state can be written, not only read.

        Raises:
            Unavailable: it can't.
        """
        now = int(self.clock())
        before = self.state.get("readiness", "readiness", now)
        version = before.version if before else 0
        self.state.put("readiness", "readiness", {}, expires_at=now + 60, expected=version, now=now)

    def set_cookie(self, response: Response, name: str, value: str, seconds: int = LIFE) -> None:
        """A cookie that no script reads and no other site's form sends."""
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=self.is_secure, httponly=True, samesite="lax"
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Take it back."""
        response.delete_cookie(name, path="/", secure=self.is_secure, httponly=True, samesite="lax")

    def visitor_or_none(self, call: BotCall) -> Visitor | None:
        """Who has signed in, None where nobody has.

        Raises:
            NotAllowed: the policy does not know them any more, or knows them as somebody else.
        """
        visitor = call.visitor
        if visitor and self.policy.current().policy.people.owner(visitor.identities) != visitor.person:
            raise NotAllowed(
                "The policy does not know you any more.", hint="Ask whoever looks after the policy, and sign in again."
            )
        return visitor

    def vouched(self, call: BotCall) -> Visitor:
        """Who sends this form, from a page of theirs, and not too often.

        Raises:
            NotProved, NotAllowed, TooMany: nobody does.
        """
        visitor = call.person()
        self.visitor_or_none(call)
        self.sessions.check_csrf(visitor, call.form.get("csrf", ""))
        self.limits.hit("decide", visitor.person)
        return visitor

    def page(self, template: str, call: BotCall, status: int = 200, **values: Any) -> Response:
        """A page for whoever is there."""
        visitor = call.visitor
        csrf = self.sessions.csrf(visitor) if visitor else ""
        return self.views.page(template, status, visitor=visitor, csrf=csrf, dev=self.dev is not None, **values)

    def sign_in_page(self, call: BotCall) -> Response:
        """The page that asks who somebody is, and then leads back to where they were."""
        return self.page(
            "sign_in.html", call, 401, providers=self.providers, next=local_path(call.request.scope["path"])
        )

    def error_page(self, request: Request, error: GateError, status: int) -> Response:
        """An error, for a program or for a person."""
        if wants_json(request):
            return json_error(error, status)
        back = local_path(re.sub(r"/(approve|decline|challenge|look-up|options)$", "", request.scope["path"]))
        response = self.views.page(
            "error.html",
            status,
            visitor=None,
            csrf="",
            dev=self.dev is not None,
            heading=_HEADINGS.get(status, "Something is in the way"),
            message=error.message,
            hint=error.hint,
            expected=error.expected,
            actual=error.actual,
            back="/" if status == 404 else back,
            back_label="To all requests" if status == 404 or back == "/" else "Back to where you were",
            request_id=REQUEST_ID.get(),
        )
        response.headers.update(retry_header(error))
        return response


def local_path(path: str) -> str:
    """`path` if it is one of this site's pages, otherwise the first page: nobody is led elsewhere."""
    return path if _PATHS.fullmatch(path) else "/"
