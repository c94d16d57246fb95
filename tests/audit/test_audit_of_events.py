"""`gate audit` on a log with events of the deploy-bot."""

import csv
import json
from pathlib import Path

import pytest

from gate.audit import open_audit_log
from gate.chain import append
from gate.record import BOT_STREAM, EventKind
from gate.replay import open_replay_store
from gate.text import utc
from tests.audit.book import STREAM, Book, happening, sha
from tests.audit.command import HOSTILE, Run
from tests.audit.test_audit_report import Page
from tests.world import ALICE, BOB


@pytest.fixture
def book(lasting: Book) -> Book:
    """Six decisions, then five events: two on commit 1, two on commits without a decision, one on none."""
    book = lasting
    book.world.now += 60
    book.tell(1, event="approval", who=ALICE, message="", deployment=book.world.deployment(sha=sha(1), run_id="47"))
    book.world.now += 60
    book.tell(1, message="not on a Friday", invocation="f" * 22)
    book.tell(70)
    book.tell(71)
    book.tell(3, event="sign_in_failure", who="", message="unknown key", deployment=None)
    return book


class TestShow:
    def test_events_stand_between_the_decisions(self, run: Run, book: Book) -> None:
        now = int(book.world.now)
        book.world.now += 60
        book.allow(1)
        done = run("show", sha(1))
        lines = done.out.splitlines()
        assert done.code == 0
        assert [line.split()[2] for line in lines] == ["allowed", "event", "event", "allowed"]
        what = f"acme/shop {sha(1)[:12]} production"
        first = f"{utc(now - 60)}  event    {what}  approved on the page by {ALICE} run 47  {book.log.uri(STREAM, 7)}"
        second = f"{utc(now)}  event    {what}  declined by {BOB}: not on a Friday  {book.log.uri(STREAM, 8)}"
        assert lines[1:3] == [first, second]

    @pytest.mark.parametrize(
        ("event", "words"), [("enrolment", f"passkey enrolled by {BOB}"), ("sign_in_failure", "sign-in failed for")]
    )
    def test_every_event_has_words(self, run: Run, book: Book, event: EventKind, words: str) -> None:
        book.tell(4, event=event)
        assert words in run("show", sha(4)).out

    def test_json_has_them_apart(self, run: Run, book: Book) -> None:
        answer = json.loads(run("show", sha(1), "--json").out)
        assert answer.keys() == {"sha", "decisions", "events"}
        assert [decision["decision"] for decision in answer["decisions"]] == ["allow"]
        assert answer["events"][1] == {
            "happened_at": int(book.world.now),
            "event": "refusal",
            "who": BOB,
            "message": "not on a Friday",
            "deployment": book.world.deployment(sha=sha(1)).as_json(),
            "token_digests": [],
            "record": book.log.uri(STREAM, 8),
            "doubt": "",
        }

    def test_an_event_is_no_decision(self, run: Run, book: Book) -> None:
        done = run("show", sha(70))
        assert done.code == 1
        assert f"declined by {BOB}: refusal 70" in done.out
        assert "no decision" in done.err
        assert json.loads(run("show", sha(70), "--json").out)["decisions"] == []

    def test_an_event_that_was_moved(self, run: Run, book: Book) -> None:
        book.file(3).write_bytes(book.file(8).read_bytes())
        done = run("show", sha(1))
        assert done.code == 1
        assert "NOT PROVED: It stands in another record's place." in done.out

    def test_hostile_text_can_not_drive_the_terminal(self, run: Run, book: Book) -> None:
        book.tell(80, message=HOSTILE, who="=cmd|{0}")
        done = run("show", sha(80))
        assert done.out.count("\n") == 1
        assert done.out.rstrip("\n").isprintable()


class TestVerify:
    def test_events_are_proved_and_counted(self, run: Run, book: Book) -> None:
        done = run("verify")
        assert (done.code, done.err) == (0, "")
        assert done.out == (
            "PROVED  11 records (5 events of the deploy-bot) in 2 streams: "
            "4 allows verified again, under the policy that decided.\n"
        )
        answer = json.loads(run("verify", "--json").out)
        assert (answer["records"], answer["events"], answer["allows"]["policy"]) == (11, 5, 4)

    def test_an_event_that_was_altered(self, run: Run, book: Book) -> None:
        book.rewrite(7, who="mallory@example.com")
        done = run("verify")
        assert done.code == 1
        assert "✗ altered  acme/shop/production, record 7: " in done.out

    def test_an_event_of_the_bots_own_stream_that_is_gone(self, run: Run, book: Book) -> None:
        book.file(1, BOT_STREAM).unlink()
        assert "✗ removed  deploy-gate/bot/events, record 1: " in run("verify").out


