"""`gate bot --dev`: a bot to try things out with, on this machine alone. Anybody who can reach it can be anybody."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gate.bot.errors import BotError, NotFound
from gate.errors import GateError, UsageError
from gate.policyfile import compile_policy
from gate.signers import create_key

_ID = re.compile(r"[A-Za-z0-9_-]{1,1400}")
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/=]{1,2000}")
_POLICY = """\
# A policy to try the deploy-bot with.
version: 1
replay: sqlite:state/replay.db
audit: file:audit
keys:
  - alg: Ed25519
    public_key: {public_key}
    approvers: ["*@example.com"]
passkeys:
  origin: {origin}
people:
  alice@example.com:
    github: alice
  bob@example.com:
    github: bob
environments:
  production:
    repositories: ["*/*"]
    approvers: [alice@example.com, bob@example.com]
    separation_of_duties: false  # so that one person can try it alone
"""
_SETTINGS = """\
version: 1
url: {origin}
policy: gate.yaml
signer: file:key.pem
state: sqlite:state/bot.db
audit: file:events
replay: sqlite:state/events.db
session_key: file:session.key
jobs:
  tokens:
    - name: dev
      sha256: {token_sha256}
      repositories: ["*/*"]
sign_in:
  - name: unused
    github: https://github.com
    client_id: unused
    client_secret: env:UNUSED
"""


class Trial(NamedTuple):
    """A folder with all that a bot needs, and the API token that a job asks it with."""

    folder: Path
    token: str

    @property
    def config(self) -> Path:
        """The bot's settings."""
        return self.folder / "bot.yaml"

    @property
    def policy(self) -> Path:
        """The policy that bot and gate share."""
        return self.folder / "gate.yaml"


def open_trial(folder: Path, origin: str) -> Trial:
    """The trial in `folder` of a bot at `origin`, made where there is none yet.

    Raises:
        UsageError: the trial there is of a bot at another port, or the folder holds something else.
        SignerError: it can't be made.
    """
    kept = folder / "job.token"
    if not kept.exists():
        return _write_trial(folder, origin, secrets.token_urlsafe(24))
    if f"url: {origin}\n" not in (folder / "bot.yaml").read_text():
        raise UsageError(
            "The trial in that folder is of a bot at another port.", hint="Use the same --port, or another folder."
        )
    return Trial(folder, kept.read_text())


def _write_trial(folder: Path, origin: str, token: str) -> Trial:
    if taken := [name for name in ("gate.yaml", "bot.yaml", "key.pem") if (folder / name).exists()]:
        raise UsageError(
            f"That folder has a {taken[0]} that is not of a trial, and is left as it is.", hint="Name another folder."
        )
    signer = create_key("file:key.pem", folder, "Ed25519")
    public_key = base64.b64encode(signer.public_key.spki).decode("ascii")
    (folder / "gate.yaml").write_text(_POLICY.format(public_key=public_key, origin=origin))
    _write_secret(folder / "session.key", secrets.token_urlsafe(48))
    digest = hashlib.sha256(token.encode()).hexdigest()
    (folder / "bot.yaml").write_text(_SETTINGS.format(origin=origin, token_sha256=digest))
    _write_secret(folder / "job.token", token)  # last: whoever finds it finds all of it
    return Trial(folder, token)


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


class DevSignIn:
    """A way to sign in that asks for nothing, and a merge that nobody reviews; `policy` is the trial's."""

    name = "--dev"

    def __init__(self, policy: Path) -> None:
        self._policy = policy

    @property
    def people(self) -> list[str]:
        """Everybody whom the policy names as an approver."""
        policy = compile_policy(self._policy.read_bytes())
        names = {name for environment in policy.environments.values() for name in environment.approvers}
        return sorted({policy.people.canonical(name) for name in names})

    def check(self, person: str) -> None:
        """Check that somebody is in the policy.

        Raises:
            NotFound: they are not.
        """
        if person not in self.people:
            raise NotFound("The trial's policy names nobody like that.", hint="Choose one of the buttons.")

    def merge(self, person: str, form: Mapping[str, str]) -> None:
        """Do what a reviewed change does elsewhere: put the passkey into the policy, and ask for one from now on.

        Raises:
            BotError: what is to be merged is no passkey.
        """
        key_id, public_key = form.get("id", ""), form.get("public_key", "")
        if not _ID.fullmatch(key_id) or not _PUBLIC_KEY.fullmatch(public_key):
            raise BotError("That is no passkey of yours.", hint="Enrol it again.")
        merged = _merged(self._policy.read_text(), person, key_id, public_key)
        try:
            compile_policy(merged.encode())
        except GateError as error:
            raise BotError(f"It can't be merged: {error.message}", hint=error.hint) from None
        draft = self._policy.with_suffix(".new")
        draft.write_text(merged)
        draft.replace(self._policy)


def _merged(text: str, person: str, key_id: str, public_key: str) -> str:
    """The trial's policy, whose form is known, with one passkey more."""
    found = re.search(rf"^  {re.escape(person)}:\n(?:    .*\n)*", text, re.MULTILINE)
    if not found:
        return text
    block = found[0] if "    passkeys:\n" in found[0] else f"{found[0]}    passkeys:\n"
    block += f"      - id: {key_id}\n        public_key: {public_key}\n"
    merged = text[: found.start()] + block + text[found.end() :]
    return merged if "    passkey: required\n" in merged else f"{merged}    passkey: required\n"
