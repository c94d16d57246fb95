"""What is to be deployed, from options, the CI's own variables and the checkout."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from gate.checkout import find, head, origin_repository, remote_repository
from gate.ci import CIS, CiRun, detect, is_ci
from gate.deployment import Deployment
from gate.errors import UsageError
from gate.identity import claims
from gate.text import printable

F = TypeVar("F", bound=Callable[..., Any])


class Named(NamedTuple):
    """What the options say of a deployment; "" is what they leave to the CI and the checkout."""

    repository: str
    sha: str
    environment: str
    actor: Sequence[str]
    run_id: str
    from_ci: bool
    ci: str | None = None
    repository_id: str = ""
    request_id: str = ""
    checkout: Path | None = None


class Place(NamedTuple):
    """Where the gate runs: in which run of a CI, if in any, and around which checkout."""

    run: CiRun
    checkout: Path | None


class Target(NamedTuple):
    """A deployment, the run that asks for it, the checkout where there is one, and those of its `actors` that only the
    caller names."""

    deployment: Deployment
    run: CiRun
    checkout: Path | None
    named_actors: tuple[str, ...] = ()


def target_options(command: F) -> F:
    """The options that name a deployment."""
    for option in (
        click.option("--ci", type=click.Choice(CIS), help="With --from-ci: which CI this is, for sure."),
        click.option("--from-ci", is_flag=True, help="Take what is not given from the CI's own variables."),
        click.option("--run-id", default="", help="Which CI run asks."),
        click.option(
            "--actor",
            multiple=True,
            help="Who triggered the run, e.g. github:alice. Adds to what a CI says; repeatable.",
        ),
        click.option("--environment", default="", envvar="GATE_ENVIRONMENT", help="Where to, e.g. production."),
        click.option("--sha", default="", help="At which commit: the whole id."),
        click.option("--repository", default="", help="What is to be deployed: owner/name."),
    ):
        command = option(command)
    return command


def locate(named: Named) -> Place:
    """Where this is, as far as `named` leaves it open.

    Raises:
        UsageError: no environment is named, or what is named is no checkout.
    """
    if not named.environment:
        raise UsageError("Which environment?", hint="Add --environment, or set GATE_ENVIRONMENT.")
    if named.ci and not named.from_ci:
        raise UsageError("--ci says whose variables are read, so it goes with --from-ci.", hint="Add --from-ci.")
    run = (detect(os.environ, named.ci or "") if named.from_ci else None) or CiRun(ci="")
    return Place(run, _checkout(named, run))


def find_target(named: Named, place: Place) -> Target:
    """The deployment that `named` names, completed by the CI and the checkout.

    Raises:
        UsageError: something is missing, or makes no sense.
    """
    run, checkout = place
    repository = (
        named.repository
        or _said("repository", os.environ.get("GATE_REPOSITORY", ""), lambda: _known_repository(run, checkout))
        or run.repository
        or _found(origin_repository, checkout, named, "repository")
    )
    said_sha = named.sha or _said("sha", os.environ.get("GATE_SHA", ""), lambda: run.sha)
    actors = tuple(name for text in named.actor if text not in run.actors for name in claims(text))
    deployment = Deployment(
        repository=repository,
        sha=said_sha or _sha(run, checkout, named),
        environment=named.environment,
        actors=tuple(dict.fromkeys((*actors, *run.actors))),
        run_id=named.run_id or run.run_id,
        repository_id=named.repository_id or (run.repository_id if _same(repository, run.repository) else ""),
        request_id=named.request_id,
    )
    return Target(deployment, run, checkout, actors)


def _said(what: str, value: str, look: Callable[[], str | None]) -> str:
    """What a variable says, which an earlier step can have set: only an option overrules what the CI knows.

    Raises:
        UsageError: it contradicts what `look` finds.
    """
    known = look() if value else None
    if known and not _same(value, known):
        raise UsageError(
            f"GATE_{what.upper()} names another {what} than the CI or the checkout.",
            expected=printable(known, 100),
            actual=printable(value, 100),
            hint=f"If it is meant, say so on the command line: --{what}. Otherwise unset the variable.",
        )
    return value


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def _known_repository(run: CiRun, checkout: Path | None) -> str | None:
    return run.repository or (remote_repository(checkout) if checkout else None)


def _checkout(named: Named, run: CiRun) -> Path | None:
    """The checkout that was named, or the one around the CI's workspace or the current folder, if any."""
    if named.checkout:
        found = find(named.checkout) if named.checkout.is_dir() else None
        if not found:
            raise UsageError(f"{named.checkout}: is no checkout.", hint="Name the folder that git cloned into.")
        return found
    workspace = Path(run.workspace or Path.cwd())
    found = find(workspace)
    if not found and run.workspace and [*workspace.glob("*/.git"), *workspace.glob("*/*/.git")]:
        raise UsageError(
            "The CI's workspace holds a checkout, but is none.", hint="Say which folder it is: --checkout."
        )
    return found


def _sha(run: CiRun, checkout: Path | None, named: Named) -> str:
    if run.why_no_sha:
        raise UsageError(run.why_no_sha, hint="Say which commit is to be deployed: --sha, GATE_SHA or the input sha.")
    return run.sha or _found(head, checkout, named, "sha")


def _found(look: Callable[[Path], str], checkout: Path | None, named: Named, what: str) -> str:
    """What `look` finds in the checkout. On a CI that is taken only with --from-ci; a person is told what was."""
    if named.from_ci or not is_ci(os.environ):
        if not checkout:
            raise UsageError(
                f"Which {what} is to be deployed? There is no checkout here.",
                hint=f"Add --{what}, or set GATE_{what.upper()}.",
            )
        value = look(checkout)
        if not named.from_ci:
            click.echo(f"gate: {what} {value}, as the checkout says", err=True)
        return value
    raise UsageError(
        f"Which {what} is to be deployed?",
        hint=f"On a CI nothing is taken from its variables or the checkout unasked: add --from-ci, or --{what}.",
    )
