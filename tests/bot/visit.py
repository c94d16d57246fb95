"""Somebody who has signed in, and sends what a page would send, or what no page ever would."""

import base64
import json
from typing import Any

import requests

from tests.bot.visitor import hidden
from tests.core.authenticator import Authenticator


class Visit:
    """A session at the bot at `url`; `passkey` is theirs, None where they have none."""

    def __init__(self, url: str, passkey: Authenticator | None = None) -> None:
        self.url = url
        self.passkey = passkey
        self.session = requests.Session()
        self.session.trust_env = False

    def sign_in(self) -> None:
        """Sign in as whoever the provider says."""
        assert self.get("/sign-in/0?next=/").status_code == 200

    @property
    def cookie(self) -> str:
        """What the browser of this session shows."""
        return str(self.session.cookies["gate"])

    @property
    def csrf(self) -> str:
        """What every form of this session carries."""
        return hidden(self.get("/").text)["csrf"]

    def decide(self, key: str, how: str, **form: str) -> requests.Response:
        """Send a form of the page of request `key`; not all have one."""
        return self.post(f"/requests/{key}/{how}", **hidden(self.get(f"/requests/{key}").text) | form)

    def get(self, path: str) -> requests.Response:
        """A page."""
        return self.session.get(f"{self.url}{path}", timeout=30)

    def post(self, path: str, **form: str) -> requests.Response:
        """Send a form, with its CSRF token; no redirect is followed, and errors come as JSON."""
        return self.session.post(
            f"{self.url}{path}",
            data=form if "csrf" in form else {"csrf": self.csrf, **form},
            headers={"Accept": "application/json"},
            allow_redirects=False,
            timeout=30,
        )

    def challenge(self, key: str, **form: str) -> bytes:
        """What a passkey is to sign for request `key`."""
        answer = self.decide(key, "challenge", **form)
        assert answer.status_code == 200, answer.text
        text = answer.json()["challenge"]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def assertion(self, key: str, **changes: Any) -> dict[str, str]:
        """This person's passkey over it; `changes` are those of `Authenticator.assert_`."""
        assert self.passkey
        return self.passkey.assert_(self.challenge(key), **changes)

    def approve(self, key: str, assertion: dict[str, str] | None = None, **form: str) -> requests.Response:
        """Approve, with the assertion or, where there is none, with one of this person's passkey if they have one."""
        if assertion is None and self.passkey:
            assertion = self.assertion(key)
        return self.decide(key, "approve", **form, credential=json.dumps(assertion) if assertion else "")

    def decline(self, key: str, reason: str = "Not today.") -> requests.Response:
        """Decline."""
        return self.decide(key, "decline", reason=reason)
