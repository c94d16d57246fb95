"""What `gate doctor --bot` looks at: whether a bot of these settings could work, and what would limit a thief."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from gate.audit import open_audit_log
from gate.bot import githubhost
from gate.bot.discovery import Issuer
from gate.bot.errors import Unavailable
from gate.bot.settings import Settings
from gate.bot.startup import check_secrets
from gate.bot.state import open_state
from gate.doctor import examine_signer, examine_stores
from gate.errors import GateError
from gate.identity import namespace_of
from gate.keys import PublicKey
from gate.models import Finding
from gate.policy import Policy
from gate.replay import open_replay_store
from gate.signers import open_signer
from gate.uris import parse_uri
from gate.wiring import LoadedPolicy


def examine_bot(settings: Settings, loaded: LoadedPolicy, pin: Callable[[], str]) -> Iterator[Finding]:
    """Everything about the bot, with its policy; `pin` gives the PIN of a `pkcs11:` key."""
    policy = loaded.policy
    yield _examine_url(settings)
    yield from _examine_passkeys(settings, policy)
    yield from _examine_github(settings)
    yield from _examine_logins(settings, policy)
    yield from _guarded("bot's signer", lambda: examine_signer(policy, _public_key(settings, pin)))
    yield from _guarded("bot's session key", lambda: _examine_session_key(settings))
    yield from _guarded("bot's secrets", lambda: _examine_secrets(settings))
    yield from open_state(settings.state, settings.base).diagnose()
    for url in [way.url for way in settings.sign_in if way.kind == "oidc"] + [ci.url for ci in settings.jobs.oidc]:
        yield _examine_issuer(url)
    try:
        yield from _examine_records(settings, loaded)
    except GateError as error:
        yield Finding("error", "bot's records", error.message, error.hint)


def _examine_url(settings: Settings) -> Finding:
    if settings.is_local:
        return Finding("warning", "bot's url", f"{settings.url} is on this machine alone", "Set the public https URL.")
    return Finding("ok", "bot's url", settings.url)


def _examine_passkeys(settings: Settings, policy: Policy) -> Iterator[Finding]:
    subject, party = "bot's passkeys", policy.party
    if party is None:
        fix = f"Add `passkeys: {{origin: {settings.url}}}` to the policy."
        yield Finding("warning", subject, "the policy has none: whoever owns the bot can approve as anybody", fix)
    elif party.origin != settings.url:
        fix = "Correct one of the two: passkeys made at one origin work nowhere else."
        yield Finding("error", subject, f"the policy's origin is {party.origin}, and the bot's url {settings.url}", fix)
    else:
        yield Finding("ok", subject, f"are made and used at {party.origin}")
    for environment in policy.environments.values():
        if not environment.passkey_required:
            yield Finding(
                "warning",
                f"environment {environment.name}",
                "asks for no passkey, so whoever owns the bot can approve deployments into it",
                "Set `passkey: required` there once its approvers have enrolled.",
            )


def _examine_github(settings: Settings) -> Iterator[Finding]:
    """Where jobs come from that say they are GitHub's, and where the bot would look for their commits."""
    issuers = [ci.url for ci in settings.jobs.oidc if ci.kind == "github"]
    if settings.github is None or not issuers:
        return
    subject, server = "bot's github", githubhost.of_api(settings.github.api_url)
    hosts = {githubhost.of_issuer(url) or server for url in issuers}  # one that does not tell may be of that server
    if server in hosts:
        yield Finding("ok", subject, f"acts at {server}, which has an issuer under jobs: oidc:")
    else:
        yield Finding(
            "error",
            subject,
            f"acts at {server}, but the issuers of kind github are those of {', '.join(sorted(hosts))}: it would look "
            "for commits, and run jobs again, in others' repositories of the same name",
            "Set github: api_url to the API of the GitHub whose issuer is listed (docs/bot.md).",
        )


def _examine_logins(settings: Settings, policy: Policy) -> Iterator[Finding]:
    """Whether the policy's plain logins are those of the GitHub that people sign in at."""
    for host in [urlsplit(way.url).hostname or "" for way in settings.sign_in if way.kind == "github"]:
        subject = "bot's sign-in"
        if namespace_of(host) == policy.people.forges.home:
            yield Finding("ok", subject, f"logins at {host} are the policy's own")
        else:
            message = f"people sign in at {host}, but a plain login in the policy is one of {policy.people.forges.home}"
            yield Finding(
                "warning",
                subject,
                message,
                f"Make it the only one listed, forges: {{{host}: github}}, or write {host}:LOGIN.",
            )


def _examine_records(settings: Settings, loaded: LoadedPolicy) -> Iterator[Finding]:
    for what, own, gates in (
        ("log", settings.audit, loaded.policy.audit),
        ("replay store", settings.replay, loaded.policy.replay),
    ):
        if _place(own, settings.base) == _place(gates, loaded.base):
            yield Finding(
                "warning",
                "bot's records",
                f"the bot writes to the gate's own {what}, so whoever owns it can write there too",
                "Give it stores of its own: audit and replay in bot.yaml (docs/bot.md).",
            )
    stores = open_replay_store(settings.replay, settings.base), open_audit_log(settings.audit, settings.base)
    for finding in examine_stores(*stores, int(time.time())):
        yield finding._replace(subject=f"bot's {finding.subject}")


def _place(uri: str, base: Path | None) -> str:
    """Where a store is, however its URI spells that: a path in full, or all before the options."""
    parsed = parse_uri(uri)
    if parsed.scheme in ("file", "sqlite"):
        return str(parsed.path(base).resolve())
    return uri.partition("?")[0].rstrip("/")


def _public_key(settings: Settings, pin: Callable[[], str]) -> PublicKey:
    return open_signer(settings.signer, settings.base, pin).public_key


def _examine_session_key(settings: Settings) -> Finding:
    from gate.bot.keyring import Keyring  # noqa: PLC0415 (paid for when used)

    Keyring(settings.session_key.read().encode())
    return Finding("ok", "bot's session key", "is there, and long enough")


def _examine_secrets(settings: Settings) -> Finding:
    check_secrets(settings)
    return Finding("ok", "bot's secrets", "are there")


def _examine_issuer(url: str) -> Finding:
    try:
        Issuer(url).metadata()
    except Unavailable as error:
        return Finding("error", f"issuer {url}", error.message, error.hint)
    return Finding("ok", f"issuer {url}", "answers")


def _guarded(subject: str, examine: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield examine()
    except GateError as error:
        yield Finding("error", subject, error.message, error.hint)
