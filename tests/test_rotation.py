"""Rotating and revoking keys: what changes in the policy's text, and what that means for approvals around it."""

import base64
import hashlib
import random
from pathlib import Path

import pytest

from gate.deployment import Deployment
from gate.errors import Denied, PolicyError, UsageError
from gate.issuer import Issuer
from gate.policy import Policy
from gate.policyfile import compile_policy
from gate.rotation import revoke, rotate
from gate.signers import Signer, create_key
from gate.steps import LEEWAY
from gate.trace import CheckName
from gate.verification import CHECKS, judge
from tests.test_cli import gate
from tests.world import ALICE, NOW, SHA, World

HOUR, MAX_AGE = 3600, 900
DEPLOYMENT = Deployment(repository="acme/shop", sha=SHA, environment="production")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Signer:
    return create_key("file:new.pem", tmp_path, "ES256")


def answer(token: str, policy: Policy, now: int) -> str:
    try:
        judge([token], DEPLOYMENT, policy, now, only=CHECKS.keys() - {CheckName.SEPARATION})
    except Denied as denial:
        return denial.reason
    return "allowed"


def test_a_rotation_changes_the_one_entry_and_adds_the_other(world: World, new: Signer) -> None:
    before, after = world.text.splitlines(), rotate(world.text, "test-key", new.public_key, NOW, HOUR).splitlines()
    end = before.index("people:")
    assert after == [
        before[0],
        f"replaces: [{hashlib.sha256(world.text.encode()).hexdigest()}]",
        *before[1:end],
        "    not_after: 2027-01-15T09:00:00Z",
        f"  - kid: {new.public_key.thumbprint}",
        "    alg: ES256",
        f"    public_key: {base64.b64encode(new.public_key.spki).decode()}",
        '    approvers: ["*@example.com"]',
        "    not_before: 2027-01-15T07:59:00Z",
        *before[end:],
    ]


def test_thousands_of_approvals_across_a_rotation_and_a_revocation(world: World, new: Signer) -> None:
    """Approvals are issued all the time, by the old key and, once the policy is out, by either; each is verified at
    some moment of its life. None may be refused, and past its end the old key may not issue one that is accepted."""
    chance = random.Random(7)
    old_policy = compile_policy(world.text.encode())
    rotated = rotate(world.text, "test-key", new.public_key, NOW, HOUR)
    both, cut = compile_policy(rotated.encode()), compile_policy(revoke(rotated, "test-key", NOW).encode())
    issuers = {"old": Issuer(world.signer, kid="test-key"), "new": Issuer(new)}
    for _ in range(4000):
        issued = NOW + chance.randrange(-HOUR, 2 * HOUR)
        verified = issued + chance.randrange(MAX_AGE)
        which = chance.choice(["old", "new"]) if issued >= NOW else "old"
        token = issuers[which].issue(DEPLOYMENT, ALICE, now=issued, ttl=MAX_AGE)
        good = which == "new" or issued <= NOW + HOUR
        assert answer(token, both, verified) == ("allowed" if good else "key.outside_window")
        assert answer(token, cut, verified) == ("allowed" if which == "new" else "key.outside_window")
        if verified < NOW:  # a gate that has not read the new policy yet
            assert answer(token, old_policy, verified) == "allowed"


def test_a_backdated_approval_by_a_revoked_key_is_worth_nothing(world: World) -> None:
    policy = compile_policy(revoke(world.text, "test-key", NOW).encode())
    token = Issuer(world.signer, kid="test-key").issue(DEPLOYMENT, ALICE, now=0, ttl=NOW + LEEWAY)
    assert answer(token, policy, NOW) == "token.too_long_lived"
    short = Issuer(world.signer, kid="test-key").issue(DEPLOYMENT, ALICE, now=0, ttl=MAX_AGE)
    assert answer(short, policy, NOW) == "token.expired"


