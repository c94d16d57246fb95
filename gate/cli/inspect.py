"""`gate inspect`: what a token says, without believing it."""

import json
import sys

import click

from gate.cli import json_option
from gate.text import printable, utc
from gate.tokens import Approval, decode

_UNVERIFIED = "NOTHING HERE IS VERIFIED: anybody can write such a token. Only `gate verify` decides."


@click.command()
@click.argument("text", metavar="TOKEN")
@json_option
def inspect(text: str, *, as_json: bool) -> None:
    """Decode TOKEN (- reads it from standard input) and explain it. Verifies nothing.

    \b
    Example:
      gate inspect - < token.txt
    """
    approval = decode(sys.stdin.read(65_536).strip() if text == "-" else text.strip())
    if as_json:
        header = {"alg": approval.alg, "kid": approval.kid}
        click.echo(json.dumps({"verified": False, "header": header, "claims": dict(approval.claims)}))
        return
    click.secho(_UNVERIFIED, fg="yellow", bold=True)
    for label, value in _lines(approval):
        click.echo(f"  {label:<12}{printable(value, 600)}")


def _lines(approval: Approval) -> list[tuple[str, str]]:
    claims = approval.claims
    lines = [
        ("approver", str(claims["sub"])),
        ("repository", approval.scope.repository),
        ("commit", approval.scope.sha),
        ("environment", str(claims["environment"])),
        ("issued", utc(approval.issued_at)),
        ("expires", utc(approval.expires_at)),
        ("issuer", str(claims["iss"])),
        ("audience", str(claims["aud"])),
        ("key", f"{approval.kid} ({approval.alg})"),
        ("jti", approval.jti),
    ]
    shown = {"iss", "sub", "aud", "scope", "environment", "jti", "iat", "exp"}
    return lines + [(name, str(value)) for name, value in claims.items() if name not in shown]
