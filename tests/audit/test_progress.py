"""How far a long command has come."""

import io
import os
import pty
import select
import subprocess
import sys

import pytest

from gate.cli.progress import Progress
from tests.audit.book import Book


@pytest.fixture
def book(lasting: Book) -> Book:
    return lasting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    def test_it_is_told_at_most_ten_times_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr("gate.cli.progress.time.monotonic", lambda: now[0])
        screen = Terminal()
        progress = Progress("records", screen)
        for _ in range(100_000):
            now[0] += 0.0001
            progress.step()
        progress.clear()
        assert 90 <= screen.getvalue().count("a second") <= 100
        assert screen.getvalue().endswith("\r\x1b[K")

    def test_a_short_log_and_a_file_see_none(self) -> None:
        for screen in (Terminal(), io.StringIO()):
            progress = Progress("records", screen)
            for _ in range(100):
                progress.step()
            progress.clear()
            assert screen.getvalue() == ""

    def test_on_a_real_terminal_the_answer_stands_alone(self, book: Book) -> None:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "gate", "audit", "verify"],
            cwd=book.world.folder,
            stdout=child,
            stderr=child,
            stdin=child,
        )
        os.close(child)
        seen = b""
        while select.select([parent], [], [], 30)[0]:
            try:
                data = os.read(parent, 4096)
            except OSError:  # how Linux tells that the other end has gone
                break
            if not data:
                break
            seen += data
        os.close(parent)
        assert process.wait(timeout=30) == 0
        assert b"PROVED\x1b[0m  6 records" in seen
