"""What the tests of the replay stores are made of."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, NamedTuple

from gate.errors import GateError
from gate.models import Consumption, Stream
from gate.replay import ReplayStore, open_replay_store

STREAM = Stream("acme/shop", "production")
NOW = 1_800_000_000
ROOT = Path(__file__).parents[2]


def use(jti: str, nonce: str, **changes: Any) -> Consumption:
    """A use of `jti` by the invocation `nonce`, an hour before it may be forgotten."""
    values: dict[str, Any] = {
        "jti": jti,
        "nonce": nonce,
        "expires_at": NOW + 3600,
        "used_at": NOW,
        "stream": STREAM,
        "sha": "5e" * 20,
        "approver": "alice@example.com",
        "run_id": f"run of {nonce}",
    }
    return Consumption(**(values | changes))


class Backend(NamedTuple):
    """A place for a store, and how to open one there."""

    uri: str
    base: Path

    def open(self) -> ReplayStore:
        return open_replay_store(self.uri, self.base)


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call all at the same moment, each in a thread of its own: what each returned, or the GateError that it raised."""
    barrier = Barrier(len(calls))
    results: list[Any] = ["it died"] * len(calls)

    def run(index: int) -> None:
        barrier.wait(timeout=30)
        try:
            results[index] = calls[index]()
        except GateError as error:
            results[index] = error

    threads = [Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a consumer hangs"
    return results


@contextmanager
def contenders(
    backend: Backend, count: int, module: str = "tests.replay.contender"
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that have opened the store, ready to consume what `tell` says, or to do what else `module` can."""
    command = [sys.executable, "-m", module, backend.uri, str(backend.base)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(count)
        ]
        try:
            for process in processes:
                assert answer(process) == "ready"
            yield processes
        finally:
            for process in processes:
                process.kill()


def tell(process: "subprocess.Popen[str]", nonce: str, jtis: Sequence[str]) -> None:
    assert process.stdin
    process.stdin.write(" ".join([nonce, *jtis]) + "\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()
