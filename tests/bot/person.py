"""A person without a browser: signs in at the test provider, and answers with a passkey in software."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import requests

from tests.bot.provider import Provider
from tests.core.authenticator import Authenticator


class Person:
    """Somebody at the bot at `url`, known to `provider` by `email`."""

    def __init__(self, url: str, provider: Provider, email: str, passkey: Authenticator | None = None) -> None:
        self.url, self.passkey = url, passkey
        self.web = requests.Session()
        provider.user = {**provider.user, "sub": email, "email": email, "name": email}
        landed = self.web.get(f"{url}/sign-in/0", timeout=30)
        assert landed.status_code == 200, landed.text

    def page(self, link: str) -> str:
        """What stands behind a link."""
        return self.web.get(link, timeout=30).text

    def _csrf(self, link: str) -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.page(link))
        assert match
        return match[1]

    def approve(self, link: str, reason: str = "") -> requests.Response:
        """Say yes."""
        form = {"csrf": self._csrf(link), "reason": reason, "credential": ""}
        if self.passkey:
            form["credential"] = json.dumps(self.answer(link, form))
        return self.web.post(f"{link}/approve", data=form, timeout=30)

    def answer(self, link: str, form: Mapping[str, str]) -> dict[str, Any]:
        """What the passkey makes of the challenge."""
        assert self.passkey
        options = self.web.post(f"{link}/challenge", data=form, headers={"Accept": "application/json"}, timeout=30)
        challenge = options.json()["challenge"]
        return self.passkey.assert_(base64.urlsafe_b64decode(challenge + "=" * (-len(challenge) % 4)))

    def decline(self, link: str, reason: str) -> requests.Response:
        """Say no."""
        return self.web.post(f"{link}/decline", data={"csrf": self._csrf(link), "reason": reason}, timeout=30)
