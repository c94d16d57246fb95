"""What a Redis server says of itself, and what of that would let it forget a use."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Info = Mapping[str, str]


class Hazard(NamedTuple):
    """Why a server must not be relied on, and the fix. Some accept one that `forgets`; a replica is never right."""

    message: str
    fix: str
    forgets: bool = True


def parse_info(answer: bytes) -> Info:
    """The fields of an answer to INFO, which every version and every managed service knows.

    Raises:
        ValueError: it is none.
    """
    lines = answer.decode("utf-8", "replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines if line and not line.startswith("#"))
    if "role" not in fields:
        raise ValueError
    return fields


def hazards(info: Info) -> Iterator[Hazard]:
    """What blocks before the first use. CONFIG is not asked: managed services refuse it."""
    if info["role"] != "master":
        if info.get("cluster_enabled") == "1":
            return  # it only says which server to ask
        yield Hazard(
            "is a replica, which may not yet know what was used", "Name the primary server in its URI.", forgets=False
        )
    if info.get("aof_enabled") != "1":
        yield Hazard(
            "would forget used approvals when it restarts: its append-only file is off",
            "Set appendonly yes (docs/operations.md).",
        )
    if info.get("maxmemory") != "0" and info.get("maxmemory_policy") != "noeviction":
        yield Hazard(
            "forgets used approvals when its memory is full: it evicts keys",
            "Set maxmemory-policy noeviction (docs/operations.md).",
        )

    if "min_slaves_good_slaves" in info and _version(info) < (6, 2, 7):  # its release notes: #10160
        yield Hazard(
            "would count a use that no replica has: before Redis 6.2.7, scripts write despite min-replicas-to-write",
            "Update it, or set min-replicas-to-write 0.",
        )


def lag(info: Info, appendfsync: str) -> Hazard | None:
    """Why the newest uses may not be on the disk yet when they count. `appendfsync` is when the server brings them
    there, "" where it does not tell."""
    if hazard := next(hazards(info), None):
        return hazard
    if confirms_disk(info) or appendfsync == "always":
        return None
    fix = "Set appendfsync always, or update it to Redis 7.2."
    if not appendfsync:
        message = (
            "can't tell whether a use is on its disk before it counts: it neither confirms that nor shows its settings"
        )
        return Hazard(message, f"Let this user see them (+config|get). {fix}")
    last = "last second" if appendfsync == "everysec" else "newest uses, of half a minute or more"
    return Hazard(f"a crash may lose its {last}, and would then block the streams that it held", fix)


def server_time(info: Info) -> float | None:
    """What the server's clock said, in epoch seconds; None where it does not tell."""
    text = info.get("server_time_usec", "")
    return int(text) / 1_000_000 if text.isdecimal() else None


def confirms_disk(info: Info) -> bool:
    """Whether the server can say that a write is on its disk: WAITAOF, from Redis 7.2 on."""
    return _version(info) >= (7, 2) and info.get("aof_enabled") == "1"


def _version(info: Info) -> tuple[int, ...]:
    """Of the Redis that it is, or that it is compatible with; the oldest where it does not tell."""
    version = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", info.get("redis_version", ""))
    return tuple(int(part or 0) for part in version.groups()) if version else (0, 0, 0)
