"""scripts/pre-deploy itself, in front of a gate that only says how it was started."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate.ci import detect
from tests.ci.conftest import ROOT, Tree
from tests.ci.runs import RUNS

PROBE = """
import json, os, sys
print("PROBE", json.dumps({"environ": dict(os.environ), "args": sys.argv[1:], "isolated": sys.flags.isolated,
                           "prefix": sys.prefix, "cwd": os.getcwd(), "path": sys.path}))
sys.exit(int(os.environ.get("GATE_SHA") or 0))
"""


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The real script, with nothing to install and in place of the gate the probe; its environment is there already."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "scripts").mkdir()
    (folder / "gate").mkdir()
    (folder / "gate" / "__main__.py").write_text(PROBE)
    (folder / "gate" / "__init__.py").write_text("")
    (folder / "scripts" / "requirements.txt").write_text("")
    shutil.copy(ROOT / "scripts" / "pre-deploy", folder / "scripts" / "pre-deploy")
    warm = Tree(folder, tmp_path_factory.mktemp("cache") / "deep" / "er")
    done = warm.run(folder, {})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "pre-deploy: installing the gate, once for this version of it\n"
    return warm


@pytest.fixture
def cold(warm: Tree, tmp_path: Path) -> Iterator[Tree]:
    """The same, with a copy of the tree to change and an empty cache."""
    shutil.copytree(warm.folder, tmp_path / "tree")
    yield Tree(tmp_path / "tree", tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # 10 MB


def started(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """How the gate was started."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("PROBE ")]
    found: dict[str, Any] = json.loads(line.removeprefix("PROBE "))
    return found


def environments(cache: Path) -> list[Path]:
    return [folder for folder in cache.iterdir() if not folder.name.startswith(".")]


def test_the_gate_gets_every_option_and_the_exit_code_comes_back(warm: Tree, tmp_path: Path) -> None:
    done = warm.run(tmp_path, {"GATE_SHA": "3"}, "--environment=it's; $(x)", "--approval", "-")
    assert (done.returncode, done.stderr) == (3, "")
    gate = started(done)
    assert gate["args"] == ["verify", "--from-ci", "--environment=it's; $(x)", "--approval", "-"]
    assert (gate["isolated"], gate["cwd"]) == (1, str(tmp_path))
    assert Path(gate["prefix"]) in environments(warm.cache)


