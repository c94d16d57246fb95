"""`gate people`: who is who, as far as the policy knows."""

import json
import os
import sys
from pathlib import Path

import click

from gate.checkout import find, head
from gate.ci import detect
from gate.cli import json_option, policy_option
from gate.cli.group import Group
from gate.errors import Denied, UsageError
from gate.forge.git import LocalGit
from gate.git import GitFailed, output
from gate.models import Commit
from gate.scan import NEWEST, as_yaml, names, newest, scan
from gate.scope import parse_sha
from gate.text import plural, printable
from gate.wiring import load_policy


@click.group(cls=Group)
def people() -> None:
    """Who is who, as far as the policy knows.

    \b
    Example:
      gate people scan --since v1.2.0
    """


@people.command("scan")
@policy_option
@click.option("--since", default="", help=f"Look at what came since this commit.  [default: the newest {NEWEST:,}]")
@click.option(
    "--checkout", type=click.Path(path_type=Path), default=Path(), help="The clone.  [default: this folder's]"
)
@json_option
def scan_command(policy: str, since: str, checkout: Path, *, as_json: bool) -> None:
    """List everybody whom the policy does not know, of those who wrote commits and, in a CI, who started the run.

    Prints what to add to the policy. Review it: each becomes a person of their own. Exit code 0: all are known;
    1: some are not; 2: there is no usable policy or no clone.

    \b
    Example:
      gate people scan --policy gate.yaml --since v1.2.0
    """
    known = load_policy(policy).policy.people
    commits = _commits(checkout, since)
    run = detect(os.environ, "github" if os.environ.get("GITHUB_ACTIONS") == "true" else "")
    unknown = scan(known, commits, run.actors if run else ())
    if as_json:
        listed = [
            {"names": [who.value for who in each.role], "commits": each.commits, "sha": each.sha,
             "entry": str(each.entry or "")} for each in unknown
        ]  # fmt: skip
        click.echo(json.dumps({"commits": len(commits), "unknown": listed, "yaml": "\n".join(as_yaml(unknown))}))
        sys.exit(1 if unknown else 0)
    click.echo(f"{plural(len(commits), 'commit')}: {len(unknown) or 'nobody'} whom the policy does not know")
    for each in unknown:
        click.echo(f"  {names(each)}: {each.where}{'' if each.entry else '; no entry would do, see docs/policy.md'}")
    if lines := list(as_yaml(unknown)):
        click.echo(
            "\nAdd this to the policy, by review. Where a name is somebody's who is there, add it to their entry:\n"
        )
        click.echo("\n".join(lines))
    sys.exit(1 if unknown else 0)


def _commits(folder: Path, since: str) -> list[Commit]:
    """The commits to look at in the clone around `folder`.

    Raises:
        UsageError: it is none, does not know `since`, or can't be read.
    """
    checkout = find(folder) if folder.is_dir() else None
    if not checkout:
        raise UsageError("This is no clone.", hint="Say where it is: --checkout.")
    try:
        if not since:
            return newest(checkout, head(checkout))
        base = output(checkout, "rev-parse", "--verify", "--end-of-options", f"{since}^{{commit}}").strip()
        return LocalGit(checkout).commits("", [parse_sha(base)], head(checkout))
    except GitFailed:
        hint = "Name a commit or a tag: --since."
        raise UsageError("The clone has no such commit.", actual=printable(since, 100), hint=hint) from None
    except Denied as denial:
        raise UsageError(denial.message, hint=denial.hint, expected=denial.expected, actual=denial.actual) from None
