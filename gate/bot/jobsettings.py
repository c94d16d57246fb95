"""Who may ask for approvals: the section `jobs` of `bot.yaml`."""

import re

from gate.bot.claims import Kind
from gate.bot.jobs import ApiToken, CiIssuer, JobSettings
from gate.errors import UsageError
from gate.fields import Fields, bad, list_of, word
from gate.http import is_safe
from gate.policy import RepositoryPattern
from gate.policyfile import repository_pattern
from gate.scope import parse_environment
from gate.sha256 import parse_sha256
from gate.strictyaml import Node
from gate.text import printable

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_jobs(node: Node) -> JobSettings:
    """The section `jobs`.

    Raises:
        PolicyError: something in it is unknown, missing, there twice or unusable; names the line.
    """
    fields = Fields(node, "jobs")
    oidc: list[tuple[CiIssuer, Node]] = fields.optional("oidc", list_of(_issuer), [])
    tokens: list[tuple[ApiToken, Node]] = fields.optional("tokens", list_of(_token), [])
    fields.done()
    _check_distinct([(issuer.url, at) for issuer, at in oidc], "the issuer")
    _check_bounded(oidc)
    _check_distinct([(token.name, at) for token, at in tokens], "the token's name")
    _check_distinct([(token.sha256.hex(), at) for token, at in tokens], "the token's sha256")
    return JobSettings(tuple(issuer for issuer, _ in oidc), tuple(token for token, _ in tokens))


def issuer_url(node: Node) -> str:
    """The URL of an OIDC issuer, exactly as its tokens spell it in `iss`."""
    url = word(node)
    if not is_safe(url):
        raise bad(node, "this must be the issuer's URL: https://HOST, perhaps with a path, as its tokens spell it.")
    return url


def _issuer(node: Node) -> tuple[CiIssuer, Node]:
    fields = Fields(node, "this issuer")
    everywhere: list[RepositoryPattern] = []
    issuer = CiIssuer(
        fields.required("issuer", issuer_url),
        fields.required("kind", _kind),
        tuple(fields.optional("repositories", list_of(repository_pattern), everywhere)),
    )
    fields.done()
    return issuer, node


def _kind(node: Node) -> Kind:
    if node.text == "github":
        return "github"
    if node.text == "gitlab":
        return "gitlab"
    raise bad(node, "kind must be github or gitlab.", "Other CIs ask with a token: see `tokens`.")


def _token(node: Node) -> tuple[ApiToken, Node]:
    fields = Fields(node, "this token")
    everywhere: list[str] = []
    token = ApiToken(
        fields.required("name", _name),
        fields.required("sha256", _sha256),
        tuple(fields.required("repositories", list_of(repository_pattern))),
        frozenset(fields.optional("environments", list_of(_environment), everywhere)),
    )
    fields.done()
    return token, node


def _name(node: Node) -> str:
    if not node.text or not _NAME.fullmatch(node.text):
        raise bad(node, "a token's name is 1 to 64 of A-Z a-z 0-9 . _ -.")
    return node.text


def _sha256(node: Node) -> bytes:
    try:
        return bytes.fromhex(parse_sha256(node.text or ""))
    except UsageError:  # what stands there is not repeated: it may be the token itself
        raise bad(
            node, "sha256 is the SHA-256 of the token, in 64 hex digits.", "Never write the token here."
        ) from None


def _environment(node: Node) -> str:
    try:
        return parse_environment(node.text or "")
    except UsageError as error:
        raise bad(node, error.message, error.expected) from None


def _check_bounded(issuers: list[tuple[CiIssuer, Node]]) -> None:
    """A repository's name belongs to somebody at one forge, and may belong to somebody else at another."""
    for issuer, node in issuers if len(issuers) > 1 else ():
        if not issuer.repositories:
            raise bad(
                node,
                "with several issuers, each must say of which repositories it may speak.",
                'Add e.g. repositories: ["acme/*"]: names that are yours at that forge.',
            )


def _check_distinct(found: list[tuple[str, Node]], what: str) -> None:
    lines: dict[str, int] = {}
    for value, node in found:
        if value in lines:
            raise bad(node, f"{what} {printable(value, 80)} stands here twice, first on line {lines[value]}.")
        lines[value] = node.line
