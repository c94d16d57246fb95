"""`gate doctor`: what it says of policies, keys and stores, and the drill that hands in what must be refused."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gate.audit.directory import Directory
from gate.doctor import examine_bases, examine_policy, examine_signer, examine_state, examine_stores
from gate.drill import drill
from gate.errors import AuditUnavailable
from gate.models import Finding, Head, Stream
from gate.policyfile import compile_policy
from gate.proof import prove
from gate.proof.events import Fault
from gate.replay.memory import MemoryStore
from tests.parts import Aws
from tests.replay.material import use
from tests.test_cli import gate
from tests.world import NOW, SHA, World, commit

DAY = 86400


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, now=time.time())


def worst(findings: list[Finding]) -> list[str]:
    return [f"{finding.subject}: {finding.message}" for finding in findings if finding.severity != "ok"]


def with_text(world: World, *changes: tuple[str, str]) -> list[Finding]:
    text = world.text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return list(examine_policy(compile_policy(text.encode()), NOW))


def test_a_policy_in_order(tmp_path: Path) -> None:
    assert worst(list(examine_policy(World(tmp_path, separation=True).loaded().policy, NOW))) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("    alg:", "    not_after: 2027-01-20T00:00:00Z\n    alg:")], "trusted only until 2027-01-20"),
        ([("    alg:", "    not_after: 2027-01-10T00:00:00Z\n    alg:")], "no key is trusted today"),
        ([("    alg:", "    not_after: 1970-01-01T00:00:00Z\n    alg:")], "revoked"),
        ([("    alg:", "    not_before: 2028-01-01T00:00:00Z\n    alg:")], "no key is trusted today"),
        ([('["*@example.com"]', "[alice@example.com]")], "no key may speak for bob@example.com, carol@example.com"),
        ([("separation_of_duties: false", "separation_of_duties: true"),
          ("automation:", "unlisted: attested\nautomation:")],
         "the account of alice@example.com, bob@example.com, carol@example.com has no id here"),
        ([("x", "x")], "separation of duties is off"),
    ],
)  # fmt: skip
def test_a_policy_that_will_not_do(world: World, changes: list[tuple[str, str]], words: str) -> None:
    findings = with_text(world, *changes)
    assert any(words in line for line in worst(findings)), worst(findings)
    assert all(finding.fix for finding in findings if finding.severity != "ok")


def test_approvers_without_the_passkey_that_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, passkey="required")
    policy = world.loaded().policy
    [finding] = [finding for finding in examine_policy(policy, NOW) if "passkey" in finding.message]
    assert (finding.severity, finding.subject) == ("warning", "environment production")
    assert finding.message == "asks for a passkey, and lists none of carol@example.com"
    assert "people.*.passkeys" in finding.fix
    pair = world.text.replace(", carol@example.com]", "]")
    [finding] = [each for each in examine_policy(compile_policy(pair.encode()), NOW) if "passkey" in each.message]
    assert finding.severity == "ok"


def test_the_signer_whose_key_is_not_listed(world: World, tmp_path: Path) -> None:
    policy = world.loaded().policy
    assert examine_signer(policy, world.signer.public_key).severity == "ok"
    (tmp_path / "other").mkdir()
    stranger = World(tmp_path / "other").signer.public_key
    finding = examine_signer(policy, stranger)
    assert (finding.severity, stranger.thumbprint in finding.message) == ("error", True)


def test_clocks_and_records_that_do_not_fit(world: World) -> None:
    loaded = world.loaded()
    assert world.gate().check([world.token()], world.deployment()).allowed
    stores = loaded.replay_store(), loaded.audit_log()
    assert worst(list(examine_stores(*stores, int(world.now)))) == []
    stream = world.deployment().stream
    store = MemoryStore()
    store.advance(stream, Head(1, b"{}", written=True), expected=0)
    lines = worst(list(examine_stores(store, loaded.audit_log(), int(world.now))))
    assert any("record 1 is not the one" in line for line in lines)
    assert any("is unusable" in line for line in lines)


def test_every_stream_that_is_of_a_time_to_come_is_named(world: World) -> None:
    """Also one that is not the newest, and one that has uses alone."""
    loaded, now = world.loaded(), int(world.now)
    replay, audit = loaded.replay_store(), loaded.audit_log()
    for days, repository in ((0, "acme/shop"), (32, "acme/web"), (400, "acme/api")):
        world.now = now + days * DAY
        assert world.gate().check(["no.token"], world.deployment(repository=repository)).record
    replay.consume([use("jti", "nonce", used_at=now + 2 * DAY, stream=Stream("acme/used", "production"))])
    [finding] = [finding for finding in examine_stores(replay, audit, now) if finding.severity != "ok"]
    streams = (
        "acme/api/production by 34,560,000 s, acme/used/production by 172,800 s, acme/web/production by 2,764,800 s"
    )
    assert (finding.subject, finding.message) == ("clock", f"behind the newest record or use: {streams}")
    assert "docs/operations.md, Clocks" in finding.fix
    for number in range(6):
        replay.consume([use(f"jti-{number}", "n", used_at=now + DAY, stream=Stream("acme/more", f"e{number}"))])
    assert worst(list(examine_stores(replay, audit, now)))[0].endswith(" by 86,400 s and 4 more")
    [fine] = [found for found in examine_stores(replay, audit, now + 400 * DAY) if found.subject == "clock"]
    assert (fine.severity, "not behind" in fine.message) == ("ok", True)


def test_a_base_that_no_listed_key_vouches_for(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    world, other = World(tmp_path), World(tmp_path / "other")
    assert world.gate().check([world.token()], world.deployment()).allowed
    assert world.gate().check(["no.token"], world.deployment()).reason == "token.malformed"
    stores = world.loaded().replay_store(), world.loaded().audit_log()
    renamed = other.text.replace("kid: test-key", "kid: new-key").replace("duties: false", "duties: true")
    asking = world.text.replace("duties: false", "duties: true")
    assert list(examine_bases(compile_policy(asking.encode()), *stores)) == []
    assert list(examine_bases(compile_policy(other.text.encode()), *stores)) == [], "nothing goes back to it"
    [finding] = examine_bases(compile_policy(renamed.encode()), *stores)
    assert (finding.severity, finding.subject) == ("warning", "audit acme/shop/production")
    assert "the newest allow, record 1, vouches for nothing any more" in finding.message
    assert "not_after" in finding.fix


def stores_findings(world: World) -> list[Finding]:
    loaded = world.loaded()
    return list(examine_stores(loaded.replay_store(), loaded.audit_log(), int(world.now)))


def decide(world: World, count: int) -> None:
    for _ in range(count):
        assert world.gate().check(["no.token"], world.deployment()).record


def remove_store(world: World) -> None:
    for file in world.folder.glob("replay.db*"):
        file.unlink()


def test_a_log_without_records(world: World) -> None:
    assert "no records yet" in [finding.message for finding in stores_findings(world)]


def test_a_replay_store_that_was_lost(world: World) -> None:
    decide(world, 2)
    remove_store(world)
    findings = stores_findings(world)
    [lost] = [finding for finding in findings if finding.severity == "error"]
    assert lost.message == "the log has records of 1 stream that the replay store has no head for"
    assert "new replay store" in lost.fix
    assert "new audit prefix" in lost.fix
    assert not any("each at its anchored head" in finding.message for finding in findings)
    assert not (world.folder / "replay.db").exists()


def test_an_older_copy_of_the_replay_store(world: World) -> None:
    decide(world, 2)
    with closing(sqlite3.connect(world.folder / "replay.db")) as db:
        db.execute("VACUUM INTO ?", (str(world.folder / "backup"),))
    decide(world, 1)
    remove_store(world)
    (world.folder / "backup").rename(world.folder / "replay.db")
    findings = stores_findings(world)
    [old] = [finding for finding in findings if finding.severity == "error"]
    ends = "in it acme/shop/production ends at record 2; the log goes on."
    assert old.message == f"The replay store is older than the audit log: {ends}"
    assert "older copy" in old.fix
    assert not any("each at its anchored head" in finding.message for finding in findings)


def test_an_older_copy_of_the_log(world: World) -> None:
    decide(world, 2)
    record = world.folder / "audit" / "acme/shop/production/seq=000000000002.json"
    kept = record.read_bytes()
    record.unlink()
    [old] = [finding for finding in stores_findings(world) if finding.severity == "error"]
    assert old.message == "the log is older than the replay store, or was cut: record 2, the newest, is gone from it"
    assert "gate audit verify" in old.fix
    record.write_bytes(kept)
    assert worst(stores_findings(world)) == []


@pytest.mark.parametrize("data", [b"{}", b""])
def test_what_was_put_into_the_log_does_not_make_the_store_an_older_one(world: World, data: bytes) -> None:
    decide(world, 2)
    (world.folder / "audit" / "acme/shop/production/seq=000000000003.json").write_bytes(data)
    [put] = [finding for finding in stores_findings(world) if finding.severity == "error"]
    assert "Record 3 of acme/shop/production stands in the audit log, and does not follow" in put.message
    assert "gate audit verify" in put.fix
    assert world.gate().check([], world.deployment()).record is None


def test_a_record_that_its_writer_could_not_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(world, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "put", down)
        assert world.gate().check([], world.deployment()).record is None
    findings = stores_findings(world)
    assert [f.message for f in findings if f.severity == "warning"] == [
        "record 2 is still to be written; the replay store has its bytes"
    ]
    assert not any(finding.severity == "error" for finding in findings)
    (world.folder / "audit" / "acme/shop/production/seq=000000000002.json").write_bytes(b"{}")
    [altered] = [finding for finding in stores_findings(world) if finding.severity == "error"]
    assert "Record 2 of acme/shop/production in the audit log is not the one that was written" in altered.message


def down(*_: object) -> str:
    raise AuditUnavailable("It is down.")


def test_only_so_many_entries_are_searched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(world, 3)
    monkeypatch.setattr("gate.doctor._ENTRIES", 2)
    assert any("only the first 2 entries" in finding.message for finding in stores_findings(world))
    monkeypatch.setattr("gate.doctor._ENTRIES", 3)
    assert not any("only the first" in finding.message for finding in stores_findings(world))


def test_state_in_a_checkout(world: World) -> None:
    policy = world.loaded().policy
    assert worst(list(examine_state(policy, world.folder))) == []
    commit(world.folder, "first", "alice@example.com")
    findings = list(examine_state(policy, world.folder))
    assert [finding.severity for finding in findings] == ["warning", "warning"]
    assert "forgets every use" in findings[0].message
    assert any(
        finding["subject"] == "replay store sqlite:replay.db" and finding["severity"] == "warning"
        for finding in json.loads(gate(world.folder, "doctor", "--json").stdout)["findings"]
    )


@pytest.mark.parametrize("backend", ["sqlite", "dynamodb"])
def test_the_drill_is_denied_everywhere_and_leaves_the_log_provable(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    world = World(tmp_path, now=time.time())
    if backend == "dynamodb":
        aws: Aws = request.getfixturevalue("aws")
        options = f"region={aws.region}&endpoint={aws.endpoint}"
        world.replay, world.audit = f"dynamodb://{aws.table()}?{options}", f"s3://{aws.bucket()}/x?{options}"
    loaded = world.loaded()
    replay, audit = loaded.replay_store(), loaded.audit_log()
    assert world.gate().check([world.token()], world.deployment()).allowed
    findings = list(drill(loaded.policy, replay, audit, time.time))
    assert [(finding.severity, finding.subject) for finding in findings] == [
        ("ok", f"drill: {name}") for name in ("forged", "expired", "replayed", "wrong-commit")
    ]
    for later in (0, 61, 10 * DAY):
        events = list(prove(audit, replay, [loaded.policy], int(time.time()) + later))
        faults = [event for event in events if isinstance(event, Fault) and "drill" in str(event.stream)]
        assert faults == []


class Forgetful(MemoryStore):
    """A store that lets every approval be used again."""

    def consume(self, uses: Any) -> None:
        """Remember it under another name."""
        super().consume([use._replace(jti=f"{use.jti[:-8]}{time.monotonic_ns() % 10**8:08}") for use in uses])


def test_the_drill_finds_a_store_that_forgets(world: World) -> None:
    findings = {f.subject: f for f in drill(world.loaded().policy, Forgetful(), world.loaded().audit_log(), time.time)}
    assert findings["drill: replayed"].severity == "error"
    assert "allow (allowed); replay.used was expected" in findings["drill: replayed"].message


def test_the_command(world: World) -> None:
    world.path.write_text(world.text)
    done = gate(world.folder, "doctor", "--prove", "--signer", "file:key.pem", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["healthy"]) == (0, True), done.stdout
    assert [finding["subject"] for finding in report["findings"]][-5:] == [
        "signer", "drill: forged", "drill: expired", "drill: replayed", "drill: wrong-commit",
    ]  # fmt: skip
    about = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    assert gate(world.folder, "verify", *about, "--approval", world.token()).returncode == 0
    (world.folder / "audit").rename(world.folder / "gone")
    (world.folder / "audit").write_text("in the way")
    assert gate(world.folder, "doctor", "--prove").returncode == 1
