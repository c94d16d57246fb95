"""Signing in and out: to the provider and back, with everything that has to survive the way in a sealed cookie."""

import logging
import re
from collections.abc import Mapping

from starlette.responses import RedirectResponse, Response

from gate.bot.dev import DevSignIn
from gate.bot.errors import BotError, NotAllowed, NotFound, NotProved
from gate.bot.metrics import SIGN_INS
from gate.bot.oauth import CodeRefused
from gate.bot.providers import Provider
from gate.bot.signedin import SignedIn, known
from gate.bot.site import BotCall, Site, local_path
from gate.bot.web import cookie_of

_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_FLOW = "gate-sign-in"
_FLOW_LIFE = 600  # seconds to sign in at the provider
_LOG = logging.getLogger(__name__)


class SignInPages:
    """The handlers of a site for signing in and out."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def page(self, call: BotCall) -> Response:
        """`GET /sign-in`."""
        return self._site.page(
            "sign_in.html", call, providers=self._site.providers, next=local_path(call.query.get("next", "/"))
        )

    def start(self, call: BotCall) -> Response:
        """`GET /sign-in/{number}`: off to the provider. Nothing is kept here: a scanner that comes by does nothing."""
        provider = self._provider(call)
        started = provider.start(self._redirect_uri(call))
        flow = {"flow": started.flow, "next": local_path(call.query.get("next", "/")), "number": call.path["number"]}
        response = RedirectResponse(started.url, 303)
        sealed = self._site.keyring.seal("sign-in", flow, until=int(self._site.clock()) + _FLOW_LIFE)
        self._site.set_cookie(response, self._flow_cookie, sealed, _FLOW_LIFE)
        return response

    def callback(self, call: BotCall) -> Response:
        """`GET /sign-in/{number}/callback`: back from the provider."""
        try:
            with self._site.limits.of_failures("sign in failed", call.address):
                return self._finished(call)
        except BotError as error:
            SIGN_INS.labels("failed").inc()
            _LOG.info("sign-in failed", extra={"error": error.message})
            raise

    def sign_out(self, call: BotCall) -> Response:
        """`POST /sign-out`."""
        self._site.sessions.check_csrf(call.person(), call.form.get("csrf", ""))
        self._site.sessions.end(call.cookie)
        response = RedirectResponse("/", 303)
        self._site.drop_cookie(response, self._site.cookie_name)
        return response

    def admit(self, call: BotCall, signed_in: SignedIn, next_path: str) -> Response:
        """Begin a session of whoever signed in, if the policy knows them; the old one ends.

        Raises:
            NotAllowed: it knows nobody, or two, by these names.
        """
        person = known(self._site.policy.current().policy, signed_in)
        if person is None:
            shown = " / ".join(identity.value for identity in signed_in.identities)
            self._record(shown, f"The policy knows nobody by this sign-in with {signed_in.provider}.")
            raise NotAllowed(
                "You have signed in, but the policy does not know you.",
                hint="Ask whoever looks after the policy to list you under `people` or as an approver.",
                actual=shown,
                expected="somebody in the policy",
            )
        if call.cookie:
            self._site.sessions.end(call.cookie)
        response = RedirectResponse(next_path, 303)
        cookie = self._site.sessions.begin(person, signed_in.name, signed_in.provider, signed_in.identities)
        self._site.set_cookie(response, self._site.cookie_name, cookie)
        SIGN_INS.labels("signed in").inc()
        return response

    def _finished(self, call: BotCall) -> Response:
        sealed = cookie_of(call.request, self._flow_cookie)
        flow = self._site.keyring.unseal("sign-in", sealed, now=int(self._site.clock()))
        if flow is None or flow["number"] != call.path["number"]:
            raise NotProved(
                "This sign-in was not begun in this browser, or too long ago.", hint="Begin again from the link."
            )
        if len(call.request.query_params.multi_items()) != len(call.query):
            raise NotProved("The provider's answer says one thing twice.", hint="Begin again from the link.")
        try:
            signed_in = self._exchanged(call, flow["flow"])
        except NotProved as error:
            self._record("", f"Signing in failed: {error.message}")
            raise
        response = self.admit(call, signed_in, local_path(flow["next"]))
        self._site.drop_cookie(response, self._flow_cookie)
        return response

    def _exchanged(self, call: BotCall, flow: Mapping[str, str]) -> SignedIn:
        """Whoever the provider says has signed in. Where it has refused too many codes from one address it is asked for
        none from there: each question is one in this bot's name, and it may think better of answering."""
        if "code" in call.query:
            self._site.limits.check("code refused", call.address)
        try:
            return self._provider(call).finish(self._redirect_uri(call), flow, dict(call.query))
        except CodeRefused:
            self._site.limits.allows("code refused", call.address)
            raise

    def _record(self, who: str, why: str) -> None:
        """A failure is an audit record, up to a bound: strangers must not fill the log."""
        if self._site.limits.allows("recorded failure", "all"):
            self._site.logbook.sign_in_failed(who, why)

    @property
    def _flow_cookie(self) -> str:
        return f"__Host-{_FLOW}" if self._site.is_secure else _FLOW

    def _redirect_uri(self, call: BotCall) -> str:
        return f"{self._site.url}/sign-in/{call.path['number']}/callback"

    def _provider(self, call: BotCall) -> Provider:
        number = call.path["number"]
        providers = self._site.providers
        if not _NUMBER.fullmatch(number) or int(number) >= len(providers):
            raise NotFound("There is no such way to sign in.", hint="Begin again from the link.")
        provider = providers[int(number)]
        if isinstance(provider, DevSignIn):
            raise NotFound("There is no such way to sign in.", hint="Begin again from the link.")
        return provider
