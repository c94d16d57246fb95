"""Identities: what a tool calls a person or a machine, and the one text for each (docs/policy.md, "Names").

`alice@example.com` is an address; `github:alice` a login, at the policy's own forge where it has no namespace;
`github:#4711` the account's immutable id there; `github:alice#4711` both; `jenkins:CORP\\bob` what a CI calls its user.
"""

import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from types import MappingProxyType
from typing import Literal, NamedTuple

from gate.models import Identity

CIS = frozenset({"buildkite", "circleci", "codebuild", "jenkins"})  # their users' ids have any form
KINDS = ("github", "gitlab", "gitea", "forgejo")
_SHORT = {"github.com": "github", "gitlab.com": "gitlab"}
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # str.lower() would also fold look-alikes such as U+212A
_LOGIN = r"[a-z0-9._-]+(?:\[bot\])?"
_ACCOUNT = re.compile(rf"({_LOGIN})?(?:#([0-9]{{1,20}}))?")
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
_NAMESPACED = re.compile(r"([a-z0-9][a-z0-9.-]*):(.+)", re.IGNORECASE | re.ASCII | re.DOTALL)
_CODEBUILD = ("codepipeline/", "rule/")  # who started a build of CodeBuild that no person did
_MACHINE = re.compile(r".*\[bot\]|copilot|ghost|(?:project|group)_[0-9]+_bot.*|service_account_.*")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]*(?:@[A-Za-z0-9.-]+)?")
_NOREPLY = {
    "github": (("users.noreply.",), re.compile(rf"(?:([0-9]+)\+)?({_LOGIN})")),
    "gitlab": (("users.noreply.",), re.compile(rf"([0-9]+)-({_LOGIN})")),
    "gitea": (("noreply.", "users.noreply."), re.compile(rf"(?:([0-9]+)\+)?({_LOGIN})")),
}
_NOREPLY["forgejo"] = _NOREPLY["gitea"]


class Name(NamedTuple):
    """What can be compared: an address, or a login or an id within a namespace."""

    kind: Literal["email", "login", "id"]
    namespace: str
    value: str


def fold(text: str) -> str:
    """`text` with ASCII letters, and no others, in lower case."""
    return text.translate(_LOWER)


def identity(text: str) -> Identity:
    """What `text` stands for. A login with its id is an account that is attested: see `claims` where it is not."""
    namespace, name = _split(text)
    if not namespace and "@" in text:
        return Identity("email", text)
    found = None if namespace in CIS else _ACCOUNT.fullmatch(fold(name))
    return Identity("account" if found and found[1] and found[2] else "login", text)


def claims(text: str) -> tuple[str, ...]:
    """`text` where only the caller says so: a login and an id by themselves, neither of which attests the other."""
    if identity(text).kind != "account":
        return (text,)
    login, _, number = text.rpartition("#")
    return login, f"{login[: -len(_split(login)[1])]}#{number}"


def namespace_of(host: str) -> str:
    """What logins at the forge with this host name are prefixed with."""
    return _SHORT.get(fold(host), fold(host))


def named(namespace: str, name: str, number: str = "") -> str:
    """The text for a login in `namespace`; with `number`, for an account that its forge or CI attests."""
    if namespace not in CIS and "#" in name:
        return f"{namespace}:?{name}"  # which is nobody's: no login has such a character
    return f"{namespace}:{name}#{number}" if re.fullmatch("[0-9]{1,20}", number) else f"{namespace}:{name}"


def address(namespace: str, text: str) -> str:
    """The text for what a CI says is an e-mail address."""
    return text if identity(text).kind == "email" else f"{namespace}:?{text}"


def is_machine(who: Identity) -> bool:
    """Whether this looks like the account of no person. Only ever makes the answer stricter."""
    name = who.value.partition("@")[0].rpartition("+")[2] if who.kind == "email" else _split(who.value)[1]
    return name.startswith(_CODEBUILD) or _MACHINE.fullmatch(fold(name.partition("#")[0])) is not None


def forge_of(who: Identity) -> str:
    """The host of the forge whose own committer this looks to be, "" where it does not."""
    if who.kind == "email":
        return who.value[8:] if who.value.startswith("noreply@") else ""
    namespace, name = _split(who.value)
    return namespace if name.partition("#")[0] == "web-flow" else ""


def quoted(text: str) -> str:
    """`text` as YAML in one line of ASCII, out of which nothing in it can break."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"').replace("##[", "\\x23#[")
    return f'"{escaped}"'


def _split(text: str) -> tuple[str, str]:
    """The namespace, "" where there is none, and the rest."""
    if text.startswith(_CODEBUILD):
        return "codebuild", text
    found = _NAMESPACED.fullmatch(text)
    return (namespace_of(found[1]), found[2]) if found else ("", text)


class Forges:
    """The forges that `listed` (host → kind) names, and github.com and gitlab.com: whom they call what.

    A login without a namespace is one at the only forge that is listed, or else at github.com: `home` is its namespace.
    """

    def __init__(self, listed: Mapping[str, str] = MappingProxyType({})) -> None:
        self.home = namespace_of(*listed) if len(listed) == 1 else "github"
        kinds = dict(listed)
        for host, kind in _SHORT.items():  # which are called after their kinds
            kinds.setdefault(host, kind)
        self._kinds = {namespace_of(host): kind for host, kind in kinds.items()}
        self._own = {f"noreply@{host}" for host in kinds}
        self._noreply = {
            f"{prefix}{host}": (namespace_of(host), _NOREPLY[kind][1])
            for host, kind in kinds.items()
            for prefix in _NOREPLY[kind][0]
        }

    def names(self, who: Identity) -> frozenset[Name]:
        """The names of an identity; none where it is unusable, or is a forge's own and so stands for nobody."""
        value = fold(who.value)
        if self._is_own(who) or not value.isprintable():
            return frozenset()
        return self._of_address(value) if who.kind == "email" else self._of_account(*_split(value))

    def is_own(self, role: Sequence[Identity]) -> bool:
        """True for the committer that a forge itself is when somebody merges or edits in the browser.

        A login, where one is known, was looked up by the forge and decides; an address alone is only what the commit
        says.
        """
        accounts = [who for who in role if who.kind != "email"]
        return bool(role) and all(map(self._is_own, accounts or role))

    def _is_own(self, who: Identity) -> bool:
        if who.kind == "email":
            return fold(who.value) in self._own
        namespace, name = _split(fold(who.value))
        return name.partition("#")[0] == "web-flow" and self._kinds.get(namespace or self.home) == "github"

    def _of_account(self, namespace: str, name: str) -> frozenset[Name]:
        namespace = namespace or self.home
        if namespace in CIS:
            return frozenset({Name("login", namespace, name)} if name == name.strip() else ())
        found = _ACCOUNT.fullmatch(name)
        return _account(namespace, found[1], found[2]) if found else frozenset()

    def _of_address(self, value: str) -> frozenset[Name]:
        if not _EMAIL.fullmatch(value):
            return frozenset()
        local, _, domain = value.partition("@")
        namespace, form = self._noreply.get(domain, ("", None))
        if form and (found := form.fullmatch(local)):
            return _account(namespace, found[2], found[1])
        return frozenset({Name("email", "", value)})


def _account(namespace: str, login: str | None, number: str | None) -> frozenset[Name]:
    both: tuple[tuple[Literal["login", "id"], str | None], ...] = ("login", login), ("id", number)
    return frozenset(Name(kind, namespace, value) for kind, value in both if value)
