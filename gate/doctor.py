"""What `gate doctor` looks at: each finding says how a thing stands, and where it is not well, the fix."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gate.errors import GateError
from gate.keys import REVOKED, PublicKey, TrustedKey
from gate.models import Finding, Severity
from gate.policy import Policy
from gate.record import RecordError, parse
from gate.text import plural
from gate.verification import LEEWAY

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.replay import ReplayStore

_SOON = 14 * 86400  # seconds before a key's window ends that somebody should know


def examine_policy(policy: Policy, now: int) -> Iterator[Finding]:
    """Whether the policy can do what it asks for; `now` is in epoch seconds."""
    yield Finding("ok", "policy", f"compiles; sha256 {policy.sha256}")
    for key in policy.keys.values():
        yield _examine_key(key, now)
    if not any(key.in_window(now) for key in policy.keys.values()):
        yield Finding("error", "keys", "no key is trusted today", "Add a key, or correct a window.")
    for environment in policy.environments.values():
        mute = sorted(
            name for name in environment.approvers if not any(key.speaks_for(name) for key in policy.keys.values())
        )
        if mute:
            yield Finding(
                "warning",
                f"environment {environment.name}",
                f"no key may speak for {', '.join(mute)}",
                "Add them to a key's approvers, or take them out.",
            )
        yield _examine_separation(policy, environment.name)


def _examine_separation(policy: Policy, name: str) -> Finding:
    environment = policy.environments[name]
    subject = f"environment {name}"
    if not environment.separation_of_duties:
        return Finding(
            "warning",
            subject,
            "separation of duties is off: engineers may approve what they wrote",
            "Remove `separation_of_duties: false` as soon as there are two of you.",
        )
    unknown = sorted(approver for approver in environment.approvers if not policy.people.has_login(approver))
    if unknown:
        return Finding(
            "warning",
            subject,
            f"the login of {', '.join(unknown)} is not known, so a run or a commit by a login denies",
            f"Add it: people: {{{unknown[0]}: {{github: LOGIN}}}}",
        )
    return Finding("ok", subject, f"asks for {plural(environment.approvals, 'approval')} by others than the authors")


def _examine_key(key: TrustedKey, now: int) -> Finding:
    subject = f"key {key.kid}"
    if not key.in_window(now) and (key.not_before or 0) > now:
        return Finding("ok", subject, f"{key.key.alg}, trusted from {_day(key.not_before)}")
    if key.not_after == REVOKED:
        return Finding("warning", subject, "revoked", "Take it out once nobody needs to see that.")
    if not key.in_window(now):
        return Finding("warning", subject, f"trusted no more since {_day(key.not_after)}", "Take it out of the policy.")
    if not key.in_window(now + _SOON):
        return Finding("warning", subject, f"trusted only until {_day(key.not_after)}", "Add the key that comes next.")
    return Finding("ok", subject, f"{key.key.alg}, trusted today")


def examine_signer(policy: Policy, key: PublicKey) -> Finding:
    """Whether the policy lists the key that a signer has today."""
    listed = [kid for kid, trusted in policy.keys.items() if trusted.key.spki == key.spki]
    if listed:
        return Finding("ok", "signer", f"its key is {listed[0]} in the policy")
    fix = "Add it: gate keys show, or gate keys rotate."
    return Finding("error", "signer", f"the policy does not list its key, {key.thumbprint}", fix)


def _day(seconds: int | None) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds or 0))


def examine_file(path: Path, what: str, forbidden: int) -> Iterator[Finding]:
    """Whether anybody but its owner may do with the file at `path` what the mode bits `forbidden` stand for."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & forbidden:
        fix = f"chmod {mode & ~forbidden:o} {path}"
        yield Finding("error", what, f"{path} has mode {mode:04o}: others may change or read it", fix)
    else:
        yield Finding("ok", what, f"{path} has mode {mode:04o}")


def examine_stores(replay: "ReplayStore", audit: "AuditLog", now: int) -> Iterator[Finding]:
    """Whether both stores answer, are set up as they must be, and agree about the newest record of each stream."""
    findings = [*replay.diagnose(), *audit.diagnose()]
    yield from findings
    if any(finding.severity == "error" for finding in findings):
        return
    try:
        yield from _examine_heads(replay, audit, now)
    except GateError as error:
        yield Finding("error", "audit", error.message, error.hint)


def _examine_heads(replay: "ReplayStore", audit: "AuditLog", now: int) -> Iterator[Finding]:
    newest, streams = 0, 0
    for stream in replay.heads():
        head = replay.head(stream)
        if head is None:
            continue
        streams += 1
        if head.written and audit.get(stream, head.seq) != head.record:
            yield Finding(
                "error",
                f"audit {stream.path}",
                f"record {head.seq} is not the one that was written",
                "gate audit verify",
            )
        try:
            newest = max(newest, parse(head.record).decided_at)
        except RecordError as error:
            yield Finding(
                "error", f"audit {stream.path}", f"the anchored record is unusable: {error}", "gate audit verify"
            )
    yield Finding("ok", "audit", f"{plural(streams, 'stream')}, each at its anchored head")
    yield _examine_clock(newest, now)


def _examine_clock(newest: int, now: int) -> Finding:
    severity: Severity = "error" if newest > now + LEEWAY else "ok"
    message = f"{newest - now} s behind the newest audit record" if severity == "error" else "not behind the audit log"
    return Finding(severity, "clock", message, "" if severity == "ok" else "Synchronise the clocks (NTP).")
