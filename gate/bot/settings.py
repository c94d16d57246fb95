"""`bot.yaml`: the deploy-bot's settings, read as strictly as the policy (docs/bot.md)."""

from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gate.bot.clientsettings import SignInSettings
from gate.bot.jobs import JobSettings
from gate.bot.jobsettings import read_jobs
from gate.bot.notices.sections import Checkable, GitHubSection, read_github, read_notices
from gate.bot.secret import Secret, secret
from gate.bot.signin import read_sign_in
from gate.errors import PolicyError, UsageError
from gate.fields import Fields, bad, duration, list_of, plain, word
from gate.files import read_regular
from gate.strictyaml import MAX_BYTES, Node, parse
from gate.text import printable
from gate.uris import LOOPBACK

_LONGEST_LIFE = 24 * 3600


class Settings(NamedTuple):
    """What a bot is told. Paths in URIs are relative to `base`; `request_life` is in seconds.

    `audit` and `replay` are where the bot records what people do: stores of its own, so that whoever owns the bot can
    write nothing that the gate reads.
    """

    base: Path
    url: str
    policy: str
    signer: str
    state: str
    session_key: Secret
    jobs: JobSettings
    sign_in: tuple[SignInSettings, ...]
    github: GitHubSection | None
    notices: tuple[Checkable, ...]
    request_life: int
    trusted_proxies: tuple[str, ...]
    audit: str
    replay: str

    @property
    def is_local(self) -> bool:
        """True if the bot's URL is one that only this machine can reach."""
        return urlsplit(self.url).hostname in LOOPBACK


def load_settings(path: Path) -> Settings:
    """Read `path`.

    Raises:
        UsageError: it can't be read.
        PolicyError: anything in it is unknown, missing or unusable; names the line.
    """
    try:
        data = read_regular(path, MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{printable(str(path))} can't be read ({error.strerror or 'not a file'}).",
            hint="docs/bot.md shows one; --config or GATE_BOT_CONFIG says where it is.",
        ) from None
    try:
        return read_settings(data, path.resolve().parent)
    except PolicyError as error:
        message = error.message.replace("The policy", "The file")
        raise PolicyError(f"{printable(path.name)}: {message}", hint=error.hint) from None


def read_settings(data: bytes, base: Path) -> Settings:
    """The settings in `data`; relative paths start at `base`.

    Raises:
        PolicyError: as `load_settings`.
    """
    fields = Fields(parse(data), "the file")
    fields.required("version", _version)
    settings = Settings(
        base=base,
        url=fields.required("url", _url),
        policy=_located(fields.required("policy", word), base),
        signer=fields.required("signer", word),
        state=fields.optional("state", word, "sqlite:bot.db"),
        session_key=fields.required("session_key", lambda node: secret(node, base)),
        jobs=fields.required("jobs", read_jobs),
        sign_in=fields.required("sign_in", lambda node: read_sign_in(node, base)),
        github=fields.optional("github", lambda node: read_github(node, base), None),
        notices=fields.optional("notices", lambda node: read_notices(node, base), ()),
        request_life=fields.optional("request_life", _life, 3600),
        trusted_proxies=tuple(fields.optional("trusted_proxies", list_of(_network), [])),
        audit=fields.required("audit", word),
        replay=fields.required("replay", word),
    )
    fields.done()
    return settings


def _version(node: Node) -> None:
    if plain(node, "the number 1") != "1":
        raise bad(node, "this version is not known; this bot reads version 1.")


def _url(node: Node) -> str:
    """An origin, as browsers write it: nothing behind the host, and in the clear on this machine only."""
    text = word(node).rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise bad(node, "this is not a URL.") from None
    default = {"https": 443, "http": 80}.get(parts.scheme)
    host = parts.hostname or ""
    written = f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")
    if not default or not host or written != text:
        raise bad(node, "this must be the bot's origin, e.g. https://gate.example.com.", "No path; host in lower case.")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise bad(node, "this must be https: passkeys and cookies need it.", "http is for localhost alone.")
    return text


def _life(node: Node) -> int:
    length = duration(node)
    if length > _LONGEST_LIFE:
        raise bad(node, "a request may wait for a day at most.")
    return length


def _network(node: Node) -> str:
    """An address, or a network of them: what is neither would silently be trusted never, or, as `*`, always."""
    text = word(node)
    try:
        ip_network(text)
    except ValueError:
        raise bad(node, "this must be the address of a proxy, or a network such as 10.0.0.0/8.") from None
    return text


def _located(location: str, base: Path) -> str:
    return location if "://" in location else str(base / location)
