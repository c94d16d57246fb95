"""`gate audit verify`."""

import json

import pytest

from gate.models import Consumption
from tests.audit.book import STREAM, Book, sha
from tests.audit.command import HOSTILE, Run


@pytest.fixture
def book(lasting: Book) -> Book:
    return lasting


class TestVerify:
    def test_proved(self, run: Run) -> None:
        done = run("verify")
        assert (done.code, done.err) == (0, "")
        assert done.out == "PROVED  6 records in 1 stream: 4 allows verified again, under the policy that decided.\n"

    def test_a_log_that_was_copied_through_a_laptop_is_proved(self, run: Run, book: Book) -> None:
        for folder in (book.file(1).parent, book.world.folder / "audit"):
            (folder / ".DS_Store").write_bytes(b"Bud1")
        done = run("verify")
        assert (done.code, done.err) == (0, "")
        note, proved = done.out.splitlines()
        assert note.startswith("! 2 files that desktops leave behind, and no record: ")
        assert proved.startswith("PROVED  6 records in 1 stream: ")

    def test_a_log_without_records_is_not_called_proved(self, run: Run) -> None:
        done = run("verify", "--offline", "--audit", "file:nowhere")
        assert done.code == 0
        assert done.out.splitlines()[1:] == ["no records yet: there is nothing to prove"]

    def test_something_is_wrong(self, run: Run, book: Book) -> None:
        book.rewrite(4, message="x")
        done = run("verify")
        assert done.code == 1
        assert "✗ altered  acme/shop/production, record 4: " in done.out
        assert book.log.uri(STREAM, 4) in done.out
        assert "NOT PROVED  1 finding in 6 records in 1 stream." in done.out

    def test_json_is_one_object(self, run: Run, book: Book) -> None:
        assert json.loads(run("verify", "--json").out)["proved"] is True
        book.rewrite(4, message="x")
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

    def test_the_total_is_what_lies_on_the_disk(self, run: Run, book: Book) -> None:
        for seq in range(10, 6, -1):
            book.file(seq).write_bytes(book.file(1).read_bytes())
        book.file(2).write_bytes(book.file(1).read_bytes())
        book.file(3).write_bytes(b"junk")
        done = run("verify")
        assert "✗ inserted  acme/shop/production, records 7 to 10: beyond record 6" in done.out
        assert "NOT PROVED  4 findings in 10 records in 1 stream." in done.out

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


@pytest.mark.parametrize("args", [("verify",), ("show", sha(1)), ("report",)])
def test_an_audit_makes_no_replay_store(run: Run, lasting: Book, args: tuple[str, ...]) -> None:
    for file in lasting.world.folder.glob("replay.db*"):
        file.unlink()
    assert run(*args).code == (0 if args[0] == "show" else 1)
    assert not (lasting.world.folder / "replay.db").exists()


def test_an_unknown_command(run: Run) -> None:
    assert run("nonsense").code == 2
    assert {"verify", "show", "report"} <= set(run("--help").out.split())
