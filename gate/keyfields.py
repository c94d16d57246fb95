"""The trusted keys of a policy, as it lists them."""

import re

from gate.fields import Fields, bad, der, list_of, time
from gate.keys import ALGORITHMS, PublicKey, TrustedKey
from gate.strictyaml import Node
from gate.tokens import is_approver

_KID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def _key_approver(node: Node) -> str:
    text = node.text or ""
    if not is_approver(text) or ("*" in text and not re.fullmatch(r"\*@[^*@]+", text)):
        raise bad(node, 'this must be an approver, or "*@" and a domain.', "* stands only for a whole local part.")
    return text.lower()


def _public_key(node: Node) -> PublicKey:
    try:
        return PublicKey(der(node))
    except ValueError:
        raise bad(
            node, "this is not the public key of an Ed25519 or a P-256 key.", "`gate keys show URI` prints it."
        ) from None


def _alg(node: Node) -> str:
    if node.text not in ALGORITHMS:
        raise bad(node, f"alg must be one of {', '.join(ALGORITHMS)}.")
    return node.text


def _kid(node: Node) -> str:
    if not node.text or not _KID.fullmatch(node.text):
        raise bad(node, "a kid is 1 to 128 of A-Z a-z 0-9 . _ -.")
    return node.text


def _key(node: Node) -> tuple[TrustedKey, Node]:
    fields = Fields(node, "this key")
    key = fields.required("public_key", _public_key)
    kid = fields.optional("kid", _kid, key.thumbprint)
    if fields.required("alg", _alg) != key.alg:
        raise bad(node, f"alg does not fit the public key, which is for {key.alg}.")
    approvers = fields.required("approvers", list_of(_key_approver))
    not_before, not_after = fields.optional("not_before", time, None), fields.optional("not_after", time, None)
    fields.done()
    if not_before is not None and not_after is not None and not_before >= not_after:
        raise bad(node, "this key's window ends before it starts.")
    return TrustedKey(
        kid=kid,
        key=key,
        names=frozenset(name for name in approvers if not name.startswith("*@")),
        domains=frozenset(name[2:] for name in approvers if name.startswith("*@")),
        not_before=not_before,
        not_after=not_after,
    ), node


def trusted_keys(node: Node) -> dict[str, tuple[TrustedKey, Node]]:
    """The keys of a list by their kids, each with where it stands."""
    found: dict[str, tuple[TrustedKey, Node]] = {}
    for key, entry in list_of(_key)(node):
        if key.kid in found:
            raise bad(entry, f"the kid {key.kid} is also that of the key on line {found[key.kid][1].line}.")
        found[key.kid] = key, entry
    return found
