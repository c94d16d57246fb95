"""`gate demo --bot`, as somebody tries it: a job asks, they sign in and decide, and see what comes of it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bot.stage import ROOT
from tests.bot.visitor import Visitor
from tests.parts import free_port


@contextmanager
def running_demo(folder: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """`gate demo --bot` on a folder that is no checkout, until the block ends; all that it says is on stdout."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gate", "demo", "--bot", "--port", str(port), "--checkout", str(folder)]
    with subprocess.Popen(
        command, cwd=folder, env=kept | environ, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as demo:  # fmt: skip
        try:
            yield demo
        finally:
            if demo.poll() is None:
                os.killpg(demo.pid, signal.SIGTERM)  # its bot and its job, too


@pytest.mark.parametrize(
    ("decide", "code", "said"), [("approve", 0, "ALLOWED"), ("decline", 1, "alice@example.com declined: not today")]
)
def test_the_story_ends_as_you_decide(tmp_path: Path, decide: str, code: int, said: str) -> None:
    port = free_port()
    with running_demo(tmp_path, port) as demo:
        assert demo.stdout
        told = ""
        while not (link := re.search(rf"approval asked for: http://localhost:{port}/requests/(\S+)", told)):
            line = demo.stdout.readline()
            assert line, told
            told += line
        alice = Visitor(f"http://localhost:{port}", port)
        assert alice.post("/dev/sign-in", {"person": "alice@example.com"}).status == 303
        decided = alice.approve(link[1]) if decide == "approve" else alice.decline(link[1], "not today")
        assert decided.status == 303
        told += demo.stdout.read()
        demo.wait(60)
    assert demo.returncode == code, told
    assert said in told
    assert "alice@example.com" in told.partition("3. Who approved it?")[2]
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_ends_it_in_the_middle_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    """A signal to it alone: its bot and its job end with it."""
    port = free_port()
    with running_demo(tmp_path, port) as demo:
        assert demo.stdout
        while "approval asked for" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(how)
        demo.communicate(timeout=60)  # ends once nobody has its stdout any more
    assert demo.returncode
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port))
