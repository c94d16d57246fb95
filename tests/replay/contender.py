"""A process of its own that consumes: each line on stdin is `NONCE JTI…`, each on stdout what came of it."""

import sys
from pathlib import Path

from gate.errors import Denied
from gate.replay import open_replay_store
from tests.replay.material import use

if __name__ == "__main__":
    store = open_replay_store(sys.argv[1], Path(sys.argv[2]))
    list(store.heads())
    print("ready", flush=True)
    for line in sys.stdin:
        nonce, *jtis = line.split()
        try:
            store.consume([use(jti, nonce) for jti in jtis])
        except Denied as denied:
            print(denied.reason, flush=True)
        else:
            print("consumed", flush=True)
