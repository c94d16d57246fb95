"""Reading `gate.yaml` into a `Policy`: whatever is unknown, missing or ambiguous is an error that names its line."""

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from gate.errors import PolicyError, UsageError
from gate.fields import (
    Fields,
    bad,
    boolean,
    duration,
    fixed,
    list_of,
    mapping,
    one_of,
    plain,
    sha256,
    word,
)
from gate.identity import fold
from gate.keyfields import trusted_keys
from gate.keys import TrustedKey
from gate.people import People
from gate.peoplefields import approver, read_who_is_who
from gate.policy import Environment, Policy, RepositoryPattern
from gate.scope import parse_environment, parse_repository
from gate.sha256 import parse_sha256
from gate.strictyaml import Node, parse
from gate.text import plural, printable
from gate.tokens import is_approver

if TYPE_CHECKING:
    from gate.passkey import Credential, RelyingParty

MAX_APPROVALS = 16  # as many as one call of the gate looks at
_DEFAULT_MAX_AGE = 15 * 60
_LONGEST_MAX_AGE = 24 * 3600
_MAX_CI_NAME = 255  # characters, as at GitHub


def compile_policy(data: bytes) -> Policy:
    """Compile the bytes of a `gate.yaml`.

    Raises:
        PolicyError: anything in it is unknown, missing, ambiguous or unusable; names the line.
    """
    fields = Fields(parse(data), "the policy")
    fields.required("version", _version)
    audience = fields.optional("audience", word, "deploy-gate")
    replay, audit = fields.required("replay", word), fields.required("audit", word)
    durable = fields.optional("replay_durability", fixed("replay_durability", "required"), False)
    ca = fields.optional("ca", word, "")
    keys = fields.required("keys", trusted_keys)
    teams = _teams(fields.optional("teams", mapping, dict[str, Node]()))
    who_is_who = read_who_is_who(fields)
    actor_option = fields.optional("actor_option", one_of("adds", "replaces"), "adds")
    passkeys = fields.optional("passkeys", lambda node: node, None)
    renamed = fields.optional("renamed", _renamed, dict[str, str]())
    replaces = fields.optional("replaces", list_of(sha256), list[str]())
    environments = fields.required("environments", mapping)
    fields.done()
    _check_case(environments)
    compiled = {name: _environment(name, node, teams) for name, node in environments.items()}
    _check_ci_names(environments, compiled)
    named = {name for environment in compiled.values() for name in environment.approvers}
    _check_somebody(keys, named)
    known = who_is_who.people(named)
    _check_enough(environments, compiled, {approver: known.canonical(approver) for approver in named})
    asking = [(environment, environments[name]) for name, environment in compiled.items()]
    party, enrolled = _passkeys(passkeys, who_is_who.members, known, asking)
    return Policy(
        sha256=hashlib.sha256(data).hexdigest(),
        audience=audience,
        replay=replay,
        audit=audit,
        keys={kid: key for kid, (key, _) in keys.items()},
        people=known,
        environments=compiled,
        durable=durable,
        actor_replaces=actor_option == "replaces",
        party=party,
        enrolled=enrolled,
        renamed=renamed,
        replaces=tuple(replaces),
        ca=ca,
    )


def check_pin(data: bytes, pin: str) -> None:
    """Check that the policy's bytes are those that were pinned.

    Raises:
        PolicyError: their SHA-256 is another.
        UsageError: the pin is no SHA-256.
    """
    actual, pinned = hashlib.sha256(data).hexdigest(), parse_sha256(pin)
    if actual != pinned:
        raise PolicyError(
            "The policy is not the one that was pinned.",
            expected=pinned,
            actual=actual,
            hint="If the change to the policy was reviewed, set --policy-sha256 to the new digest.",
        )


def _version(node: Node) -> None:
    if plain(node, "the number 1") != "1":
        raise bad(node, f"version {printable(node.text or '', 20)} is not known; this gate reads version 1.")


def _count(node: Node) -> int:
    text = plain(node, f"a number from 1 to {MAX_APPROVALS}")
    if not re.fullmatch(r"[1-9][0-9]?", text) or int(text) > MAX_APPROVALS:
        raise bad(node, f"this must be a number from 1 to {MAX_APPROVALS}.")
    return int(text)


def _max_age(node: Node) -> int:
    length = duration(node)
    if length > _LONGEST_MAX_AGE:
        raise bad(node, "an approval may live for a day at most.", "Short lives keep a stolen token worthless.")
    return length


def _check_somebody(keys: dict[str, tuple[TrustedKey, Node]], named: set[str]) -> None:
    domains = {approver.rpartition("@")[2] for approver in named if "@" in approver}
    for key, node in keys.values():
        if not (key.names & named or key.domains & domains):
            raise bad(node, "this key speaks for nobody who may approve anything.", "Correct its approvers.")


