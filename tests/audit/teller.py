"""A process of its own that records events, as a deploy-bot does: FOLDER NOW NUMBER COUNT."""

import sys
from pathlib import Path

from gate.chain import append
from tests.audit.book import happening
from tests.audit.writer import Living


def main(folder: str, now: str, number: str, count: str) -> None:
    """Tell of `count` refusals."""
    world = Living(Path(folder), now=int(now))
    store, log = world.loaded().replay_store(), world.loaded().audit_log()
    for each in range(int(number) * 1000, int(number) * 1000 + int(count)):
        append(log, store, happening(world, each))


if __name__ == "__main__":
    main(*sys.argv[1:])
