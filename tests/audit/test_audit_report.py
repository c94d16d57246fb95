"""`gate audit report`."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from gate.errors import ReasonCode
from gate.report.words import WORDS
from gate.text import utc
from tests.audit.book import STREAM, Book, entry, sha
from tests.audit.command import Run, hostile
from tests.world import ALICE


@pytest.fixture
def book(lasting: Book) -> Book:
    return lasting


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
        book.rewrite(4, message="x")
        page, _ = self.report(run, book)
        assert "The audit log is not proved" in page.text
        assert "According to records that are not proved" in page.text
        assert book.log.uri(STREAM, 4) in page.text
        assert run("report").code == 1

    def test_records_that_are_no_decisions_are_counted(self, run: Run, book: Book) -> None:
        book.file(3).write_bytes(b"junk")
        page, rows = self.report(run, book)
        assert "1 finding in 6 records; 1 of them stands where it does not belong or can't be read" in page.text
        book.file(7).write_bytes(b"junk")
        page, rows = self.report(run, book)
        assert "2 findings in 7 records; 2 of them stand where they do not belong" in page.text
        assert len(rows) == 5

    def test_findings_without_end_are_counted_only(self, run: Run, book: Book) -> None:
        for number in range(60):
            (book.world.folder / "audit" / f"stray-{number}").write_bytes(b"")
        page, _ = self.report(run, book)
        assert "60 findings in 6 records" in page.text
        assert page.tags.count("li") == 51
        assert "and 10 more" in page.text

    def test_a_log_of_denials_only(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book, "--until", "2000-01-01")
        assert "Nothing matches: of 6 decisions in the log, none is what was asked for." in page.text
        done = run("report", "--until", "2000-01-01")
        assert (done.code, done.out) == (
            0,
            "PROVED  nothing matches (0 of 6 decisions), in audit.html\n",
        )
        book.world.now += 9 * 86400
        book.deny(9)
        page, _ = self.report(run, book, "--since", utc(int(book.world.now))[:10])
        assert "0 deployments were allowed; 1 was refused" in page.text
        assert page.text.count(utc(int(book.world.now))[:10]) == 5  # on top, in the list, and thrice with the picture
        assert "Who approved" not in page.text.replace("Who approved what", "")

    def test_a_log_without_records(self, run: Run, book: Book) -> None:
        page, rows = self.report(run, book, "--offline", "--audit", "file:nowhere")
        assert rows == []
        assert "No decisions were recorded yet." in page.text
        assert "holds no records yet" in page.text
        assert "proved" not in page.text
        assert run("report", "--offline", "--audit", "file:nowhere").out == "no records yet, in audit.html\n"

    def test_days_that_can_not_be(self, run: Run) -> None:
        done = run("report", "--since", "2026-11-02", "--until", "2026-11-01")
        assert (done.code, done.out) == (2, "")
        assert "No day is of --since and later" in done.err
        assert run("report", "--since", "2026-11-02", "--until", "2026-11-02").code == 0

    def test_one_deployment_is_not_each(self, run: Run, book: Book) -> None:
        book.world.now += 9 * 86400
        book.allow(9)
        page, _ = self.report(run, book, "--since", utc(int(book.world.now))[:10])
        assert "1 deployment was allowed, on the signed approval of a named engineer; none was refused." in page.text

    def test_the_figures_use_the_words_of_the_rest(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book)
        assert "Refused2of these, not decided0" in page.text
        assert "Denied" not in page.text

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
        assert "Nothing matches" in page.text
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