def test_only_what_the_gate_needs_reaches_it(warm: Tree, tmp_path: Path) -> None:
    hostile = ["LD_LIBRARY_PATH", "PYTHONWARNINGS", "PYTHONHOMEX", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_CA_BUNDLE"]
    hostile += ["AWS_CONFIG_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_NO_VERIFY", "GIT_COMMITX", "OPENSSL_CONF", "IFS", "X"]
    hostile += ["GITHUB_API_URL"]  # which says whom to ask who wrote the commits, in GitHub Actions alone
    hostile += [
        "GATE_STOP_COMMANDS",
        "CI_JOB_TOKEN",
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "CODEBUILD_BUILD_ARN",
        "PIP_TARGET",
        "ACTIONS_RUNTIME_TOKEN",
        "GATE_SIGNER",
    ]
    kept = {"AWS_PROFILE": "p", "AWS_SESSION_TOKEN": "t", "https_proxy": "", "GATE_POLICY": "p", "GITHUB_TOKEN": "g"}
    kept |= {"GATE_DEPLOY_BOT": "d", "GATE_BOT_TOKEN": "b", "GATE_ID_TOKEN": "i", "GATE_WAIT": "w", "GATE_RERUN": "r"}
    kept |= {"ACTIONS_ID_TOKEN_REQUEST_URL": "u", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "r", "GITHUB_RUN_ATTEMPT": "2"}
    environ = started(warm.run(tmp_path, dict.fromkeys(hostile, "/evil") | kept))["environ"]
    assert not set(hostile) & set(environ)
    assert kept.items() <= environ.items()
    assert "/evil" not in str(environ)


def test_home_and_path_are_not_taken_from_the_environment(warm: Tree, tmp_path: Path) -> None:
    environ = started(warm.run(tmp_path, {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}))["environ"]
    assert str(tmp_path) not in (environ["HOME"], *environ["PATH"].split(":"))
    assert environ["PATH"].startswith("/usr/bin:/bin:")


class _Recorder(dict[str, str]):
    """An environment that notes what is read from it."""

    def get(self, name: str, default: Any = None) -> Any:
        self.setdefault(name, "")
        return super().get(name) or default


@pytest.mark.parametrize("ci", sorted(RUNS))
def test_every_variable_that_is_read_is_kept(ci: str) -> None:
    read = _Recorder(RUNS[ci])
    assert detect(read)
    names = sorted(set(read) - set(RUNS[ci]) | {name for name in RUNS[ci] if _is_read(ci, name)})
    code = f"import json, runpy, sys; kept = runpy.run_path({str(ROOT / 'scripts/pre-deploy')!r})['KEPT']; "
    code += "print([name for name in sys.argv[1:] if not kept.fullmatch(name)])"
    done = subprocess.run([sys.executable, "-I", "-c", code, *names], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _is_read(ci: str, name: str) -> bool:
    """Whether the answer depends on the variable `name`."""
    changed = {"CI": "x"} | RUNS[ci] | {name: "changed/value"}
    return detect(changed) != detect(RUNS[ci])


def test_github_hides_each_token_before_anything_else_and_then_hears_no_commands(warm: Tree, tmp_path: Path) -> None:
    environ = {"GITHUB_ACTIONS": "true", "GATE_APPROVALS": " one%0A \n\t::error::two\r\n", "GATE_BOT_TOKEN": "three"}
    lines = warm.run(tmp_path, environ).stdout.splitlines()
    assert lines[:3] == ["::add-mask::one%250A", "::add-mask::::error::two", "::add-mask::three"]
    word = lines[3].removeprefix("::stop-commands::")
    assert len(word) == 32
    assert lines[4].startswith("PROBE ")
    assert f'"GATE_STOP_COMMANDS": "{word}"' in lines[4]
    assert word not in warm.run(tmp_path, environ).stdout


def test_with_json_github_is_spoken_to_on_stderr(warm: Tree, tmp_path: Path) -> None:
    done = warm.run(tmp_path, {"GITHUB_ACTIONS": "true", "GATE_APPROVALS": "token"}, "--json")
    assert done.stdout.startswith("PROBE ")
    assert "::add-mask::token" in done.stderr
    assert "::stop-commands::" in done.stderr


def test_two_cold_runs_at_once_both_work_and_leave_one_environment(cold: Tree) -> None:
    runs = [cold.start(cold.folder, {}) for _ in range(2)]
    for run in runs:
        stdout, stderr = run.communicate(timeout=120)
        assert (run.returncode, "PROBE" in stdout) == (0, True), stderr
    assert list(cold.cache.iterdir()) == environments(cold.cache)
    assert len(environments(cold.cache)) == 1


def test_what_a_crash_left_half_made_is_not_used(cold: Tree) -> None:
    run = cold.start(cold.folder, {})
    while not cold.cache.exists() or not any(cold.cache.glob(".deploy-gate-*/pyvenv.cfg")):
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    assert environments(cold.cache) == []
    done = cold.run(cold.folder, {})
    assert done.returncode == 0
    assert started(done)["prefix"] == str(environments(cold.cache)[0])


def test_another_version_of_the_gate_gets_an_environment_of_its_own(warm: Tree, cold: Tree) -> None:
    before = started(warm.run(warm.folder, {}))
    (cold.folder / "gate" / "more.py").write_text("")
    after = started(cold._replace(cache=warm.cache).run(warm.folder, {}))
    assert before["prefix"] != after["prefix"]


def _with_wrong_mode(folder: Path, real: Path) -> None:
    shutil.copytree(real, folder, symlinks=True)
    folder.chmod(0o755)  # as git and tar make folders


def _as_link(folder: Path, real: Path) -> None:
    folder.symlink_to(real)


def _as_file(folder: Path, real: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize("put", [_with_wrong_mode, _as_link, _as_file])
def test_an_environment_that_others_could_have_made_is_refused(put: Any, warm: Tree, cold: Tree) -> None:
    real = Path(started(warm.run(warm.folder, {}))["prefix"])
    cold.cache.mkdir(mode=0o700)
    put(cold.cache / real.name, real)
    _assert_refused(cold)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_cache_that_others_can_write_to_is_refused(mode: int, cold: Tree) -> None:
    cold.cache.mkdir()
    cold.cache.chmod(mode)
    _assert_refused(cold)


def test_somebody_else_s_cache_is_refused(cold: Tree) -> None:
    somebody = Path("/var/tmp")  # root's
    if os.geteuid() == 0:
        somebody = cold.cache
        somebody.mkdir(mode=0o700)
        os.chown(somebody, 12345, 12345)
    _assert_refused(cold._replace(cache=somebody))


def _assert_refused(tree: Tree) -> None:
    done = tree.run(tree.folder, {})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pre-deploy: ")
    assert "could hold somebody else's code" in done.stderr


def test_without_a_place_for_a_cache_it_still_runs_and_cleans_up(cold: Tree, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "file").write_text("")
    environ = {"GATE_CACHE": str(tmp_path / "file" / "x"), "TMPDIR": str(temporary), "GATE_SHA": "1"}
    done = cold.run(tmp_path, environ)
    assert done.returncode == 1
    assert "for this run only" in done.stderr
    assert started(done)["prefix"].startswith(str(temporary))
    assert list(temporary.iterdir()) == []


def test_packages_that_cannot_be_had_block_with_one_sentence(cold: Tree) -> None:
    (cold.folder / "scripts" / "requirements.txt").write_text(f"click==8.5.1 --hash=sha256:{'0' * 64}\n")
    done = cold.run(cold.folder, {"GITHUB_ACTIONS": "true", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(cold.folder)})
    assert (done.returncode, done.stdout) == (3, "")
    assert "  | ERROR: No matching distribution found" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("::error title=Deploy Gate::the gate's locked packages can't be")
    assert list(cold.cache.iterdir()) == []


def test_a_package_with_another_hash_is_not_installed(cold: Tree) -> None:
    (cold.folder / "evil-1-py3-none-any.whl").write_bytes(b"PK\x05\x06" + bytes(18))
    (cold.folder / "scripts" / "requirements.txt").write_text(f"evil==1 --hash=sha256:{'0' * 64}\n")
    done = cold.run(cold.folder, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(cold.folder)})
    assert (done.returncode, done.stdout) == (3, "")
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("pre-deploy: ")


def test_started_directly_it_isolates_itself(warm: Tree, tmp_path: Path) -> None:
    (tmp_path / "hashlib.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "python3").symlink_to(sys.executable)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "GATE_CACHE": str(warm.cache)}
    done = subprocess.run([warm.script, "x"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert started(done)["args"] == ["verify", "--from-ci", "x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sys.version_info = (3, 9, 1, 'final', 0)", "needs Python 3.10 or newer, and this is 3.9."),
        ("import os; os.name = 'nt'", "runs on Linux and macOS"),
    ],
)
def test_where_it_cannot_run_it_says_so(change: str, message: str, warm: Tree) -> None:
    code = f"import runpy, sys; {change}; runpy.run_path({str(warm.script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_older_python_can_read_as_far_as_that_message() -> None:
    assert ast.parse((ROOT / "scripts" / "pre-deploy").read_text(), feature_version=(3, 7))
