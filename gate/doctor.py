"""What `gate doctor` looks at: each finding says how a thing stands, and where it is not well, the fix."""

import time
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gate.audit import START_ANEW, parse_record_path
from gate.chain import WRONG_CLOCK, anchored, check_end, newest
from gate.checkout import find
from gate.errors import AuditUnavailable, Denied, GateError
from gate.keys import REVOKED, PublicKey, TrustedKey
from gate.models import Finding, Head, Stream
from gate.policy import Environment, Policy
from gate.record import Record, RecordError, parse
from gate.reverify import reverify
from gate.steps import LEEWAY
from gate.text import plural, utc
from gate.uris import parse_uri

if TYPE_CHECKING:
    from gate.audit import AuditLog
    from gate.replay import ReplayStore

_ENTRIES = 10_000  # of the log that are searched for streams without a head, to be quick on a long one
_SHOWN = 5  # streams that a finding names
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
        if environment.passkey_required:
            yield _examine_passkeys(policy, environment)


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
    people = policy.people
    unknown = sorted(approver for approver in environment.approvers if not people.has_id(approver))
    if people.unlisted_attested and unknown:
        return Finding(
            "warning",
            subject,
            f"the account of {', '.join(unknown)} has no id here, so no unlisted account can be told from it",
            f'Add it: people: {{{unknown[0]}: {{accounts: ["github:#ID"]}}}}',
        )
    return Finding("ok", subject, f"asks for {plural(environment.approvals, 'approval')} by others than the authors")


def _examine_passkeys(policy: Policy, environment: Environment) -> Finding:
    subject = f"environment {environment.name}"
    without = sorted(approver for approver in environment.approvers if not policy.passkeys(approver))
    if without:
        message = f"asks for a passkey, and lists none of {', '.join(without)}"
        return Finding("warning", subject, message, "Add theirs under people.*.passkeys, or take them out.")
    return Finding("ok", subject, "asks for a passkey, and every approver has one")


def _examine_key(key: TrustedKey, now: int) -> Finding:
    subject = f"key {key.kid}"
    if not key.in_window(now) and (key.not_before or 0) > now:
        return Finding("ok", subject, f"{key.key.alg}, trusted from {_day(key.not_before)}")
    if key.not_after == REVOKED:
        return Finding("warning", subject, "revoked", "Take it out once nobody needs to see that.")
    if not key.in_window(now):
        return Finding("ok", subject, f"vouches only for what it signed until {_day(key.not_after)}")
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


def examine_state(policy: Policy, base: Path | None) -> Iterator[Finding]:
    """Whether state on the disk outlives its surroundings; relative paths start at `base`.

    Raises:
        UsageError: a URI names no path.
    """
    for field, text in (("replay store", policy.replay), ("audit log", policy.audit)):
        uri = parse_uri(text)
        if uri.scheme in ("sqlite", "file") and find(uri.path(base)):
            message = "lies in a git checkout: a clean or a new clone forgets every use and every record"
            fix = f"Move it out of the checkout, and write {uri.scheme}:///absolute/path in the policy."
            yield Finding("warning", f"{field} {text}", message, fix)


@runtime_checkable
class Tried(Protocol):
    """A store for which it takes a right to write that others don't have who may read it."""

    def may_write(self) -> bool:
        """Whether these credentials may write it, by a write that changes nothing.

        Raises:
            GateError: that can't be told.
        """
        ...


def examine_stores(replay: "ReplayStore", audit: "AuditLog", now: int) -> Iterator[Finding]:
    """Whether both stores answer, are set up as they must be, and agree about the newest record of each stream."""
    findings = [*replay.diagnose(), *audit.diagnose()]
    yield from findings
    if any(finding.severity == "error" for finding in findings):
        return
    try:
        yield from _examine_rights(replay, audit)
        yield from _examine_heads(replay, audit, now)
    except GateError as error:
        yield Finding("error", "audit", error.message, error.hint)


def _examine_rights(replay: "ReplayStore", audit: "AuditLog") -> Iterator[Finding]:
    """Whether a gate with these credentials could write. Who may write neither store is taken for an auditor."""
    stores = {"replay store": replay, "audit log": audit}
    may = {name: store.may_write() for name, store in stores.items() if isinstance(store, Tried)}
    is_auditor = len(may) == len(stores) and not any(may.values())
    for name, allowed in may.items():
        if allowed:
            yield Finding("ok", name, "can be written with these credentials")
        elif is_auditor:
            message = "can't tell whether the gate can write it: these credentials may write neither store"
            yield Finding("warning", name, message, "Run gate doctor as the gate does, with its role.")
        else:
            message = "can't be written: AWS denies it to these credentials"
            fix = "Grant what docs/operations.md lists; see the resource's own policy too."
            yield Finding("error", name, message, fix)


