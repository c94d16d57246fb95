"""`gate demo`: the whole story, with real keys, stores and records, in a scratch directory."""

import base64
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from gate.checkout import find, head, remote_repository
from gate.cli.init import KEY
from gate.deployment import Deployment
from gate.errors import GateError
from gate.issuer import Issuer
from gate.keys import base64url
from gate.signers import open_signer

_APPROVER = "alice@example.com"
_OTHER_SHA = "0123456789abcdef0123456789abcdef01234567"


@click.command()
@click.option("--checkout", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="Whose HEAD to deploy in the story.")  # fmt: skip
@click.option("--bot", is_flag=True, help="The story with the deploy-bot's page: you approve in the browser.")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="With --bot: its port.")
def demo(checkout: Path, port: int, *, bot: bool) -> None:
    """Tell the whole story: approve, allow, deny, prove, and catch a forged record. Changes nothing outside /tmp.

    \b
    Example:
      gate demo
      gate demo --bot
    """
    with _scratch() as folder:
        if bot:
            from gate.cli.botdemo import tell  # noqa: PLC0415 (paid for when used)

            sys.exit(tell(folder, _deployment(find(checkout)), port))
        _Story(folder, _deployment(find(checkout))).tell()


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gate-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _deployment(checkout: Path | None) -> Deployment:
    """The checkout's own HEAD, or an invented commit where there is none."""
    repository = (remote_repository(checkout) if checkout else None) or "acme/shop"
    return Deployment(
        repository=repository, sha=head(checkout) if checkout else _OTHER_SHA[::-1], environment="production"
    )


class _Story:
    def __init__(self, folder: Path, deployment: Deployment) -> None:
        self._folder = folder
        self._deployment = deployment
        self._chapter = 0

    def tell(self) -> None:
        click.secho("Deploy Gate: nothing ships without an engineer's yes to this very commit.", bold=True)
        self._title("An engineer makes a key, and says who may approve what")
        self._run(0, "init", str(self._folder), "--approver", _APPROVER)
        self._title("The engineer approves one commit, once, for ten minutes")
        token = self._approve()
        self._title("The deploy job shows the approval to the gate")
        self._verify("allowed", token)
        self._title("A bot tries the same approval again")
        self._verify("replay.used", token)
        self._title("A bot tries a fresh approval for another commit")
        self._verify("sha.mismatch", self._approve(quiet=True), sha=_OTHER_SHA)
        self._title("A bot writes the commit it wants into an approval")
        self._verify("signature.invalid", _tampered(self._approve(quiet=True)), sha=_OTHER_SHA)
        self._title("A bot finds an approval from an hour ago")
        self._verify("token.expired", self._old_approval())
        self._title("An auditor proves the log, and asks who approved")
        self._run(0, "audit", "verify", *self._policy)
        self._run(0, "audit", "show", self._deployment.sha, *self._policy)
        self._title("Somebody edits a record by hand, and the auditor looks again")
        self._edit_record()
        self._run(1, "audit", "verify", *self._policy)
        click.secho("\nThat is all of it. Next: README.md puts the gate into a workflow.", bold=True)

    @property
    def _policy(self) -> tuple[str, str]:
        return "--policy", str(self._folder / "gate.yaml")

    def _title(self, text: str) -> None:
        self._chapter += 1
        click.echo()
        click.secho(f"{self._chapter}. {text}", fg="cyan", bold=True)

    def _approve(self, *, quiet: bool = False) -> str:
        deployment = self._deployment
        args = ["approve", *self._policy, "--repository", deployment.repository, "--sha", deployment.sha]
        args += ["--environment", deployment.environment, "--approver", _APPROVER, "--reason", "hotfix for login"]
        if not quiet:
            self._prompt(args)
        done = subprocess.run(_gate(args), cwd=self._folder, capture_output=True, text=True, check=False)
        self._expect(0, done.returncode)
        if not quiet:
            click.echo(f"{done.stdout[:60].strip()}…\n{done.stderr.strip()}")
        return done.stdout.strip()

    def _old_approval(self) -> str:
        issuer = Issuer(open_signer(f"file:{KEY}", self._folder))
        return issuer.issue(self._deployment, _APPROVER, now=int(time.time()) - 3600, ttl=600)

    def _verify(self, reason: str, token: str, sha: str = "") -> None:
        deployment = self._deployment
        args = ["verify", *self._policy, "--repository", deployment.repository, "--sha", sha or deployment.sha]
        args += ["--environment", deployment.environment]
        self._prompt(args)
        self._expect(0 if reason == "allowed" else 1, self._call([*args, "--approval", "-"], token))
        records = sorted((self._folder / ".gate/audit").rglob("seq=*.json"))
        if json.loads(records[-1].read_bytes())["reason"] != reason:
            raise GateError(f"The demo went wrong: {reason} was expected.", hint="Please report it.")

    def _run(self, code: int, *args: str) -> None:
        self._prompt(args)
        self._expect(code, self._call(args))

    def _call(self, args: Sequence[str], stdin: str = "") -> int:
        sys.stdout.flush()
        return subprocess.run(_gate(args), cwd=self._folder, input=stdin, text=True, check=False).returncode

    def _prompt(self, args: Sequence[str]) -> None:
        click.secho(f"$ gate {shlex.join(args)}".replace(str(self._folder), "…"), dim=True)

    def _expect(self, code: int, actual: int) -> None:
        if code != actual:
            raise GateError(
                "The demo went wrong: an exit code is not what it must be.", expected=str(code), actual=str(actual)
            )

    def _edit_record(self) -> None:
        first = min((self._folder / ".gate/audit").rglob("seq=*.json"))
        first.write_bytes(first.read_bytes().replace(_APPROVER.encode(), b"mallory@example.com"))
        click.secho(f"$ sed -i s/{_APPROVER}/mallory@example.com/ …/{first.name}", dim=True)


def _gate(args: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "gate", *args]


def _tampered(token: str) -> str:
    """The token with another commit written into its claims."""
    header, claims, signature = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    payload["scope"] = payload["scope"][: -len(_OTHER_SHA)] + _OTHER_SHA
    return ".".join((header, base64url(json.dumps(payload, separators=(",", ":")).encode()), signature))
