"""`gate people scan`: everybody whom the policy does not know, and YAML that nothing in a commit can break out of."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.identity import identity
from gate.models import Commit, Identity
from gate.people import People
from gate.policyfile import compile_policy
from gate.scan import as_yaml, scan
from tests.test_cli import gate
from tests.test_people import POLICY
from tests.world import ALICE, BOB, World, commit, git

HOSTILE = [
    "x\n  alice@example.com: {emails: [evil@example.org]}@example.com",
    "x]}\u2028evil: {emails: [y]}@example.com",
    'x"]},evil:{emails:["y@example.com',
    "x\x1b[2J\u202ey@example.com",
    "x##[error]y@example.com",
    "<!-- -->@example.com",
    "'#@example.com",
    "\\x22]}@example.com",
    "*anchor@example.com",
    "!!python/name@example.com",
]


@pytest.fixture
def place(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", separation=True)
    clone = tmp_path / "clone"
    commit(clone, "one", ALICE)
    commit(clone, "two", "erin@old.example")
    commit(clone, "three", "erin@old.example", BOB)
    commit(clone, "four\n\nCo-authored-by: r <29139614+renovate[bot]@users.noreply.github.com>", BOB)
    commit(clone, "five", "deployer", "noreply@ghe.example.com")
    git(clone, "remote", "add", "origin", "https://github.com/acme/shop.git")
    return world


def run(world: World, *more: str, **variables: str) -> Any:
    folder = world.folder.parent / "clone"
    return gate(folder, "people", "scan", "--policy", str(world.path), *more, env=variables)


def test_the_scan_lists_whom_the_policy_does_not_know_and_what_to_add(place: World) -> None:
    done = run(place)
    assert done.returncode == 1, done.stderr
    listed, _, more = done.stdout.partition("Add this to the policy")
    assert listed.startswith("5 commits: ")
    assert "erin@old.example: 2 commits, such as " in listed
    assert "deployer: 1 commit" in listed
    assert "no entry would do" in listed  # "deployer" is no address
    assert ALICE not in done.stdout
    assert yaml.safe_load(more.partition("\n\n")[2]) == {
        "people": {"erin@old.example": {"emails": ["erin@old.example"]}},
        "automation": ["29139614+renovate[bot]@users.noreply.github.com"],
        "forges": {"ghe.example.com": "KIND"},
    }


def test_what_is_added_is_known_the_next_time(place: World) -> None:
    found = yaml.safe_load("\n".join(as_yaml(_unknown(place))))
    text = place.text.replace("people:\n", "people:\n  erin@old.example: {emails: [erin@old.example]}\n", 1)
    text = text.replace("automation: [deployer]", f"automation: [deployer, '{found['automation'][0]}']")
    place.path.write_text(f"{text}forges: {{github.com: github, ghe.example.com: github}}\n")
    git(place.folder.parent / "clone", "reset", "-q", "--hard", "HEAD^")
    done = run(place)
    assert (done.returncode, done.stdout) == (0, "4 commits: nobody whom the policy does not know\n")


def _unknown(place: World) -> Any:
    commits = [Commit("a" * 40, ((identity("29139614+renovate[bot]@users.noreply.github.com"),),))]
    return scan(place.loaded().policy.people, commits, ())


def test_since_says_where_to_begin_and_json_is_for_machines(place: World) -> None:
    done = run(place, "--since", "HEAD~3", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["commits"]) == (1, 3)
    assert {name for each in answer["unknown"] for name in each["names"]} >= {"erin@old.example"}
    assert run(place, "--since", "v9").returncode == 2
    clone = place.folder.parent / "clone"
    elsewhere = git(clone, "-c", "user.name=x", "-c", "user.email=x@y.z", "commit-tree", "-m", "x", "HEAD^{tree}")
    assert run(place, "--since", elsewhere).returncode == 2
    assert run(place, "--since", "--exec=x").returncode == 2
    assert run(place, "--checkout", "/").returncode == 2


def test_in_a_ci_whoever_started_the_run_is_looked_at_too(place: World) -> None:
    run_by = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "mallory", "GITHUB_ACTOR_ID": "666"}
    done = run(place, **run_by)
    assert "github:mallory#666: started this run" in done.stdout
    assert '"github:mallory#666": {accounts: ["github:mallory#666"]}' in done.stdout
    assert "mallory" not in run(place, **{**run_by, "GITHUB_ACTOR": "bob"}).stdout


@pytest.mark.parametrize("address", HOSTILE)
def test_text_out_of_a_commit_carries_no_yaml_and_drives_no_terminal(address: str) -> None:
    people = People({}, {ALICE})
    unknown = scan(people, [Commit("a" * 40, ((Identity("email", address),),))], ())
    text = "\n".join(as_yaml(unknown))
    assert text.isascii()
    assert "##[" not in text
    assert all(line.isprintable() for line in text.splitlines())
    if not text:
        assert unknown[0].entry is None
        return
    (person,) = yaml.safe_load(text)["people"].values()
    assert person == {"emails": [address]}
    pasted = text.replace("NAME", "erin@example.com")
    known = compile_policy(f"{POLICY}{pasted}\n".encode()).people
    assert known.is_same("alice", [Identity("email", address)]) is False
    assert known.owner([Identity("email", "evil@example.org")]) is None


def test_a_name_that_is_none_for_a_person_has_to_be_chosen() -> None:
    unknown = scan(People({}, {ALICE}), [], ["jenkins:bob builder"])
    text = "\n".join(as_yaml(unknown))
    assert text.splitlines()[1].startswith('  NAME: {accounts: ["jenkins:bob builder"]}')


def test_the_doctor_says_that_somebody_is_missing(place: World) -> None:
    done = gate(place.folder.parent / "clone", "doctor", "--policy", str(place.path))
    assert "! people: it does not know " in done.stdout
    assert "gate people scan" in done.stdout
    elsewhere = gate(place.folder, "doctor", "--policy", str(place.path))
    assert "people" not in elsewhere.stdout
    git(place.folder.parent / "clone", "reset", "-q", "--hard", "HEAD~4")
    assert (
        "✓ people: the policy knows who wrote"
        in gate(place.folder.parent / "clone", "doctor", "--policy", str(place.path)).stdout
    )


def test_a_clone_that_is_shallow_is_looked_at_as_far_as_it_goes(place: World, tmp_path: Path) -> None:
    source = place.folder.parent / "clone"
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "2", f"file://{source}", shallow], check=True)
    done = gate(tmp_path, "people", "scan", "--policy", str(place.path), "--checkout", str(shallow))
    assert done.stdout.startswith("2 commits: ")
