"""The sections `notices` and `github` of bot.yaml."""

import re
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from gate.bot.notices import Channel
from gate.bot.notices.email import Email, Server, is_address
from gate.bot.notices.slack import Slack
from gate.bot.secret import Secret, secret
from gate.errors import UsageError
from gate.fields import Fields, bad, word
from gate.forge.api import Api
from gate.forge.githubapp import App, PlainToken
from gate.forge.rest import Forge
from gate.strictyaml import Node

_PORTS = {"smtp": 587, "smtps": 465}
_SERVERS = "Write smtps://mail.example.com:465, or smtp://mail.example.com:587 for STARTTLS."
_APP_ID = re.compile(r"[A-Za-z0-9.]{1,64}")  # a number, or the client id, which GitHub takes as well


class Checkable(Channel, Protocol):
    """A channel of the section `notices`."""

    def check(self) -> None:
        """Check that its secrets are there.

        Raises:
            UsageError: one is not.
        """
        ...


class GitHubSection(NamedTuple):
    """How the bot acts at GitHub. `webhook_secret` is None where no protection rule asks it."""

    api_url: str
    credentials: App | PlainToken
    webhook_secret: Secret | None

    def check(self) -> None:
        """Check that its secrets are there.

        Raises:
            UsageError: one is not.
        """
        self.credentials.check()
        if self.webhook_secret:
            self.webhook_secret.read()

    def forge(self) -> Forge:
        """The forge; use one, since it keeps the tokens."""
        return Forge(self.api_url, self.credentials)


def read_notices(node: Node, base: Path | None) -> tuple[Checkable, ...]:
    """The channels that the section `notices` asks for. Secrets are read when there is something to deliver.

    Raises:
        PolicyError: it says something that makes no sense; names the line.
    """
    fields = Fields(node, "notices")
    slack = fields.optional("slack", lambda inner: secret(inner, base), None)
    email = fields.optional("email", lambda inner: _email(inner, base), None)
    fields.done()
    channels: list[Checkable | None] = [Slack(slack) if slack else None, email]
    return tuple(channel for channel in channels if channel)


def read_github(node: Node, base: Path | None) -> GitHubSection:
    """The section `github`; its channel is `gate.bot.notices.github.GitHub(section.forge())`.

    Raises:
        PolicyError: it says something that makes no sense; names the line.
    """
    fields = Fields(node, "github")
    api_url = fields.optional("api_url", _api_url, "https://api.github.com")
    app_id = fields.optional("app_id", _app_id, "")
    key = fields.optional("private_key", lambda inner: secret(inner, base), None)
    token = fields.optional("token", lambda inner: secret(inner, base), None)
    webhook_secret = fields.optional("webhook_secret", lambda inner: secret(inner, base), None)
    fields.done()
    credentials = _credentials(api_url, app_id, key, token)
    if credentials is None:
        raise bad(node, "github must have either app_id and private_key, or token.")
    return GitHubSection(api_url, credentials, webhook_secret)


def _credentials(api_url: str, app_id: str, key: Secret | None, token: Secret | None) -> App | PlainToken | None:
    if app_id and key and not token:
        return App(api_url, app_id, key.read)
    if token and not app_id and not key:
        return PlainToken(token.read)
    return None


def _api_url(node: Node) -> str:
    url = word(node).rstrip("/")
    try:
        Api(url, None, (1.0, 1.0), 1.0).check()
    except UsageError as error:
        raise bad(node, error.message, f"Expected: {error.expected}.") from None
    return url


def _app_id(node: Node) -> str:
    if not _APP_ID.fullmatch(word(node)):
        raise bad(node, "this must be the app's id, or its client id.")
    return word(node)


def _email(node: Node, base: Path | None) -> Email:
    fields = Fields(node, "email")
    host, port, tls = fields.required("server", _server)
    sender = fields.required("from", _sender)
    user = fields.optional("user", word, "")
    password = fields.optional("password", lambda inner: secret(inner, base), None)
    fields.done()
    if bool(user) != bool(password):
        raise bad(node, "email must have both user and password, or neither.")
    return Email(Server(host, port, tls, user, password), sender)


def _server(node: Node) -> tuple[str, int, bool]:
    """`smtps://HOST[:PORT]`, or `smtp://HOST[:PORT]`, which means STARTTLS."""
    try:
        parts = urlsplit(word(node))
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise bad(node, "this is not a server's address.", _SERVERS) from None
    if not parts.hostname or not port or parts.netloc.rpartition("@")[1] or parts.path or parts.query or parts.fragment:
        raise bad(node, "this is not a server's address.", _SERVERS)
    return parts.hostname, port, parts.scheme == "smtps"


def _sender(node: Node) -> str:
    if not is_address(word(node)):
        raise bad(node, "this must be an e-mail address, such as gate@example.com.")
    return word(node)
