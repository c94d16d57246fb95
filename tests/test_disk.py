"""A full and a read-only disk, for real: what the gate says on them, and that a proof only reads."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gate.errors import ReplayUnavailable
from gate.models import Head
from gate.replay.sqlite import SqliteStore
from tests.replay.material import ROOT, STREAM, use
from tests.test_aws import verify
from tests.world import World

SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
WORDS = {"full": "no space left on device", "read-only": "read-only file system"}


def mount(*arguments: str) -> bool:
    return subprocess.run([*SUDO, "mount", *arguments], check=False, capture_output=True).returncode == 0


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    folder.mkdir()
    if sys.platform != "linux" or not mount(*arguments, str(folder)):  # no part that could be installed
        pytest.skip("NOT TESTED: it takes the right to mount a disk")
    try:
        yield folder
    finally:
        subprocess.run([*SUDO, "umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size=4m,uid={os.getuid()}", "tmpfs") as folder:
        yield folder


def spoil(disk: Path, how: str) -> None:
    """Make it read-only, or fill it to its last byte."""
    if how == "read-only":
        assert mount("-o", "remount,ro", str(disk))
        return
    with pytest.raises(OSError, match="No space left"), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def world(tmp_path: Path, disk: Path) -> World:
    """One decision on the disk; its policy lies elsewhere."""
    folder = tmp_path / "policy"
    folder.mkdir()
    made = World(folder, replay=f"sqlite://{disk}/replay.db", audit=f"file://{disk}/audit", now=time.time())
    assert verify(made, made.token())[0] == 0
    return made


def gate(world: World, *command: str) -> "subprocess.CompletedProcess[str]":
    command = (*command, "--policy", str(world.path))
    run = [sys.executable, "-m", "gate", *command]
    return subprocess.run(run, cwd=world.folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_it_is_called_so_and_what_is_on_it_is_proved(world: World, disk: Path, how: str) -> None:
    spoil(disk, how)
    code, answer = verify(world, world.token())
    assert (code, answer["reason"]) == (3, "replay.unavailable")
    assert WORDS[how] in answer["message"]
    assert answer["hint"].startswith("The disk is full" if how == "full" else "The file system is read-only")
    doctor = gate(world, "doctor")
    assert doctor.returncode == 1
    assert doctor.stdout.count(f"({WORDS[how]})") == 2  # of the replay store, and of the audit log
    for command in (["verify"], ["show", "1f3c9ab2"], ["report", "--output", str(world.folder / "report")]):
        proof = gate(world, "audit", *command)
        assert (proof.returncode, proof.stderr) == (0, ""), (command, proof.stdout)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_the_doctor_finds_no_place_for_a_store_that_is_yet_to_be(disk: Path, how: str) -> None:
    spoil(disk, how)
    (found,) = SqliteStore(disk / "deeper" / "replay.db", "x").diagnose()
    assert (found.severity, WORDS[how] in found.message) == ("error", True)


def test_a_log_alone_on_a_full_disk_blocks(world: World, disk: Path) -> None:
    world.replay = "sqlite:replay.db"
    world.audit = f"file://{disk}/other"
    world.path.write_text(world.text)
    spoil(disk, "full")
    code, answer = verify(world, world.token())
    assert (code, answer["reason"], WORDS["full"] in answer["message"]) == (3, "audit.unavailable", True)
    assert gate(world, "doctor").returncode == 1


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from gate.models import Head
from gate.replay.sqlite import SqliteStore
from tests.replay.material import STREAM
store = SqliteStore(Path(sys.argv[1]), "x")
store.advance(STREAM, Head(1, b"one", written=True), 0)
store.advance(STREAM, Head(2, b"two", written=True), 1)
if sys.argv[2] == "journal":
    [db] = store.file._idle[os.getpid()]
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE heads SET seq = 3, record = zeroblob(1000000)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path: Path, left: str) -> set[str]:
    """What a gate leaves that is killed once its writes count, or ("journal") amid one that does not yet."""
    subprocess.run([sys.executable, "-c", KILLED, str(path), left], cwd=ROOT, check=False)
    return {each.name for each in path.parent.iterdir()}


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_what_a_killed_gate_left_beside_the_file_counts(disk: Path, how: str) -> None:
    assert killed(disk / "x.db", "wal") == {"x.db", "x.db-wal", "x.db-shm"}
    spoil(disk, how)
    assert SqliteStore(disk / "x.db", "x").head(STREAM) == Head(2, b"two", written=True)


@pytest.mark.parametrize(("left", "how"), [("wal", "full"), ("wal", "read-only"), ("journal", "read-only")])
def test_what_can_not_be_finished_is_no_answer(disk: Path, left: str, how: str) -> None:
    assert f"x.db-{left}" in killed(disk / "x.db", left)
    (disk / "x.db-shm").unlink(missing_ok=True)  # as in a copy
    spoil(disk, how)
    store = SqliteStore(disk / "x.db", "x")
    with pytest.raises(ReplayUnavailable, match=f"without finishing what stands in x.db-{left}") as caught:
        store.head(STREAM)
    assert caught.value.hint
    with pytest.raises(ReplayUnavailable, match=WORDS[how]):
        store.consume([use("jti-1", "mine")])


def test_a_write_that_was_killed_is_undone_on_a_full_disk_too(disk: Path) -> None:
    assert "x.db-journal" in killed(disk / "x.db", "journal")
    spoil(disk, "full")
    assert SqliteStore(disk / "x.db", "x").head(STREAM) == Head(2, b"two", written=True)


READS = """
import os, sys
from pathlib import Path
from gate.replay.sqlite import SqliteStore
if os.geteuid() == 0:
    os.setuid(65534)
print(len([*SqliteStore(Path(sys.argv[1]), "x").consumed()]))
"""


def test_who_may_only_read_reads_it() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        consume(folder / "x.db", "early")
        (folder / "x.db").chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", READS, str(folder / "x.db")]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True)
        assert (done.stdout, [each.name for each in folder.iterdir()]) == (b"100\n", ["x.db"]), done.stderr
        folder.chmod(0o755)


CONSUMES = """
import sys
from pathlib import Path
from gate.replay.sqlite import SqliteStore
from tests.replay.material import use
SqliteStore(Path(sys.argv[1]), "x").consume([use(f"{sys.argv[2]}-{n}", "mine") for n in range(100)])
"""


def consume(path: Path, jti: str) -> None:
    subprocess.run([sys.executable, "-c", CONSUMES, str(path), jti], cwd=ROOT, check=True)


def test_what_is_written_elsewhere_while_it_is_read_is_no_answer(disk: Path, tmp_path: Path) -> None:
    consume(disk / "x.db", "early")
    with mounted(tmp_path / "view", "--bind", str(disk)) as view:
        assert mount("-o", "remount,bind,ro", str(view))
        rows = SqliteStore(view / "x.db", "x").consumed()
        next(rows)
        consume(disk / "x.db", "late")
        with pytest.raises(ReplayUnavailable, match="was written while it was read"):
            list(rows)
        assert len([*SqliteStore(view / "x.db", "x").consumed()]) == 200
