"""Reading the passkeys of a policy: where they are used, and whose they are (docs/policy.md, "Passkeys")."""

import re
from collections.abc import Container, Iterable, Mapping

from gate.fields import Fields, bad, der, list_of, word
from gate.keys import decode_base64url
from gate.passkey import MEMBERS, Credential, RelyingParty
from gate.people import People
from gate.policy import Environment
from gate.strictyaml import Node
from gate.text import plural

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A last label begins with a letter; otherwise browsers take the whole for an IP address.
_DOMAIN = re.compile(rf"localhost|(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?=[a-z]){_LABEL}")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def read_passkeys(
    party: Node | None, lists: Mapping[str, Node], people: People, wanting: Iterable[tuple[Environment, Node]]
) -> tuple[RelyingParty, dict[str, tuple[Credential, ...]]]:
    """The top-level `passkeys`, and the passkeys of each person, from the list beside each name. `wanting` are the
    environments that ask for passkeys, and where each stands.

    Raises:
        PolicyError: the origin is none that a browser writes and trusts with passkeys, or the RP ID is not of its host;
            a passkey is none, or is listed twice; or too few approvers have one.
    """
    if party is None:
        node = next(iter(lists.values()), None) or next(node for _, node in wanting)
        raise bad(node, "the policy lists or asks for passkeys here, but does not say where they are used.",
                  "Add at the top level passkeys: {origin: https://…}, with the deploy-bot's URL.")  # fmt: skip
    enrolled = {people.canonical(name): found for name, found in _read_lists(lists).items()}
    for environment, node in wanting:
        _check_enough(environment, node, people, enrolled)
    return _read_party(party), enrolled


def _check_enough(environment: Environment, node: Node, people: People, enrolled: Container[str]) -> None:
    able = {name for approver in environment.approvers if (name := people.canonical(approver)) in enrolled}
    if len(able) < environment.approvals:
        raise bad(
            node,
            f"{environment.name} wants {plural(environment.approvals, 'approval')} with a passkey, "
            f"but lists {plural(len(able), 'distinct approver')} with one.",
            "Add their passkeys under people.*.passkeys.",
        )


def _read_party(node: Node) -> RelyingParty:
    fields = Fields(node, "passkeys")
    origin, host = fields.required("origin", _origin)
    rp_id = fields.optional("rp_id", _rp_id, host)
    fields.done()
    if host != rp_id and not host.endswith(f".{rp_id}"):
        raise bad(node, f"rp_id is neither the origin's host, {host}, nor a parent domain of it.")
    return RelyingParty(rp_id, origin)


def _origin(node: Node) -> tuple[str, str]:
    match = _ORIGIN.fullmatch(word(node))
    scheme, host, port = match.groups() if match else ("", "", "")
    if (
        not _DOMAIN.fullmatch(host)
        or (scheme == "http" and host != "localhost")
        or (port and (int(port) > 65535 or int(port) == _DEFAULT_PORTS[scheme]))
    ):
        raise bad(
            node,
            "origin must be https:// and a domain as browsers write it, or http://localhost for trying things out.",
            "In lower case, without a path; a port only where it is not the default one.",
        )
    return word(node), host


def _rp_id(node: Node) -> str:
    if not _DOMAIN.fullmatch(word(node)):
        raise bad(node, "rp_id must be a domain in lower case, such as gate.example.com, or localhost.")
    return word(node)


def _read_lists(lists: Mapping[str, Node]) -> dict[str, tuple[Credential, ...]]:
    found = {name: list_of(_credential)(node) for name, node in lists.items()}
    seen: dict[bytes, Node] = {}
    for credential, node in (entry for entries in found.values() for entry in entries):
        for what, value in (("credential id", credential.id), ("public key", credential.spki)):
            if (first := seen.setdefault(value, node)) is not node:
                raise bad(node, f"this {what} is also that of the passkey on line {first.line}.")
    return {name: tuple(credential for credential, _ in entries) for name, entries in found.items()}


def _credential(node: Node) -> tuple[Credential, Node]:
    fields = Fields(node, "this passkey")
    credential = Credential(fields.required("id", _id), fields.required("public_key", _public_key))
    fields.done()
    return credential, node


def _id(node: Node) -> bytes:
    try:
        identifier = decode_base64url(node.text or "")
    except ValueError as error:
        raise bad(node, f"this id {error}.", "Copy it from the deploy-bot's enrolment page.") from None
    if not 16 <= len(identifier) <= MEMBERS["id"]:
        raise bad(node, f"a credential id has 16 to {MEMBERS['id']} bytes.")
    return identifier


def _public_key(node: Node) -> bytes:
    spki = der(node)
    try:
        Credential(b"", spki).alg  # noqa: B018 (whether it has one)
    except ValueError as error:
        raise bad(
            node,
            "this is not the public key of a passkey: P-256, Ed25519, or RSA of 2048 to 4096 bits.",
            "Copy it from the deploy-bot's enrolment page.",
        ) from error
    return spki