def _check_case(members: dict[str, Node]) -> None:
    seen: dict[str, str] = {}
    for name, node in members.items():
        if seen.setdefault(name.lower(), name) != name:
            raise bad(node, f"{printable(name, 60)} and {printable(seen[name.lower()], 60)} differ only by case.")


def _teams(members: dict[str, Node]) -> dict[str, list[str]]:
    """Who is in each team, by its name in lower case."""
    _check_case(members)
    teams: dict[str, list[str]] = {}
    for name, node in members.items():
        if not is_approver(name) or "@" in name or "*" in name:
            raise bad(node, "a team is named by a word in plain ASCII, without @ or *.")
        teams[name.lower()] = list_of(approver)(node)
    for name, node in members.items():
        if nested := sorted(teams.keys() & teams[name.lower()]):
            raise bad(node, f"{nested[0]!r} is a team; teams list people.")
    return teams


def repository_pattern(node: Node) -> RepositoryPattern:
    """`owner/name`, where `*` stands for one whole segment."""
    text = node.text or ""
    try:
        parse_repository("/".join("x" if segment == "*" else segment for segment in text.split("/")))
    except UsageError:
        raise bad(node, "this must be owner/name; * stands for one whole segment.") from None
    return RepositoryPattern(tuple(text.lower().split("/")))


def _repository(text: str, node: Node) -> str:
    try:
        return parse_repository(text)
    except UsageError:
        raise bad(node, "a repository is written as owner/name.") from None


def _renamed(node: Node) -> dict[str, str]:
    """The former name of each repository, "" for the word none."""
    members = mapping(node)
    _check_case(members)
    return {
        _repository(name, former): "" if former.text == "none" else _repository(former.text or "", former)
        for name, former in members.items()
    }


def _passkeys(
    party: Node | None, people: dict[str, Node], known: People, environments: list[tuple[Environment, Node]]
) -> "tuple[RelyingParty | None, dict[str, tuple[Credential, ...]]]":
    """Where passkeys are used, and those of each person."""
    lists = {
        name: members["passkeys"] for name, node in people.items() if "passkeys" in (members := node.members or {})
    }
    wanting = [(environment, node) for environment, node in environments if environment.passkey_required]
    if party is None and not lists and not wanting:
        return None, {}
    from gate.passkeyfields import read_passkeys  # noqa: PLC0415 (paid for when used)

    return read_passkeys(party, lists, known, wanting)


def _environment(name: str, node: Node, teams: dict[str, list[str]]) -> Environment:
    try:
        parse_environment(name)
    except UsageError as error:
        raise bad(node, error.message, error.expected) from None
    fields = Fields(node, f"the environment {name}")
    repositories = fields.required("repositories", list_of(repository_pattern))
    entries = fields.required("approvers", list_of(_team_or_approver(teams)))
    approvals = fields.optional("approvals", _count, 1)
    separation = fields.optional("separation_of_duties", boolean, True)
    max_age = fields.optional("max_age", _max_age, _DEFAULT_MAX_AGE)
    passkey = fields.optional("passkey", fixed("passkey", "required"), False)
    clean = fields.optional("checkout", fixed("checkout", "clean"), False)
    ci_names = tuple(fields.optional("ci_names", list_of(_ci_name), list[str]()))
    fields.done()
    approvers = frozenset[str]().union(*entries)
    return Environment(name, tuple(repositories), approvers, approvals, separation, max_age, passkey, clean, ci_names)


def _ci_name(node: Node) -> str:
    text = node.text or ""
    if not text.strip() or not text.isprintable() or len(text) > _MAX_CI_NAME:
        raise bad(node, f"a CI's name of an environment is 1 to {_MAX_CI_NAME} printable characters.")
    return text


def _check_ci_names(environments: dict[str, Node], compiled: dict[str, Environment]) -> None:
    """One name, one environment: otherwise a job for one could be approved as one for another."""
    owners = {fold(name): name for name in compiled}
    for name, environment in compiled.items():
        for called in environment.ci_names:
            if (owner := owners.setdefault(fold(called), name)) != name:
                raise bad(environments[name], f"{printable(called, 60)} is also what CIs call {owner}.")


def _team_or_approver(teams: dict[str, list[str]]) -> Callable[[Node], list[str]]:
    return lambda node: teams.get((node.text or "").lower()) or [approver(node)]


def _check_enough(environments: dict[str, Node], compiled: dict[str, Environment], canonical: dict[str, str]) -> None:
    for name, environment in compiled.items():
        distinct = len({canonical[approver] for approver in environment.approvers})
        if distinct < environment.approvals:
            raise bad(
                environments[name],
                f"{name} wants {environment.approvals} approvals, but lists {plural(distinct, 'distinct approver')}.",
                "Two spellings of one person count once.",
            )
