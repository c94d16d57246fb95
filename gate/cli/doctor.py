"""`gate doctor`: is everything set up as it must be?"""

import json
import sys
import time
from pathlib import Path

import click

from gate.checkout import find
from gate.cli import json_option, policy_option
from gate.cli.init import KEY
from gate.doctor import examine_file, examine_policy, examine_stores
from gate.models import Finding
from gate.text import printable
from gate.wiring import LoadedPolicy, load_policy

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command()
@policy_option
@json_option
def doctor(policy: str, *, as_json: bool) -> None:
    """Check policy, keys, stores and clock, and say how to mend what is wrong.

    Exit code 0: no errors, at most warnings. 1: errors. 2: there is no usable policy.

    \b
    Example:
      gate doctor --policy gate.yaml
    """
    findings = _examine(policy, load_policy(policy))
    healthy = all(finding.severity != "error" for finding in findings)
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "findings": [finding._asdict() for finding in findings]}))
    else:
        for finding in findings:
            _show(finding)
    sys.exit(0 if healthy else 1)


def _examine(location: str, loaded: LoadedPolicy) -> list[Finding]:
    now = int(time.time())
    findings = [*examine_policy(loaded.policy, now)]
    if loaded.base:
        findings += _examine_files(Path(location), loaded.base)
    findings += examine_stores(loaded.replay_store(), loaded.audit_log(), now)
    return findings


def _examine_files(policy: Path, base: Path) -> list[Finding]:
    findings = [*examine_file(policy, "policy file", 0o022), *examine_file(base / KEY, "key file", 0o077)]
    if find(base):
        findings.append(
            Finding(
                "warning",
                "policy file",
                f"{policy} lies in a checkout, where commits can change it",
                "Keep it elsewhere, or pin it with --policy-sha256.",
            )
        )
    return findings


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.severity]
    click.echo(f"{click.style(mark, fg=colour)} {printable(finding.subject)}: {printable(finding.message)}")
    if finding.fix:
        click.echo(f"    fix: {printable(finding.fix)}")
