"""`gate audit show`."""

import json

import click
import pytest

from gate.issuer import Issuer
from gate.text import utc
from tests.audit.book import STREAM, Book, entry, sha
from tests.audit.command import Run, hostile
from tests.world import ALICE


@pytest.fixture
def book(lasting: Book) -> Book:
    return lasting


class TestShow:
    def test_an_allow_in_one_line(self, run: Run, book: Book) -> None:
        now = int(book.world.now)
        deployment = book.world.deployment(sha="1f3c9ab2e0aa" + "0" * 28, run_id="4711")
        token = Issuer(book.world.signer, kid="test-key").issue(
            deployment, ALICE, now=now, ttl=60, reason="hotfix for login"
        )
        assert book.world.gate(replay=book.store).check([token], deployment).allowed
        done = run("show", "1f3c9ab2")
        assert done.code == 0
        assert done.out == (
            f"{utc(now)}  allowed  acme/shop 1f3c9ab2e0aa production  approved by alice@example.com "
            f'("hotfix for login") key test-key run 4711  {book.log.uri(STREAM, 7)}\n'
        )

    @pytest.mark.parametrize("columns", [40, 4000])
    def test_on_a_narrow_terminal_the_record_has_a_line_of_its_own(
        self, run: Run, book: Book, monkeypatch: pytest.MonkeyPatch, columns: int
    ) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        between = "\n    " if columns == 40 else "  "
        assert click.unstyle(run("show", sha(1)).out).endswith(f"key test-key{between}{book.log.uri(STREAM, 1)}\n")

    def test_denials_say_why(self, run: Run, book: Book) -> None:
        done = run("show", sha(3))
        assert done.code == 0
        assert "  denied   acme/shop 000000000000 production  token.malformed: " in done.out

    def test_several_decisions_stand_in_order(self, run: Run, book: Book) -> None:
        book.world.now += 60
        book.deny(1)
        words = [line.split()[2] for line in run("show", sha(1)).out.splitlines()]
        assert words == ["allowed", "denied"]

    def test_json(self, run: Run, book: Book) -> None:
        [decision] = json.loads(run("show", sha(4), "--json").out)["decisions"]
        assert (decision["decision"], decision["proved"]) == ("allow", True)
        assert decision["approvals"][0]["approver"] == ALICE

    def test_an_abbreviation_of_several(self, run: Run) -> None:
        done = run("show", "0000")
        assert done.code == 2
        assert "6 commits in the log start with 0000" in done.err

    def test_nothing_found(self, run: Run) -> None:
        done = run("show", "dead")
        assert (done.code, done.out) == (1, "")
        assert "no decision" in done.err
        assert json.loads(run("show", "dead", "--json").out)["decisions"] == []

    def test_only_one_repository_or_environment(self, run: Run, book: Book) -> None:
        assert run("show", sha(1), "--repository", "ACME/shop", "--environment", "production").code == 0
        done = run("show", sha(1), "--repository", "acme/other")
        assert (done.code, done.err) == (1, f"gate: no decision on {sha(1)} is recorded for that repository\n")
        assert run("show", sha(1), "--environment", "staging").code == 1

    @pytest.mark.parametrize("text", ["", "abc", "main", "x" * 40, "\x1b[31m", "../..", "g000"])
    def test_what_is_no_commit(self, run: Run, text: str) -> None:
        done = run("show", "--", text)
        assert done.code == 2
        assert "\x1b" not in done.err

    def test_an_allow_that_does_not_prove_itself(self, run: Run, book: Book) -> None:
        book.append(entry(book.world, 50, reason="allowed"))
        done = run("show", sha(50))
        assert done.code == 1
        assert "NOT PROVED: " in done.out

    def test_what_is_no_record_is_passed_over(self, run: Run, book: Book) -> None:
        book.file(3).write_bytes(sha(3).encode())
        assert run("show", sha(3)).code == 1

    def test_a_record_that_was_moved(self, run: Run, book: Book) -> None:
        book.file(3).write_bytes(book.file(4).read_bytes())
        assert "another record's place" in run("show", sha(4)).out

    def test_hostile_text_can_not_drive_the_terminal(self, run: Run, book: Book) -> None:
        hostile(book)
        done = run("show", sha(50))
        assert done.out.count("\n") == 1
        assert done.out.rstrip("\n").isprintable()
