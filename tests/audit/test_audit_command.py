"""`gate audit` on the command line."""

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from gate.cli import main
from gate.cli.progress import Progress
from gate.errors import ReasonCode
from gate.issuer import Issuer
from gate.models import Consumption
from gate.report.words import WORDS
from gate.text import utc
from tests.audit.book import STREAM, Book, entry, sha
from tests.world import ALICE

HOSTILE = "=cmd|'/c calc'!A1<script>alert(1)</script>\"&\u202e\x1b[31m\r\n::error::x"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path)
    book.store = book.world.loaded().replay_store()
    return book.write(6)


@pytest.fixture
def run(book: Book, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(book.world.folder)
    monkeypatch.delenv("GATE_POLICY", raising=False)

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["gate", "audit", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


def edit(book: Book, seq: int) -> None:
    book.file(seq).write_bytes(
        book.file(seq).read_bytes().replace(b"denied", b"Denied").replace(b"Approved", b"approved")
    )


class TestVerify:
    def test_proved(self, run: Run) -> None:
        done = run("verify")
        assert (done.code, done.err) == (0, "")
        assert done.out == "PROVED  6 records in 1 stream: 4 allows verified again, under the policy that decided.\n"

    def test_something_is_wrong(self, run: Run, book: Book) -> None:
        edit(book, 4)
        done = run("verify")
        assert done.code == 1
        assert "✗ altered  acme/shop/production, record 4: " in done.out
        assert book.log.uri(STREAM, 4) in done.out
        assert "NOT PROVED  1 finding in 6 records in 1 stream." in done.out

    def test_json_is_one_object(self, run: Run, book: Book) -> None:
        assert json.loads(run("verify", "--json").out)["proved"] is True
        edit(book, 4)
        book.file(6).unlink()
        done = run("verify", "--json")
        answer = json.loads(done.out)
        assert done.code == 1
        assert answer["proved"] is False
        found = [(finding["kind"], finding["first"], finding["uri"]) for finding in answer["findings"]]
        assert sorted(found) == [
            ("altered", 4, book.log.uri(STREAM, 4)),
            ("removed", 6, book.log.uri(STREAM, 6)),
        ]
        assert answer["findings"][0]["stream"] == {"repository": "acme/shop", "environment": "production"}

    def test_offline_never_claims_more_than_it_saw(self, run: Run, book: Book) -> None:
        book.file(6).unlink()
        done = run("verify", "--offline")
        assert done.code == 0
        assert "OFFLINE: the replay store was not asked" in done.out
        assert "PROVED OFFLINE" in done.out
        assert run("verify").code == 1

    def test_a_policy_that_has_changed(self, run: Run, book: Book) -> None:
        old = book.world.path.read_bytes()
        book.world.path.with_name("old.yaml").write_bytes(old)
        book.world.path.write_bytes(old.replace(b"15m", b"10m"))
        assert "4 more by signature and claims alone" in run("verify").out
        assert "4 allows verified again" in run("verify", "--policy", "gate.yaml", "--policy", "old.yaml").out

    def test_another_log(self, run: Run, book: Book) -> None:
        (book.world.folder / "audit").rename(book.world.folder / "copy")
        assert run("verify").code == 1
        assert run("verify", "--audit", "file:copy").code == 0

    def test_the_policy_of_the_environment(self, run: Run, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
        book.world.path.rename(book.world.folder / "my policy.yaml")
        assert run("verify").code == 2
        monkeypatch.setenv("GATE_POLICY", "my policy.yaml")
        assert run("verify").code == 0

    def test_a_log_that_can_not_be_read(self, run: Run, book: Book) -> None:
        (book.world.folder / "file").write_bytes(b"")
        for more in ([], ["--json"]):
            done = run("verify", "--audit", "file:file", *more)
            assert done.code == 3
            assert "can't be read" in done.err
        answer = json.loads(done.out)
        assert answer["proved"] is False
        assert answer["error"]["reason"] == "audit.unavailable"

    @pytest.mark.parametrize("args", [["--policy", "none.yaml"], ["--audit", "gopher:x"], ["--unknown"]])
    def test_usage(self, run: Run, args: list[str]) -> None:
        done = run("verify", *args)
        assert (done.code, done.out) == (2, "")
        assert done.err

    def test_a_consumption_without_a_record(self, run: Run, book: Book) -> None:
        use = Consumption("j" * 32, "n", 9**11, 1_000_000_000, STREAM, sha(7), HOSTILE, HOSTILE)
        book.store.consume([use])
        done = run("verify")
        assert done.code == 1
        assert "✗ unrecorded  acme/shop/production: an approval by" in done.out
        assert all(line.isprintable() for line in done.out.splitlines())


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
        assert run("show", sha(1), "--repository", "acme/other").code == 1
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


def hostile(book: Book) -> None:
    """A record by somebody who may write what they like."""
    approval = {"approver": HOSTILE, "jti": HOSTILE, "kid": HOSTILE, "issued_at": 1, "expires_at": 2, "reason": HOSTILE}
    made = entry(book.world, 50, reason="allowed", message=HOSTILE, approvals=(approval,), tokens=(HOSTILE,))
    book.append(made)
    book.append(entry(book.world, 51, message=HOSTILE))


class Page(HTMLParser):
    """A page taken apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class TestReport:
    def report(self, run: Run, book: Book, *args: str) -> tuple[Page, list[dict[str, str]]]:
        done = run("report", "--csv", "table.csv", *args)
        assert done.code in (0, 1), done.err
        table = (book.world.folder / "table.csv").read_bytes().decode("utf-8-sig")
        return (
            Page((book.world.folder / "audit.html").read_text("utf-8")),
            list(csv.DictReader(io.StringIO(table, newline=""))),
        )

    def test_a_manager_finds_what_happened(self, run: Run, book: Book) -> None:
        page, rows = self.report(run, book)
        assert "4 deployments were allowed" in page.text
        assert "2 were refused, most often (2) because: the approval was damaged, or was none." in page.text
        assert "The audit log is proved" in page.text
        assert {"svg", "title", "desc"} <= set(page.tags)
        assert page.text.count(ALICE) == 1 + 4
        assert [row["decision"] for row in rows] == ["allow", "allow", "deny"] * 2
        assert rows[0]["approvers"] == ALICE
        assert rows[0]["proof"] == "policy"
        assert rows[0]["record"] == book.log.uri(STREAM, 1)

    def test_the_page_brings_everything_and_runs_nothing(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book)
        assert not {"script", "link", "img", "iframe", "a", "form", "object"} & set(page.tags)
        names = {name for name, _ in page.attributes}
        assert not {name for name in names if name.startswith("on") or name in ("href", "src", "style")}
        policy = next(value for name, value in page.attributes if name == "content" and "default-src" in (value or ""))
        assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='", policy or "")

    def test_a_log_that_is_not_proved_says_so_first(self, run: Run, book: Book) -> None:
        edit(book, 4)
        page, _ = self.report(run, book)
        assert "The audit log is not proved" in page.text
        assert "According to records that are not proved" in page.text
        assert book.log.uri(STREAM, 4) in page.text
        assert run("report").code == 1

    def test_findings_without_end_are_counted_only(self, run: Run, book: Book) -> None:
        for number in range(60):
            (book.world.folder / "audit" / f"stray-{number}").write_bytes(b"")
        page, _ = self.report(run, book)
        assert "60 findings in 6 records" in page.text
        assert page.tags.count("li") == 51
        assert "and 10 more" in page.text

    def test_a_log_of_denials_only(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book, "--until", "2000-01-01")
        assert "No decisions" in page.text
        book.world.now += 9 * 86400
        book.deny(9)
        page, _ = self.report(run, book, "--since", utc(int(book.world.now))[:10])
        assert "0 deployments were allowed; 1 was refused" in page.text
        assert "Who approved" not in page.text.replace("Who approved what", "")

    def test_old_policies_are_asked_for(self, run: Run, book: Book) -> None:
        book.world.path.write_bytes(book.world.path.read_bytes().replace(b"15m", b"10m"))
        assert "For 4 of them the policy of the time was not at hand" in self.report(run, book)[0].text

    def test_offline_says_so(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book, "--offline")
        assert "The replay store was not asked" in page.text

    def test_hostile_text_is_only_text(self, run: Run, book: Book) -> None:
        hostile(book)
        page, rows = self.report(run, book)
        assert "script" not in page.tags
        assert all(character.isprintable() or character == "\n" for character in page.text)
        assert "<script>alert(1)</script>" in page.text
        cells = [cell for row in rows for cell in row.values()]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
        assert all(cell.isprintable() for cell in cells)
        assert rows[6]["approvers"].startswith("'=cmd")

    def test_a_selection(self, run: Run, book: Book) -> None:
        book.world.now += 3 * 86400
        book.allow(20)
        day = utc(int(book.world.now))[:10]
        assert len(self.report(run, book, "--since", day)[1]) == 1
        assert len(self.report(run, book, "--until", day)[1]) == 7
        assert len(self.report(run, book, "--until", utc(int(book.world.now) - 86400)[:10])[1]) == 6
        page, rows = self.report(run, book, "--repository", "acme/other", "--environment", "a<b")
        assert rows == []
        assert "acme/other into a<b" in page.text
        assert "No decisions were recorded here." in page.text
        assert "The audit log is proved" in page.text

    def test_json(self, run: Run, book: Book) -> None:
        answer = json.loads(run("report", "--json").out)
        assert (answer["proved"], answer["decisions"], answer["allowed"], answer["denied"]) == (True, 6, 4, 2)

    def test_a_page_that_can_not_be_written(self, run: Run, book: Book) -> None:
        done = run("report", "--output", "no/such/folder/page.html")
        assert (done.code, done.out) == (2, "")
        assert "can't be written" in done.err

    def test_nothing_is_replaced_where_the_log_can_not_be_read(self, run: Run, book: Book) -> None:
        (book.world.folder / "audit.html").write_text("old")
        (book.world.folder / "file").write_bytes(b"")
        before = sorted(book.world.folder.iterdir())
        assert run("report", "--audit", "file:file").code == 3
        assert (book.world.folder / "audit.html").read_text() == "old"
        assert sorted(book.world.folder.iterdir()) == before

    def test_only_the_newest_stand_on_the_page(self, run: Run, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gate.report.NEWEST", 2)
        page, rows = self.report(run, book)
        assert page.text.count("acme/shop → production") == 1 + 2
        assert len(rows) == 6
        assert sha(6)[:12] in page.text

    @pytest.mark.parametrize("days", [1, 62, 63, 800, 40_000])
    def test_the_picture_has_bars_enough_for_any_span(self, run: Run, book: Book, days: int) -> None:
        book.append(entry(book.world, 60, decided_at=int(book.world.now) + (days - 1) * 86400))
        page, _ = self.report(run, book)
        bars = page.tags.count("g")
        assert 1 <= bars <= 2
        width = next(value for name, value in page.attributes if name == "viewbox")
        assert int((width or "").split()[2]) <= 620


def test_every_reason_has_words() -> None:
    assert WORDS.keys() == set(get_args(ReasonCode))
    assert len(set(WORDS.values())) == len(WORDS)


def test_an_unknown_command(run: Run) -> None:
    assert run("nonsense").code == 2
    assert {"verify", "show", "report"} <= set(run("--help").out.split())


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


def test_memory_of_a_report_does_not_grow_with_the_log(tmp_path: Path) -> None:
    import tracemalloc

    from gate.record import parse
    from gate.report import Report, Row, Selection
    from gate.report.page import page

    book = Book(tmp_path).write(1)
    record: Any = parse(book.file(1).read_bytes())

    def peak(count: int) -> int:
        report = Report(Selection(), offline=False)
        tracemalloc.start()
        for number in range(count):
            report.add(Row(number % 1_000_000, f"file:///{number:09d}", record, "policy"))
        assert sum(map(len, page(report, 0))) > 1000
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(20_000) < 1.2 * peak(2_000)
