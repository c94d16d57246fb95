"""The pages that only a trial has (`gate bot --dev`)."""

from starlette.responses import RedirectResponse, Response

from gate.bot.dev import DevSignIn
from gate.bot.signedin import SignedIn
from gate.bot.signinpages import SignInPages
from gate.bot.site import BotCall, Site, local_path
from gate.identity import identity


class DevPages:
    """The handlers of a trial's site."""

    def __init__(self, site: Site, dev: DevSignIn) -> None:
        self._site = site
        self._dev = dev

    def sign_in(self, call: BotCall) -> Response:
        """`POST /dev/sign-in`: be whoever you say."""
        person = call.form.get("person", "")
        self._dev.check(person)
        signed_in = SignedIn((identity(person),), person, self._dev.name)
        return SignInPages(self._site).admit(call, signed_in, local_path(call.form.get("next", "/")))

    def merge(self, call: BotCall) -> Response:
        """`POST /dev/merge`: what a reviewed change does elsewhere."""
        visitor = self._site.vouched(call)
        self._dev.merge(visitor.person, call.form)
        self._site.policy.forget()
        return RedirectResponse("/passkeys", 303)