@pytest.mark.parametrize(
    ("old", "new_text"),
    [
        ("  - kid: test-key\n    alg", "  - alg"),
        ("  - kid: test-key\n    alg", "  # the release key\n  -\x20alg"),
        ("people:", "\n# who is who\npeople:"),
        ("    alg:", "    not_before: 2020-01-01T00:00:00Z\n    not_after: 2037-01-01T00:00:00Z\n    alg:"),
        ("    public_key: ", "    public_key: |\n      "),
        ("\n", "\r\n"),
    ],
    ids=["without a kid", "with a comment", "with blank lines", "with a window", "as a block", "with CRLF"],
)
def test_however_the_entry_is_written(world: World, new: Signer, old: str, new_text: str) -> None:
    text = world.text.replace(old, new_text)
    [kid] = compile_policy(text.encode()).keys
    rotated = compile_policy(rotate(text, kid, new.public_key, NOW, HOUR).encode())
    assert rotated.keys[kid].not_after == NOW + HOUR
    assert rotated.keys[new.public_key.thumbprint].domains == frozenset({"example.com"})
    assert compile_policy(revoke(text, kid, NOW).encode()).keys[kid].not_after == 0


@pytest.mark.parametrize(
    "written", ["replaces: [{}]", "replaces:\n  - {}\n  - {}", "replaces:\n- {} # old", "replaces: [\n  {}\n ]"]
)
def test_each_version_says_which_one_it_replaces(world: World, new: Signer, written: str) -> None:
    text = world.text.replace("keys:\n", f"{written.format('a' * 64, 'b' * 64)}\nkeys:\n")
    for after in (rotate(text, "test-key", new.public_key, NOW, HOUR), revoke(text, "test-key", NOW)):
        assert compile_policy(after.encode()).replaces == (hashlib.sha256(text.encode()).hexdigest(),)
        assert "a" * 64 not in after


def test_a_list_that_is_indented_otherwise(world: World, new: Signer) -> None:
    start, end = world.text.index("  - kid"), world.text.index("people:")
    entry = world.text[start:end].replace("\n    ", "\n       ").replace("  - kid", "   -   kid")
    text = world.text[:start] + entry + world.text[end:]
    rotated = rotate(text, "test-key", new.public_key, NOW, HOUR)
    assert f"\n   -   kid: {new.public_key.thumbprint}\n       alg: ES256\n" in rotated


def test_what_can_not_be_rotated(world: World, new: Signer) -> None:
    flow = world.text.replace(
        "  - kid: test-key\n    alg: Ed25519\n    public_key: ", "  - {kid: test-key, alg: Ed25519, public_key: "
    )
    flow = flow.replace('=\n    approvers: ["*@example.com"]\n', '=, approvers: ["*@example.com"]}\n')
    assert compile_policy(flow.encode())
    with pytest.raises(PolicyError, match="line by line"):
        rotate(flow, "test-key", new.public_key, NOW, HOUR)
    with pytest.raises(PolicyError, match="no such key"):
        revoke(world.text, "other", NOW)
    with pytest.raises(UsageError, match="already"):
        rotate(world.text, "test-key", world.signer.public_key, NOW, HOUR)
    with pytest.raises(UsageError, match="shorter"):
        rotate(world.text, "test-key", new.public_key, NOW, MAX_AGE - 1)


