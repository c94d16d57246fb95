"""`gate doctor`: is everything set up as it must be?"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gate.checkout import find, head, remote_repository
from gate.cli import json_option, policy_option
from gate.cli.bot import check_installed
from gate.cli.init import KEY
from gate.cli.pin import ask_pin
from gate.cli.policypin import pin_option, pinned
from gate.doctor import (
    examine_bases,
    examine_durability,
    examine_file,
    examine_policy,
    examine_signer,
    examine_state,
    examine_stores,
)
from gate.errors import GateError
from gate.models import Finding
from gate.policy import Policy
from gate.signers import Guarded, open_signer
from gate.text import legible
from gate.wiring import LoadedPolicy, load_policy

if TYPE_CHECKING:
    from gate.bot.settings import Settings

_MARKS = {"ok": ("✓", "green"), "note": ("·", "blue"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command()
@policy_option
@pin_option
@click.option(
    "--signer",
    default="",
    envvar="GATE_SIGNER",
    show_envvar=True,
    help="Also check that the policy lists this signer's key, e.g. awskms:///alias/deploy-gate?region=R.",
)
@click.option(
    "--bot",
    "bot_settings",
    type=click.Path(path_type=Path),
    help="Also check the deploy-bot of these settings (bot.yaml), and its policy in place of --policy.",
)
@click.option(
    "--prove",
    is_flag=True,
    help="Also hand forged, expired, replayed and wrong-commit approvals to the stores: all must be denied.",
)
@json_option
def doctor(
    policy: str, policy_sha256: str | None, signer: str, bot_settings: Path | None, *, prove: bool, as_json: bool
) -> None:
    """Check policy, keys, stores and clock, and say how to mend what is wrong.

    Exit code 0: no errors, at most warnings. 1: errors. 2: there is no usable policy.

    \b
    Example:
      gate doctor --policy gate.yaml --prove
    """
    bot = _settings(bot_settings) if bot_settings else None
    location = bot.policy if bot else policy
    loaded = load_policy(location, pin=pinned(policy_sha256))
    findings = _examine(location, loaded)
    if bot:
        from gate.bot.checkup import examine_bot  # noqa: PLC0415 (paid for when used)

        findings += examine_bot(bot, loaded, ask_pin)
    if signer:
        findings += _examine_signer(signer, loaded)
    if prove:
        findings += _drill(loaded)
    healthy = all(finding.severity != "error" for finding in findings)
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "findings": [finding._asdict() for finding in findings]}))
    else:
        for finding in findings:
            _show(finding)
    sys.exit(0 if healthy else 1)


def _settings(path: Path) -> "Settings":
    check_installed()
    from gate.bot.settings import load_settings  # noqa: PLC0415 (paid for when used)

    return load_settings(path)


def _examine_signer(uri: str, loaded: LoadedPolicy) -> list[Finding]:
    signer = open_signer(uri, Path.cwd(), ask_pin, loaded.ca)
    guards = signer.diagnose() if isinstance(signer, Guarded) else ()
    return [examine_signer(loaded.policy, signer.public_key), *guards]


def _drill(loaded: LoadedPolicy) -> list[Finding]:
    from gate.drill import drill  # noqa: PLC0415 (paid for when used)

    try:
        return list(drill(loaded.policy, loaded.replay_store(), loaded.audit_log(), time.time))
    except GateError as error:
        return [Finding("error", "drill", error.message, error.hint)]


def _examine(location: str, loaded: LoadedPolicy) -> list[Finding]:
    now = int(time.time())
    findings = [*examine_policy(loaded.policy, now)]
    if loaded.base:
        findings += _examine_files(Path(location), loaded.base)
    findings += examine_state(loaded.policy, loaded.base)
    findings += examine_stores(loaded.replay_store(), loaded.audit_log(), now)
    findings += _examine_people(loaded.policy)
    if all(finding.severity != "error" for finding in findings):
        findings += examine_durability(loaded.policy, loaded.replay_store())
        findings += examine_bases(loaded.policy, loaded.replay_store(), loaded.audit_log())
    return findings


def _examine_people(policy: Policy) -> list[Finding]:
    """Whether the policy knows who writes the code of the checkout that we stand in, where it asks who that is."""
    from gate.scan import NEWEST, newest, scan  # noqa: PLC0415 (paid for when used)

    checkout = find(Path.cwd())
    repository = checkout and remote_repository(checkout)
    asking = [each for each in policy.environments.values() if each.separation_of_duties]
    if not checkout or not repository or not any(environment.covers(repository) for environment in asking):
        return []
    try:
        unknown = scan(policy.people, newest(checkout, head(checkout)), ())
    except GateError as error:
        return [Finding("warning", "people", error.message, error.hint)]
    if not unknown:
        return [Finding("ok", "people", f"the policy knows who wrote the newest {NEWEST:,} commits of {repository}")]
    message = f"it does not know {len(unknown)} who wrote the newest {NEWEST:,} commits of {repository}, which deny"
    return [Finding("warning", "people", message, "`gate people scan` lists them, and what to add to the policy.")]


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
    click.echo(f"{click.style(mark, fg=colour)} {legible(finding.subject)}: {legible(finding.message)}")
    if finding.fix:
        click.echo(f"    fix: {legible(finding.fix)}")
