"""The replay store in a Redis server or cluster; any server that speaks its protocol and reports itself as it does.

A JTI is a string, the head of a stream a hash without expiry. All keys begin with `{deploy-gate}`: in a cluster they
share one slot, so one script may touch several of them, and what that slot's server forgets it forgets newest first.

What the user's ACL has to allow, on the keys `{deploy-gate}*`:

- to verify: `+select +info +eval +get +set +hget +hmget +hset +scan`, and `+waitaof` from Redis 7.2 on, before that
  `+config|get` (without it whether a use lasts can't be told)
- to prove the audit log: `+select +info +exists +scan +mget +hmget`
- for the doctor: all that the log's proof takes, and `+eval +get +set +waitaof +config|get`
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gate.canonical import parse_object
from gate.errors import ReplayUnavailable
from gate.models import Consumption, Finding, Head, Stream
from gate.replay import Replayed
from gate.replay.redisplace import parse_place
from gate.replay.redisserver import Argument, Flaw, Server
from gate.replay.redistrouble import FOREIGN, SENSELESS
from gate.uris import Uri

_KEYS = "{deploy-gate}"
_JTI = f"{_KEYS}jti:"
_HEAD = f"{_KEYS}head:"
_Value = TypeVar("_Value")

# Seconds that a row is kept after expires_at: for proving the audit log against it, and should the server's clock leap.
_KEEP = 30 * 24 * 3600

# Every script reads all that it may refuse before it writes, and writes with one kind of command: what was begun ends.
_CONSUME = """
for _, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and cjson.decode(held).nonce ~= ARGV[1] then return held end
end
for place, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[2 * place], 'EX', ARGV[2 * place + 1])
end
return 'consumed'
"""
# The second HSET changes nothing, but gives WAITAOF something to wait for.
_ADVANCE = """
local seq = redis.call('HGET', KEYS[1], 'seq')
if seq == ARGV[1] and redis.call('HGET', KEYS[1], 'record') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'seq', seq)
  return 'advanced'
end
if (seq or '0') ~= ARGV[4] then return 'overtaken' end
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'record', ARGV[2], 'written', ARGV[3])
return 'advanced'
"""
_SETTLE = """
if redis.call('HGET', KEYS[1], 'seq') == ARGV[1] then redis.call('HSET', KEYS[1], 'written', '1') end
return 'settled'
"""


class RedisStore:
    """A `ReplayStore` on `server`."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def consume(self, uses: Sequence[Consumption]) -> None:
        """See `ReplayStore.consume`."""
        if not uses:
            return
        rows = [value for use in uses for value in (_row(use), _lifetime(use))]
        answer = self._run(_CONSUME, [_JTI + use.jti for use in uses], uses[0].nonce, *rows)
        if answer != b"consumed":
            raise Replayed(self._read(_use, answer))

    def doubt(self) -> str:
        """See `ReplayStore.doubt`."""
        lag = self.server.lag()
        return f"{self.server.place.name}: {lag.message}" if lag else ""

    def consumed(self) -> Iterator[Consumption]:
        """See `ReplayStore.consumed`."""
        for keys in self.server.scan(_JTI):
            rows = self._read(list, self.server.ask("MGET", *keys))
            yield from (self._read(_use, row) for row in rows if row is not None)  # it expired just now

    def head(self, stream: Stream) -> Head | None:
        """See `ReplayStore.head`."""
        values = self.server.ask("HMGET", _HEAD + stream.path, "seq", "record", "written")
        return None if values == [None] * 3 else self._read(_head, values)

    def advance(self, stream: Stream, head: Head, expected: int) -> bool:
        """See `ReplayStore.advance`."""
        values = head.seq, head.record, int(head.written), expected
        answer = self._run(_ADVANCE, [_HEAD + stream.path], *values)
        return self._said(answer, b"advanced", b"overtaken") == b"advanced"

    def settle(self, stream: Stream, seq: int) -> None:
        """See `ReplayStore.settle`."""
        self._said(self.server.ask("EVAL", _SETTLE, 1, _HEAD + stream.path, seq), b"settled")

    def heads(self) -> Iterator[Stream]:
        """See `ReplayStore.heads`."""
        for keys in self.server.scan(_HEAD):
            for key in keys:
                repository, _, environment = self._read(bytes.decode, key).removeprefix(_HEAD).rpartition("/")
                yield Stream(repository, environment)

    def diagnose(self) -> Iterator[Finding]:
        """See `ReplayStore.diagnose`."""
        flaws = list(self._flaws())
        yield from (Finding(severity, self.server.place.name, message, fix) for severity, message, fix in flaws)
        if not flaws:
            yield Finding("ok", self.server.place.name, "answers, can be written, and forgets nothing")

    def _flaws(self) -> Iterator[Flaw]:
        try:
            sound = True
            for flaw in self.server.flaws():
                sound = sound and flaw[0] != "error"
                yield flaw
            if sound:
                self._probe()
        except ReplayUnavailable as error:
            yield "error", error.message, error.hint

    def _probe(self) -> None:
        """Consume what nobody else can mean, for a second."""
        name = secrets.token_hex(8)
        row = json.dumps({"nonce": name})
        self._said(self._run(_CONSUME, [f"{_KEYS}probe:{name}"], name, row, 1), b"consumed")

    def _run(self, script: str, keys: Sequence[str], *values: Argument) -> Any:
        """The answer of a script. It is sent each time: a server may forget those that it was told before."""
        return self.server.write("EVAL", script, len(keys), *keys, *values)

    def _said(self, answer: Any, *known: bytes) -> bytes:
        if answer not in known:
            raise self.server.unavailable(SENSELESS)
        return bytes(answer)

    def _read(self, parse: Callable[[Any], _Value], answer: Any) -> _Value:
        try:
            return parse(answer)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            raise self.server.unavailable(FOREIGN) from None


def open_store(uri: Uri, base: Path | None) -> RedisStore:
    """The store of a `redis://` or `rediss://` URI (docs/reference.md, "URIs").

    Raises:
        UsageError: it names no server, or options that there are not.
    """
    return RedisStore(Server(parse_place(uri, base)))


def _lifetime(use: Consumption) -> int:
    """Seconds, not a time of day: a server whose clock is wrong must not forget early."""
    return max(use.expires_at - use.used_at, 0) + _KEEP


def _row(use: Consumption) -> str:
    return json.dumps(use._asdict())


def _use(data: bytes) -> Consumption:
    row = parse_object(data)
    jti, nonce, sha, approver, run_id = (_text(row[name]) for name in ("jti", "nonce", "sha", "approver", "run_id"))
    repository, environment = map(_text, row["stream"])
    return Consumption(
        jti, nonce, int(row["expires_at"]), int(row["used_at"]), Stream(repository, environment), sha, approver, run_id
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _head(values: Sequence[bytes]) -> Head:
    seq, record, written = values
    return Head(int(seq), bytes(record), {b"0": False, b"1": True}[written])
