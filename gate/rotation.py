"""Rotating and revoking the keys of a `gate.yaml`, by changing as few of its lines as possible.

What comes out says which policy it replaces, so that an audit finds the way back from it (gate/proof/policies.py).
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import replace

from gate.errors import PolicyError, UsageError
from gate.keys import REVOKED, PublicKey, TrustedKey
from gate.policy import Policy
from gate.policyfile import compile_policy
from gate.strictyaml import parse

_SKEW = 60  # seconds by which the clock of whoever signs may be behind
_ITEM = re.compile(r" *- +(?=[^\s{\[&!#])")  # an entry whose fields stand on lines of their own


def rotate(text: str, kid: str, key: PublicKey, now: int, overlap: int) -> str:
    """The policy `text` with `key` beside the key `kid`, for the same approvers.

    The new key is trusted from `now` (epoch seconds), the old one for `overlap` seconds more: that long, signers may
    go on with either. What the old key signed by then stays good until it expires.

    Raises:
        UsageError: the new key is in the policy already, or `overlap` is shorter than the longest `max_age`.
        PolicyError: there is no such key, or its entry is not written in a way that can be changed line by line.
    """
    text, policy = _next(text)
    old = _trusted(policy, kid)
    if any(key.spki == trusted.key.spki for trusted in policy.keys.values()):
        raise UsageError("The new key is in the policy already.", hint="Make another: gate keys new")
    if overlap < policy.longest_age:
        raise UsageError(
            "The overlap is shorter than an approval may live.",
            expected=f"{policy.longest_age} s or more",
            actual=f"{overlap} s",
        )
    ends = now + overlap if old.not_after is None else min(old.not_after, now + overlap)
    new = TrustedKey(key.thumbprint, key, old.names, old.domains, not_before=now - _SKEW)
    lines = text.splitlines()
    first, last, dash = _entry(text, lines, policy, kid)
    entry = _set(lines[first:last], dash, {"not_after": ends}) + _new_entry(new, dash)
    wanted = {**policy.keys, kid: old._replace(not_after=ends), new.kid: new}
    return _checked([*lines[:first], *entry, *lines[last:]], policy, wanted)


def revoke(text: str, kid: str, now: int) -> str:
    """The policy `text` in which the key `kid` is trusted for nothing any more, from this moment.

    Its entry stays, so that whoever reads the policy sees that it was revoked, on the day of `now` (epoch seconds).

    Raises:
        PolicyError: there is no such key, or its entry is not written in a way that can be changed line by line.
    """
    text, policy = _next(text)
    old = _trusted(policy, kid)
    lines = text.splitlines()
    first, last, dash = _entry(text, lines, policy, kid)
    note = f"revoked {time.strftime('%Y-%m-%d', time.gmtime(now))}"
    entry = _set(lines[first:last], dash, {"not_before": None, "not_after": REVOKED}, note)
    wanted = {**policy.keys, kid: old._replace(not_before=None, not_after=REVOKED)}
    return _checked([*lines[:first], *entry, *lines[last:]], policy, wanted)


def _next(text: str) -> tuple[str, Policy]:
    """The policy `text` once it says that it replaces the one that it was."""
    before = compile_policy(text.encode())
    lines, members = text.splitlines(), parse(text.encode()).members or {}
    first = last = members["version"].line
    if "replaces" in members:
        last = members["replaces"].line
        first = last - 1
        while last < len(lines) and lines[last].startswith((" ", "-")):
            last += 1
    lines[first:last] = [f"replaces: [{before.sha256}]"]
    following = _checked(lines, replace(before, replaces=(before.sha256,)), before.keys)
    return following, compile_policy(following.encode())


def _trusted(policy: Policy, kid: str) -> TrustedKey:
    if kid not in policy.keys:
        raise PolicyError("The policy lists no such key.", expected=f"one of {', '.join(policy.keys)}", actual=kid)
    return policy.keys[kid]


def _by_hand() -> PolicyError:
    return PolicyError(
        "The policy can't be changed line by line.",
        hint="Write `keys` as a plain list, a field on each line, and `replaces` on one line; or change it by hand "
        "(docs/policy.md).",
    )


def _entry(text: str, lines: list[str], policy: Policy, kid: str) -> tuple[int, int, str]:
    """Where the entry of the key `kid` begins and ends among the lines, and its first line up to the first field."""
    items = (parse(text.encode()).members or {})["keys"].items or []
    first = items[list(policy.keys).index(kid)].line - 1
    item = _ITEM.match(lines[first])
    if not item:
        raise _by_hand()
    last = first + 1
    while last < len(lines) and (not lines[last].strip() or _indent(lines[last]) >= item.end()):
        last += 1
    while not lines[last - 1].strip():
        last -= 1
    return first, last, item[0]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _set(entry: list[str], dash: str, fields: Mapping[str, int | None], note: str = "") -> list[str]:
    """The lines of an entry with these times (epoch seconds; None: without that field)."""
    margin = " " * len(dash)
    kept = [line for line in entry if not line.startswith(tuple(f"{margin}{name}:" for name in fields))]
    comment = f"  # {note}" if note else ""
    return [*kept, *(f"{margin}{name}: {_time(at)}{comment}" for name, at in fields.items() if at is not None)]


def _new_entry(key: TrustedKey, dash: str) -> list[str]:
    approvers = ", ".join(f'"{name}"' for name in [*sorted(key.names), *sorted(f"*@{name}" for name in key.domains)])
    fields = [
        f"kid: {key.kid}",
        f"alg: {key.key.alg}",
        f"public_key: {base64.b64encode(key.key.spki).decode('ascii')}",
        f"approvers: [{approvers}]",
        f"not_before: {_time(key.not_before or 0)}",
    ]
    return [dash + fields[0], *(" " * len(dash) + field for field in fields[1:])]


def _time(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _checked(lines: list[str], before: Policy, wanted: Mapping[str, TrustedKey]) -> str:
    """The text of `lines`, once it has compiled to exactly what was wanted."""
    text = "\n".join(lines) + "\n"
    try:
        after = compile_policy(text.encode())
    except PolicyError:
        raise _by_hand() from None
    if _meaning(after, after.keys) != _meaning(before, wanted):
        raise _by_hand()
    return text


def _meaning(policy: Policy, keys: Mapping[str, TrustedKey]) -> tuple[object, ...]:
    trusted = {kid: (key.key.spki, *key[2:]) for kid, key in keys.items()}
    return trusted, policy.audience, policy.replay, policy.audit, policy.ca, policy.environments, policy.replaces