def examine_bases(policy: Policy, replay: "ReplayStore", audit: "AuditLog") -> Iterator[Finding]:
    """Whether what was allowed last in each stream still counts, where separation of duties goes back to it."""
    asking = {name for name, environment in policy.environments.items() if environment.separation_of_duties}
    try:
        for stream in [stream for stream in sorted(replay.heads()) if stream.environment in asking]:
            records = newest(audit, replay, stream)
            last = next((record for record in records if isinstance(record, Record) and record.allowed), None)
            if last and (why := _doubt(last, policy)):
                message = f"the newest allow, record {last.seq:,}, vouches for nothing any more: {why}"
                fix = "List its key again, with its not_after (docs/policy.md, Keys)."
                yield Finding("warning", f"audit {stream.path}", message, fix)
    except GateError as error:
        yield Finding("error", "audit", error.message, error.hint)


def examine_durability(policy: Policy, replay: "ReplayStore") -> Iterator[Finding]:
    """Whether a use lasts once it was consumed, where the policy requires that."""
    try:
        doubt = replay.doubt() if policy.durable else ""
    except GateError as error:
        yield Finding("error", "replay_durability", error.message, error.hint)
        return
    if doubt:
        message = f"is required, so the gate blocks: {doubt}"
        yield Finding("error", "replay_durability", message, "See to that, or take it out of the policy.")


def _doubt(record: Record, policy: Policy) -> str:
    try:
        reverify(record, [policy])
    except Denied as denial:
        return denial.message
    return ""


def _examine_heads(replay: "ReplayStore", audit: "AuditLog", now: int) -> Iterator[Finding]:
    heads = {stream: head for stream in sorted(replay.heads()) if (head := replay.head(stream))}
    findings = [finding for stream, head in heads.items() for finding in _examine_head(replay, audit, stream, head)]
    findings += _examine_headless(replay, audit, heads.keys())
    yield from findings
    if all(finding.severity != "error" for finding in findings):
        message = f"{plural(len(heads), 'stream')}, each at its anchored head" if heads else "no records yet"
        yield Finding("ok", "audit", message)
    seen = {stream: _recorded_at(head) for stream, head in heads.items()}
    for use in replay.consumed():
        seen[use.stream] = max(seen.get(use.stream, 0), use.used_at)
    yield _examine_clock(seen, now)


def _examine_head(replay: "ReplayStore", audit: "AuditLog", stream: Stream, head: Head) -> Iterator[Finding]:
    """Whether the log ends where the replay store says, and as it says."""
    subject = f"audit {stream.path}"
    stands = audit.get(stream, head.seq)
    try:
        anchored(stream, head)
        check_end(audit, stream, head)
    except AuditUnavailable as error:
        if replay.head(stream) != head:  # a gate at work has gone on since it was read
            return
        yield Finding("error", subject, error.message, error.hint)
    if stands is None and not head.written:
        message = f"record {head.seq:,} is still to be written; the replay store has its bytes"
        yield Finding("warning", subject, message, "The next run of the gate writes it.")
    elif stands is None:
        message = (
            f"the log is older than the replay store, or was cut: record {head.seq:,}, the newest, is gone from it"
        )
        yield Finding("error", subject, message, "Bring back what is missing; gate audit verify names all of it.")
    elif stands != head.record and head.written:
        message = f"record {head.seq:,} is not the one that the replay store anchors"
        yield Finding("error", subject, message, "gate audit verify")


def _examine_headless(replay: "ReplayStore", audit: "AuditLog", known: Collection[Stream]) -> Iterator[Finding]:
    """Whether the log has streams that the replay store does not know: it has forgotten which approvals are used."""
    entries = list(islice(audit.listing(), _ENTRIES + 1))
    places = filter(None, map(parse_record_path, entries[:_ENTRIES]))
    headless = {place.stream for place in places if place.stream not in known}
    count = sum(replay.head(stream) is None for stream in headless)  # a gate at work may have begun one meanwhile
    if count:
        message = f"the log has records of {plural(count, 'stream')} that the replay store has no head for"
        yield Finding("error", "audit", message, f"The replay store is lost, or of another log. {START_ANEW}")
    if len(entries) > _ENTRIES:
        message = f"only the first {_ENTRIES:,} entries of the log were searched for streams without a head"
        yield Finding("ok", "audit", f"{message}; gate audit verify reads them all")


def _recorded_at(head: Head) -> int:
    """When what the newest record of a stream tells was, 0 where that can't be told."""
    try:
        return parse(head.record).at
    except RecordError:
        return 0


def _examine_clock(seen: Mapping[Stream, int], now: int) -> Finding:
    """Whether the clock is behind what the stores have `seen`: the newest time that they hold of each stream. One that
    is ahead can't be told from streams that were quiet."""
    ahead = {stream: at - now for stream, at in sorted(seen.items()) if at > now + LEEWAY}
    if not ahead:
        message = (
            f"not behind the stores, whose newest record or use is of {utc(max(seen.values()))}" if seen else "runs"
        )
        return Finding("ok", "clock", message)
    shown = ", ".join(f"{stream.path} by {seconds:,} s" for stream, seconds in [*ahead.items()][:_SHOWN])
    more = f" and {len(ahead) - _SHOWN:,} more" if len(ahead) > _SHOWN else ""
    return Finding("error", "clock", f"behind the newest record or use: {shown}{more}", WRONG_CLOCK)
