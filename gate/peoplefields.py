"""The policy's fields that say who is who: `people`, `automation`, `forges` and `unlisted`."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from gate.errors import PolicyError
from gate.fields import Fields, bad, list_of, mapping, one_of
from gate.identity import KINDS, Forges
from gate.people import People, Person
from gate.strictyaml import Node
from gate.tokens import is_approver

_HOST = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")


class WhoIsWho(NamedTuple):
    """What the policy says of people before it is known who may approve anything."""

    members: dict[str, Node]
    automation: list[str]
    forges: Forges
    unlisted_attested: bool
    node: Node

    def people(self, named: Iterable[str]) -> People:
        """Everyone, the approvers `named` included.

        Raises:
            PolicyError: a name is unusable, or stands for two people; names the line where it can.
        """
        people = {name: _person(node) for name, node in self.members.items()}
        for name, node in self.members.items():
            if not is_approver(name):
                raise bad(node, "a person is named by an e-mail address or a login in plain ASCII.")
            if name == "NAME":
                raise bad(node, "NAME stands for the person's name.", "Write who that is in its place.")
            self._compile({name: people[name]}, (), (), node)  # alone, so that the error names their own line
        return self._compile(people, named, self.automation, self.node)

    def _compile(
        self, people: dict[str, Person], named: Iterable[str], automation: Iterable[str], node: Node
    ) -> People:
        try:
            return People(
                people, named, automation=automation, forges=self.forges, unlisted_attested=self.unlisted_attested
            )
        except PolicyError as error:
            raise bad(node, error.message, error.hint) from None


def read_who_is_who(fields: Fields) -> WhoIsWho:
    """Those of the policy's `fields`.

    Raises:
        PolicyError: one is unknown or unusable; names the line.
    """
    none: dict[str, Node] = {}
    nobody: list[str] = []
    members = fields.optional("people", mapping, none)
    forges = fields.optional("forges", _forges, Forges())
    automation = fields.optional("automation", list_of(_text), nobody)
    unlisted = fields.optional("unlisted", one_of("deny", "attested"), "deny")
    node = fields.members.get("people") or fields.members.get("automation") or fields.node
    return WhoIsWho(members, automation, forges, unlisted == "attested", node)


def approver(node: Node) -> str:
    """The name of somebody who approves: an e-mail address or a login, in lower case."""
    text = (node.text or "").lower()
    if not is_approver(node.text) or "*" in text:
        raise bad(node, "this must be an e-mail address or a login in plain ASCII.")
    try:
        People({}, {text})
    except PolicyError as error:
        raise bad(node, error.message, error.hint) from None
    return text


def _text(node: Node) -> str:
    text = node.text or ""
    if not 0 < len(text) <= 254 or not text.isprintable():
        raise bad(node, "this must be the name of an identity: 1 to 254 printable characters.")
    return text


def _person(node: Node) -> Person:
    fields = Fields(node, "this person")
    nothing: list[str] = []
    github = fields.optional("github", approver, None)
    emails = fields.optional("emails", list_of(_text), nothing)
    accounts = fields.optional("accounts", list_of(_text), nothing)
    fields.optional("passkeys", lambda _: None, None)  # read once it is known who is who
    fields.done()
    return Person(github, tuple(emails), tuple(accounts))


def _forges(node: Node) -> Forges:
    kind = one_of(*KINDS)
    hosts = mapping(node)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise bad(hosts[host], "a forge is named by its host in lower case, such as git.example.com.")
    return Forges({host: kind(entry) for host, entry in hosts.items()})
