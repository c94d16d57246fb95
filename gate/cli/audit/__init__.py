"""`gate audit`: prove the log, ask it who approved what, report on it."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from gate.audit import AuditLog, open_audit_log
from gate.cli.group import Group
from gate.cli.progress import Progress
from gate.errors import UsageError
from gate.policy import Policy
from gate.proof import Event, Fault, Step, prove
from gate.replay import ReplayStore, open_replay_store
from gate.text import printable
from gate.wiring import load_policy

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group, lazy={name: f"gate.cli.audit.{name}:{name}" for name in ("verify", "show", "report")})
def audit() -> None:
    """Prove the audit log, ask it who approved what, make a report of it.

    \b
    Example:
      gate audit verify
    """


def policies_option(command: F) -> F:
    """The `--policy` option of an audit, which may need those of years gone by."""
    return click.option(
        "--policy", "policies", multiple=True, metavar="POLICY",
        help="The policy: a path, or s3://BUCKET/KEY?region=R. Repeat it for older ones that the log does not "
        "keep; the first names the stores.  [env var: GATE_POLICY; default: gate.yaml]",
    )(command)  # fmt: skip


def log_option(command: F) -> F:
    """The `--audit` option."""
    return click.option("--audit", "audit_uri", default="", metavar="URI", help="Another log than the policy's.")(
        command
    )


def replay_option(command: F) -> F:
    """The `--replay` option."""
    return click.option(
        "--replay", "replay_uri", default="", metavar="URI",
        help="Another replay store than the policy's: the one that has the heads of the log given by --audit.",
    )(command)  # fmt: skip


def offline_option(command: F) -> F:
    """The `--offline` option."""
    return click.option(
        "--offline", is_flag=True, help="Don't ask the replay store. What was cut from the end can't be seen then."
    )(command)


class Sources(NamedTuple):
    """What an audit reads: the log, the replay store (None: it is not asked), and the policies that give keys."""

    log: AuditLog
    heads: ReplayStore | None
    policies: list[Policy]

    def proof(self) -> Iterator[Event]:
        """The proof of the whole log, with its progress shown."""
        progress = Progress("records")
        try:
            for event in prove(self.log, self.heads, self.policies, int(time.time())):
                if isinstance(event, Step):
                    progress.step()
                else:
                    progress.clear()
                yield event
        finally:
            progress.clear()


def open_sources(policies: tuple[str, ...], audit_uri: str, replay_uri: str = "", *, offline: bool) -> Sources:
    """What the options of an audit name.

    Raises:
        PolicyError: a policy can't be used.
        UsageError: `audit_uri` or `replay_uri` makes no sense.
    """
    if offline and replay_uri:
        raise UsageError("--offline asks no replay store, so none can be named.", hint="Leave out one of the two.")
    loaded = [load_policy(location) for location in policies or (os.environ.get("GATE_POLICY") or "gate.yaml",)]
    log = open_audit_log(audit_uri, Path.cwd(), loaded[0].ca) if audit_uri else loaded[0].audit_log()
    if offline:
        return Sources(log, None, [one.policy for one in loaded])
    heads = open_replay_store(replay_uri, Path.cwd(), loaded[0].ca) if replay_uri else loaded[0].replay_store()
    return Sources(log, heads, [one.policy for one in loaded])


def place(fault: Fault) -> str:
    """Which records a finding is about."""
    if fault.stream is None:
        return "the log"
    numbers = f"record {fault.first}" if fault.first == fault.last else f"records {fault.first} to {fault.last}"
    return printable(fault.stream.path) + (f", {numbers}" if fault.first else "")
