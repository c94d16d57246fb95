"""`gate policy`: keep policies for those who prove the log after them."""

from pathlib import Path

import click

from gate.audit import open_audit_log
from gate.cli import policy_option
from gate.cli.audit import log_option
from gate.cli.group import Group
from gate.wiring import load_policy


@click.group(cls=Group)
def policy() -> None:
    """Keep policies for those who prove the audit log after them.

    \b
    Example:
      gate policy archive
    """


@policy.command()
@policy_option
@log_option
def archive(policy: str, audit_uri: str) -> None:
    """Keep the policy beside its audit log, under its SHA-256.

    An audit believes it where a policy that is given there leads to it by `replaces`. Prints its URI, and the line for
    the policy that is to replace it. What is kept already stays as it is.

    \b
    Example:
      gate policy archive --policy gate.yaml
    """
    loaded = load_policy(policy)
    log = open_audit_log(audit_uri, Path.cwd(), loaded.ca) if audit_uri else loaded.audit_log()
    click.echo(log.archive(loaded.data))
    click.echo(f"The policy that replaces it says so: replaces: [{loaded.policy.sha256}]", err=True)
