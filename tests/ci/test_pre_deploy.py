"""scripts/pre-deploy itself, in front of a gate that only says how it was started."""

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gate.ci import detect
from tests.ci.conftest import ROOT, Tree
from tests.ci.runs import RUNS

PROBE = """
import json, os, sys, time
import probe_library
flags = [sys.flags.isolated, sys.flags.no_site]
print("PROBE", json.dumps({"environ": dict(os.environ), "args": sys.argv[1:], "flags": flags, "cwd": os.getcwd(),
                           "library": probe_library.__file__, "path": sys.path}), flush=True)
if os.environ.get("GATE_REPOSITORY") == "waits":
    time.sleep(60)
sys.exit(int(os.environ.get("GATE_SHA") or 0))
"""


def make_wheel(folder: Path, code: str = "", name: str = "probe_library") -> Path:
    """A wheel of one module in `folder`."""
    wheel = folder / f"{name}-1-py3-none-any.whl"
    metadata = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", code)
        for file, text in metadata.items():
            archive.writestr(f"{name}-1.dist-info/{file}", text)
    return wheel


def lock_line(wheel: Path, *, marker: str = "") -> str:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{wheel.name.partition('-')[0]}==1{marker} \\\n    --hash=sha256:{digest}\n"


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The real script, with one package, and in place of the gate the probe; its package is in the cache already."""
    folder, links = tmp_path_factory.mktemp("probe"), tmp_path_factory.mktemp("links")
    (folder / "scripts").mkdir()
    (folder / "gate").mkdir()
    (folder / "gate" / "__main__.py").write_text(PROBE)
    (folder / "gate" / "__init__.py").write_text("")
    lock = lock_line(make_wheel(links)) + lock_line(make_wheel(links, name="elsewhere"), marker=" ; os_name == 'nt'")
    (folder / "scripts" / "requirements.txt").write_text(lock)
    shutil.copy(ROOT / "scripts" / "pre-deploy", folder / "scripts" / "pre-deploy")
    packages = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    warm = Tree(folder, tmp_path_factory.mktemp("cache") / "deep" / "er", packages)
    done = warm.run(folder, {})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "pre-deploy: downloading the gate's packages\n"
    return warm


@pytest.fixture
def cold(warm: Tree, tmp_path: Path) -> Tree:
    """The same, with a copy of the tree to change and an empty cache."""
    shutil.copytree(warm.folder, tmp_path / "tree")
    return warm._replace(folder=tmp_path / "tree", cache=tmp_path / "cache")


def started(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """How the gate was started."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("PROBE ")]
    found: dict[str, Any] = json.loads(line.removeprefix("PROBE "))
    return found


def kept(cache: Path) -> Path:
    """Where the wheels are kept: all that a run leaves in the cache."""
    (folder,) = cache.iterdir()
    return folder


def test_the_gate_gets_every_option_and_the_exit_code_comes_back(warm: Tree, tmp_path: Path) -> None:
    done = warm.run(tmp_path, {"GATE_SHA": "3"}, "--environment=it's; $(x)", "--approval", "-")
    assert (done.returncode, done.stderr) == (3, "")
    gate = started(done)
    assert gate["args"] == ["verify", "--from-ci", "--environment=it's; $(x)", "--approval", "-"]
    assert (gate["flags"], gate["cwd"]) == ([1, 1], str(tmp_path))
    assert gate["path"][0] == str(warm.folder)
    assert Path(gate["library"]).parent == Path(gate["path"][1])
    assert Path(gate["library"]).is_relative_to(warm.cache)
    assert not any("site-packages" in folder or "dist-packages" in folder for folder in gate["path"])


def test_only_what_the_gate_needs_reaches_it(warm: Tree, tmp_path: Path) -> None:
    hostile = ["LD_LIBRARY_PATH", "PYTHONWARNINGS", "PYTHONHOMEX", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_CA_BUNDLE"]
    hostile += ["AWS_CONFIG_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_NO_VERIFY", "GIT_COMMITX", "OPENSSL_CONF", "IFS", "X"]
    hostile += ["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "GATE_CA_FILE"]
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


def test_two_cold_runs_at_once_both_work_and_leave_one_set_of_packages(cold: Tree) -> None:
    runs = [cold.start(cold.folder, {}) for _ in range(2)]
    for run in runs:
        stdout, stderr = run.communicate(timeout=120)
        assert (run.returncode, "PROBE" in stdout) == (0, True), stderr
    assert [file.name for file in kept(cold.cache).iterdir()] == ["probe_library-1-py3-none-any.whl"]


def test_what_a_killed_run_left_is_not_used_and_is_removed_in_time(cold: Tree) -> None:
    run = cold.start(cold.folder, {})
    while not cold.cache.exists() or not any(cold.cache.glob(".deploy-gate-*")):
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    (left,) = cold.cache.iterdir()
    assert cold.run(cold.folder, {}).returncode == 0
    assert left.exists()
    os.utime(left, (time.time() - 3 * 24 * 3600,) * 2)
    assert cold.run(cold.folder, {}).returncode == 0
    assert not left.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_gate_and_nothing_is_left(number: signal.Signals, warm: Tree) -> None:
    run = warm.start(warm.folder, {"GATE_REPOSITORY": "waits"})
    assert run.stdout
    library = Path(json.loads(run.stdout.readline().removeprefix("PROBE "))["library"])
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode not in (0, None)
    assert not library.exists()
    assert kept(warm.cache)


def test_other_packages_or_another_python_are_kept_apart(warm: Tree, cold: Tree) -> None:
    (cold.folder / "scripts" / "requirements.txt").write_text(
        (warm.folder / "scripts" / "requirements.txt").read_text() + "# more\n"
    )
    assert "downloading" in cold.run(cold.folder, {}).stderr
    assert kept(cold.cache).name != kept(warm.cache).name


EVIL = "open({canary!r}, 'w').close()"


def _changed(folder: Path, canary: Path) -> None:
    make_wheel(folder, EVIL.format(canary=str(canary)))


def _added(folder: Path, canary: Path) -> None:
    make_wheel(folder, EVIL.format(canary=str(canary)), name="json")


def _removed(folder: Path, canary: Path) -> None:
    next(folder.iterdir()).unlink()


def _linked(folder: Path, canary: Path) -> None:
    real = folder.rename(canary.parent / "elsewhere")
    _changed(real, canary)
    folder.symlink_to(real)


def _a_file(folder: Path, canary: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def _a_pipe(folder: Path, canary: Path) -> None:
    _removed(folder, canary)
    os.mkfifo(folder / "probe_library-1-py3-none-any.whl")


def _an_environment(folder: Path, canary: Path) -> None:
    shutil.rmtree(folder)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (folder / "bin" / "python").chmod(0o755)


@pytest.mark.parametrize("plant", [_changed, _added, _removed, _linked, _a_file, _a_pipe, _an_environment])
def test_what_another_job_left_in_the_cache_is_never_run(plant: Any, cold: Tree, tmp_path: Path) -> None:
    assert cold.run(cold.folder, {}).returncode == 0
    plant(kept(cold.cache), tmp_path / "canary")
    done = cold.run(cold.folder, {})
    assert (done.returncode, len(started(done)["path"]) > 2, done.stderr) == (
        0,
        True,
        "pre-deploy: downloading the gate's packages\n",
    )
    assert not (tmp_path / "canary").exists()


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
    assert started(done)["library"].startswith(str(temporary))
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