class TestReport:
    def report(self, run: Run, book: Book, *args: str) -> tuple[Page, list[dict[str, str]]]:
        assert run("report", "--csv", "table.csv", *args).code == 0
        table = (book.world.folder / "table.csv").read_text("utf-8-sig")
        return Page((book.world.folder / "audit.html").read_text("utf-8")), list(csv.DictReader(table.splitlines()))

    def test_it_is_about_decisions_and_counts_events_apart(self, run: Run, book: Book) -> None:
        page, rows = self.report(run, book)
        assert len(rows) == 6
        assert "4 deployments were allowed" in page.text
        assert "2 were refused" in page.text
        assert "All 11 records of the log stand unaltered" in page.text
        assert "On the deploy-bot, beside these decisions" in page.text
        assert "An engineer declined3" in page.text
        assert "An engineer approved on the page1" in page.text
        assert "A sign-in failed1" in page.text

    def test_a_log_without_events_does_not_speak_of_them(self, run: Run, lasting: Book) -> None:
        assert "deploy-bot" not in self.report(run, lasting)[0].text

    def test_a_selection(self, run: Run, book: Book) -> None:
        page, _ = self.report(run, book, "--repository", "acme/shop")
        assert "A sign-in failed" not in page.text
        page, _ = self.report(run, book, "--until", "2000-01-01")
        assert "Nothing matches: of 6 decisions in the log, none is what was asked for." in page.text
        assert "On the deploy-bot" not in page.text

    def test_json(self, run: Run, book: Book) -> None:
        answer = json.loads(run("report", "--json").out)
        assert (answer["records"], answer["decisions"], answer["events"]) == (11, 6, 5)

    def test_a_log_of_events_alone(self, run: Run, book: Book, apart: tuple[str, ...]) -> None:
        done = run("report", *apart)
        assert (done.code, done.out) == (0, "PROVED  0 decisions, in audit.html\n")
        page = Page((book.world.folder / "audit.html").read_text("utf-8"))
        assert "No decisions were recorded yet." in page.text
        assert "The audit log is proved" in page.text
        assert "An engineer declined3" in page.text


@pytest.fixture
def apart(book: Book) -> tuple[str, ...]:
    """A deploy-bot that keeps a log and heads of its own; how they are named."""
    folder = book.world.folder
    log, heads = open_audit_log("file:bot-audit", folder), open_replay_store("sqlite:bot.db", folder)
    for number in (1, 2, 3):
        append(log, heads, happening(book.world, number))
    return ("--audit", "file:bot-audit", "--replay", "sqlite:bot.db")


class TestApart:
    def test_it_is_proved_by_its_own_heads(self, run: Run, book: Book, apart: tuple[str, ...]) -> None:
        done = run("verify", *apart)
        assert done.code == 0
        assert "PROVED  3 records (3 events of the deploy-bot) in 1 stream: 0 allows" in done.out
        assert run("verify").code == 0
        assert run("verify", *apart[:2]).code == 1  # the gate's heads are of another log

    def test_what_was_cut_from_its_end_is_missed(self, run: Run, book: Book, apart: tuple[str, ...]) -> None:
        (book.world.folder / "bot-audit/acme/shop/production/seq=000000000003.json").unlink()
        assert "✗ removed  acme/shop/production, record 3: " in run("verify", *apart).out

    def test_it_is_asked(self, run: Run, book: Book, apart: tuple[str, ...]) -> None:
        done = run("show", sha(2), *apart[:2])
        assert done.code == 1  # no decision
        assert f"declined by {BOB}: refusal 2" in done.out

    @pytest.mark.parametrize("args", [["--replay", "gopher:x"], ["--replay", "sqlite:bot.db", "--offline"]])
    @pytest.mark.parametrize("command", ["verify", "report"])
    def test_usage(self, run: Run, book: Book, command: str, args: list[str]) -> None:
        done = run(command, *args)
        assert (done.code, done.out) == (2, "")
        assert done.err

    def test_an_audit_makes_no_replay_store(self, run: Run, book: Book) -> None:
        run("verify", "--replay", "sqlite:none.db")
        assert not Path(book.world.folder / "none.db").exists()
