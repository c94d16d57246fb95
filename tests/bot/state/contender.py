"""A process of its own that changes a state.

Each line on stdin is `put KEY VALUE`, `take KEY`, or `count KEY TIMES`: each on stdout what came of it.
"""

import os
import sys
from pathlib import Path

from gate.bot.state import State, open_state
from tests.bot.state.material import NOW, put


def _count(state: State, key: str, times: int) -> None:
    for _ in range(times):
        while True:
            current = state.get("request", key, NOW)
            version = current.version if current else 0
            if put(state, key, [version + 1, os.getpid()], version):  # who writes the same wins as well
                print(version + 1, flush=True)
                break


if __name__ == "__main__":
    state = open_state(sys.argv[1], Path(sys.argv[2]))
    state.get("request", "warm", NOW)
    print("ready", flush=True)
    for line in sys.stdin:
        what, key, *more = line.split()
        if what == "put":
            print("won" if put(state, key, more[0]) else "lost", flush=True)
        elif what == "take":
            print("got" if state.take("request", key, NOW) else "nothing", flush=True)
        else:
            _count(state, key, int(more[0]))
