"""`gate init`: a starter policy for the embedded default."""

import base64
import getpass
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from gate.checkout import find
from gate.errors import UsageError
from gate.keys import ALGORITHMS, Algorithm
from gate.policyfile import compile_policy
from gate.signers import Signer, create_key
from gate.tokens import is_approver

STATE = ".gate"
KEY = f"{STATE}/key.pem"
_ANY = ("*/*", "*/*/*")  # the second for groups within groups, as at GitLab
_POLICY = """\
# Deploy Gate: who may approve what. Reference: docs/policy.md
version: 1
replay: sqlite:.gate/replay.db
audit: file:.gate/audit
keys:
  - alg: {alg}
    public_key: {public_key}
    approvers: ["{approver}"]
environments:
  production:
    repositories: [{repositories}]
    approvers: ["{approver}"]
    separation_of_duties: false  # one engineer alone; true: nobody approves what they wrote or triggered
    max_age: 15m
"""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--approver", default="", help="Who may approve.  [default: git's user.email, or your login]")
@click.option(
    "--repositories",
    multiple=True,
    default=_ANY,
    show_default=True,
    help="What may be deployed, e.g. acme/*; one * for each segment. Repeat for several.",
)
@click.option("--alg", type=click.Choice(ALGORITHMS), default="Ed25519", show_default=True, help="The key's algorithm.")
def init(directory: Path, approver: str, repositories: tuple[str, ...], alg: Algorithm) -> None:
    """Write a starter gate.yaml, and a new key, into DIRECTORY.

    No cloud and no server: the key is a file, JTIs are kept in SQLite, the audit log is a folder. Nothing that is
    there already is overwritten.

    \b
    Example:
      gate init ~/deploy-gate --approver alice@example.com
    """
    approver = approver or _default_approver()
    policy = write_starter(directory, approver, repositories, alg)
    click.echo(f"wrote {policy}")
    click.echo(f"wrote {directory / KEY}  (whoever deploys must not be able to read it)")
    if find(directory):
        click.echo("note: this is a checkout. Whoever commits here could change the policy, and a clean checkout loses")
        click.echo("      what was used, so `gate verify` refuses both here: gate init ~/deploy-gate")
    where = "" if directory == Path() else f" --policy {policy}"
    click.echo(f"next: gate approve{where} --environment production --approver {approver}")


def write_starter(
    directory: Path, approver: str, repositories: Sequence[str] = _ANY, alg: Algorithm = "Ed25519"
) -> Path:
    """Write the starter policy, and the key that it lists, into `directory`; return the policy's path.

    Raises:
        UsageError: there is a policy already.
        PolicyError: the approver or a pattern is not one.
        SignerError: there is a key already, or the folder can't be written.
    """
    policy = directory / "gate.yaml"
    if policy.exists():
        raise UsageError(f"{policy}: is there already, and is left as it is.", hint="Name another directory.")
    if not is_approver(approver):
        raise UsageError("The approver is not an e-mail address or a login in plain ASCII.", actual=ascii(approver))
    signer = create_key(f"file:{KEY}", directory, alg)
    patterns = ", ".join(f'"{pattern}"' for pattern in repositories)
    text = _POLICY.format(alg=alg, public_key=_base64(signer), approver=approver, repositories=patterns)
    try:
        compile_policy(text.encode())
        (directory / STATE / ".gitignore").write_text("*\n")
        with policy.open("x") as file:
            file.write(text)
    except BaseException:
        (directory / KEY).unlink()
        raise
    return policy


def _base64(signer: Signer) -> str:
    return base64.b64encode(signer.public_key.spki).decode("ascii")


def _default_approver() -> str:
    try:
        git = subprocess.run(["git", "config", "user.email"], capture_output=True, text=True, timeout=10, check=False)
        return git.stdout.strip() or getpass.getuser()
    except (OSError, KeyError, subprocess.SubprocessError):
        return "approver"
