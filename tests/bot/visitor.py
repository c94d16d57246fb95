"""Somebody at a bot's pages without a browser, who can send whatever a browser would not."""

import base64
import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.bot.provider import Provider
from tests.core.authenticator import Authenticator


@dataclass
class Answer:
    """What came back; `headers` by name in lower case, of one that is there twice the last."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str]

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """What the page's forms send besides what people type."""
        found = hidden(self.text)
        assert found, self.text
        return found


@dataclass
class Visitor:
    """Asks the bot that listens at `port` for the pages of `url`; `cookies` are kept as a browser would. `address` is
    where a proxy says that it comes from, `passkey` is theirs, None where they have none, `accept` is what they want
    to be answered a form with."""

    url: str
    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = ""
    passkey: Authenticator | None = None
    accept: str = ""

    @property
    def csrf(self) -> str:
        """What every form of this session carries."""
        return self.get("/").form["csrf"]

    def send(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Answer:
        """One request. In `headers` `_` stands for `-`; an empty value leaves one out."""
        given = {"Host": urlsplit(self.url).netloc, "Cookie": "; ".join(f"{n}={v}" for n, v in self.cookies.items())}
        given |= {"X-Forwarded-For": self.address} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name: value for name, value in given.items() if value})
            answer = connection.getresponse()
            cookies = answer.headers.get_all("Set-Cookie") or []
            self._keep(cookies)
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lower, answer.read(), cookies)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """A page."""
        return self.send("GET", path, **headers)

    def post(self, path: str, form: Mapping[str, str] | str, **headers: str) -> Answer:
        """A form, as a browser sends it from a page of the bot."""
        kind = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Origin": self.url,
            "Sec_Fetch_Site": "same-origin",
            "Accept": self.accept,
        }
        return self.send("POST", path, form if isinstance(form, str) else urlencode(form), **(kind | headers))

    def submit(self, path: str, **form: str) -> Answer:
        """A form, with what every one of this session carries."""
        return self.post(path, {"csrf": self.csrf} | form)

    def call(self, path: str, token: str, body: Any = None) -> Answer:
        """What a job sends: a question if there is a body, otherwise a look."""
        method = "GET" if body is None else "POST"
        sent = None if body is None else json.dumps(body)
        return self.send(method, path, sent, Authorization=f"Bearer {token}", Content_Type="application/json")

    def sign_in(self, provider: Provider, email: str) -> Answer:
        """Sign in as `email`; the answer of the callback."""
        provider.expect(email)
        there = self.get("/sign-in/0")
        assert there.status == 303, there.text
        return self.get(come_back(there))

    def decide(self, key: str, how: str, **form: str) -> Answer:
        """Send a form of the page of request `key`."""
        path = f"/requests/{key}"
        return self.post(f"{path}/{how}", self.get(path).form | form)

    def challenge(self, key: str, reason: str = "") -> bytes:
        """What a passkey is to sign for request `key`."""
        answer = self.decide(key, "challenge", reason=reason)
        assert answer.status == 200, answer.text
        text = answer.json["challenge"]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def assertion(self, key: str, reason: str = "", **changes: Any) -> dict[str, str]:
        """This person's passkey over it; `changes` are those of `Authenticator.assert_`."""
        assert self.passkey
        return self.passkey.assert_(self.challenge(key, reason), **changes)

    def approve(self, key: str, assertion: dict[str, str] | None = None, reason: str = "") -> Answer:
        """Approve, with the assertion or, where there is none, with one of this person's passkey if they have one."""
        if assertion is None and self.passkey:
            assertion = self.assertion(key, reason)
        credential = json.dumps(assertion) if assertion else ""
        return self.decide(key, "approve", reason=reason, credential=credential)

    def decline(self, key: str, reason: str = "Not today.") -> Answer:
        """Decline."""
        return self.decide(key, "decline", reason=reason)

    def raw(self, data: bytes, *, patience: float = 10) -> bytes:
        """Whatever comes back for these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            connection.sendall(data)
            received = b""
            try:
                while chunk := connection.recv(65536):
                    received += chunk
                    if _is_whole(received):
                        break
            except (TimeoutError, ConnectionError):
                pass
            return received

    def _keep(self, cookies: list[str]) -> None:
        for cookie in cookies:
            name, _, rest = cookie.partition("=")
            value = rest.partition(";")[0].strip('"')
            if value and "Max-Age=0" not in cookie:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the forms on a page that somebody decides by."""
    return dict(re.findall(r'<input type="hidden" name="(csrf|question)" value="([^"]+)">', page))


def come_back(there: Answer) -> str:
    """Follow to the provider, and return the path and query by which it sends people back."""
    parts = urlsplit(there.headers["location"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        back = connection.getresponse()
        back.read()
        location = urlsplit(back.headers["Location"])
        return f"{location.path}?{location.query}"
    finally:
        connection.close()


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and bool(length) and len(body) >= int(length[1])  # type: ignore[index]