def test_the_commands(tmp_path: Path) -> None:
    assert gate(tmp_path, "init", "--approver", ALICE).returncode == 0
    assert gate(tmp_path, "keys", "new", "file:new.pem").returncode == 0
    (tmp_path / "gate.yaml").chmod(0o640)
    [old] = compile_policy((tmp_path / "gate.yaml").read_bytes()).keys
    about = ["--repository", "acme/shop", "--sha", SHA, "--environment", "production"]
    before = gate(tmp_path, "approve", *about, "--approver", ALICE).stdout.strip()
    assert gate(tmp_path, "keys", "rotate", "file:new.pem").returncode == 0
    assert (tmp_path / "gate.yaml").stat().st_mode & 0o777 == 0o640
    assert gate(tmp_path, "verify", *about, "--approval", before).returncode == 0
    signed = gate(tmp_path, "approve", *about, "--approver", ALICE, "--signer", "file:new.pem").stdout.strip()
    again = gate(tmp_path, "approve", *about, "--approver", ALICE).stdout.strip()
    assert gate(tmp_path, "keys", "revoke", old).returncode == 0
    assert gate(tmp_path, "verify", *about, "--approval", again).returncode == 1
    assert gate(tmp_path, "verify", *about, "--approval", signed).returncode == 0
    for wrong in (["rotate", "file:new.pem"], ["rotate", "file:new.pem", "--overlap", "x"], ["revoke", "x"]):
        assert gate(tmp_path, "keys", *wrong).returncode == 2
    assert gate(tmp_path, "keys", "revoke", old, "--policy", "s3://bucket/x?region=r").returncode == 2
    assert gate(tmp_path, "keys", "revoke", old, "--policy", "nowhere").returncode == 2


def test_after_a_rotation_the_new_policy_proves_what_the_old_one_allowed(tmp_path: Path) -> None:
    """Nothing but today's `gate.yaml` is at hand, and the old key's entry is gone from it."""
    policy, about = tmp_path / "gate.yaml", ["--repository", "acme/shop", "--environment", "production"]

    def allow(sha: str, signer: str) -> None:
        token = gate(tmp_path, "approve", *about, "--sha", sha, "--approver", ALICE, "--signer", signer).stdout.strip()
        assert gate(tmp_path, "verify", *about, "--sha", sha, "--approval", token).returncode == 0

    assert gate(tmp_path, "init", "--approver", ALICE).returncode == 0
    allow("1" * 40, "file:.gate/key.pem")
    assert gate(tmp_path, "keys", "new", "file:new.pem").returncode == 0
    assert gate(tmp_path, "keys", "rotate", "file:new.pem").returncode == 0
    text, (_, new) = policy.read_text(), compile_policy(policy.read_bytes()).keys
    policy.write_text(text[: text.index("keys:\n") + 6] + text[text.index(f"  - kid: {new}") :])
    allow("2" * 40, "file:new.pem")
    done = gate(tmp_path, "audit", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 allows verified again, under the policy that decided (1 as you gave it, 1 as archived" in done.stdout
    assert '"archived": 1' in gate(tmp_path, "audit", "verify", "--json").stdout
    assert "vouches for it" in (gate(tmp_path, "audit", "report"), (tmp_path / "audit.html").read_text())[1]


def test_a_log_that_can_not_be_written_from_here_stops_no_rotation_and_loses_no_policy(tmp_path: Path) -> None:
    assert gate(tmp_path, "init", "--approver", ALICE).returncode == 0
    policy = tmp_path / "gate.yaml"
    policy.write_text(policy.read_text().replace("file:.gate/audit", "file:///proc/audit"))
    former = policy.read_bytes()
    assert gate(tmp_path, "keys", "new", "file:new.pem").returncode == 0
    done = gate(tmp_path, "keys", "rotate", "file:new.pem")
    assert done.returncode == 0
    kept = tmp_path / f"gate-{hashlib.sha256(former).hexdigest()[:12]}.yaml"
    assert kept.read_bytes() == former
    assert "are not archived" in done.stderr
    assert f"gate policy archive --policy {kept}" in done.stderr
    assert len(compile_policy(policy.read_bytes()).keys) == 2
    done = gate(tmp_path, "policy", "archive", "--policy", str(kept), "--audit", "file:copy")
    assert done.returncode == 0
    assert (tmp_path / "copy" / Path(done.stdout.strip()).name).read_bytes() == former
    assert f"replaces: [{hashlib.sha256(former).hexdigest()}]" in done.stderr
    assert gate(tmp_path, "policy", "archive").returncode == 3
