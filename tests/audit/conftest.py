"""Audit logs to test with, and `gate audit` to run."""

import sys
from pathlib import Path

import pytest

from gate.cli import main
from tests.audit.book import COUNT, Book
from tests.audit.command import Done, Run


@pytest.fixture
def blank(tmp_path: Path) -> Book:
    """A log without a record."""
    return Book(tmp_path)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A log of nine records, whose heads are in memory."""
    return Book(tmp_path).write(COUNT)


@pytest.fixture
def lasting(tmp_path: Path) -> Book:
    """A log of six records, whose heads are in the store that its policy names."""
    book = Book(tmp_path)
    book.store = book.world.loaded().replay_store()
    return book.write(6)


@pytest.fixture
def run(lasting: Book, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `gate audit` beside the policy of `lasting`."""
    monkeypatch.chdir(lasting.world.folder)
    monkeypatch.delenv("GATE_POLICY", raising=False)

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["gate", "audit", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run
