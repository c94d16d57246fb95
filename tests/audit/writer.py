"""A process of its own that lets the gate allow: FOLDER NOW NUMBER COUNT [POINT before|after].

With a point it kills itself there, as a runner that loses its machine does.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from gate.signers import open_signer
from tests.audit.book import sha
from tests.world import World


class Dying:
    """Passes everything on, until the method `point` is called."""

    def __init__(self, inner: Any, point: str, moment: str) -> None:
        self._inner, self._point, self._moment = inner, point, moment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        return self._die(method) if name == self._point else method

    def _die(self, method: Any) -> Any:
        def dying(*args: Any, **kwargs: Any) -> None:
            if self._moment == "after":
                method(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        return dying


class Living(World):
    """A world that is there already."""

    def __post_init__(self) -> None:
        self.signer = open_signer("file:key.pem", self.folder)


def main(folder: str, now: str, number: str, count: str, point: str = "", moment: str = "") -> None:
    """Allow `count` commits."""
    world = Living(Path(folder), now=int(now))
    loaded = world.loaded()
    store, log = (Dying(part, point, moment) for part in (loaded.replay_store(), loaded.audit_log()))
    for commit in range(int(number) * 1000, int(number) * 1000 + int(count)):
        token, deployment = world.token(sha=sha(commit)), world.deployment(sha=sha(commit))
        decision = world.gate(replay=store, audit=log).check([token], deployment)
        assert decision.allowed, decision


if __name__ == "__main__":
    main(*sys.argv[1:])
