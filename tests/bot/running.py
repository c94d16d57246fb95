"""A deploy-bot as a process of its own, with everything around it on 127.0.0.1."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.signers import Signer, create_key
from tests.bot.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.parts import free_port

SECRETS = {"GATE_BOT_SESSION_KEY": "a session key of the tests, long enough", "SIGN_IN_SECRET": CLIENT_SECRET, "X": "x"}
API_TOKEN = "an-API-token-of-the-tests"


@dataclass
class Place:
    """A folder with a policy, and the settings of a bot at `url`. Both may be changed before a bot runs."""

    folder: Path
    port: int = field(default_factory=free_port)
    signer: Signer = field(init=False)
    policy: dict[str, Any] = field(init=False)
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signer = create_key("file:key.pem", self.folder, "Ed25519")
        self.policy = _policy(self.signer, self.url)
        self.settings = _settings(self.url)
        self.write()

    @property
    def url(self) -> str:
        """The bot's origin."""
        return f"http://localhost:{self.port}"

    @property
    def policy_path(self) -> Path:
        """Where the policy is."""
        return self.folder / "gate.yaml"

    def write(self) -> None:
        """Write both as they are now; the policy in one step, since a bot may be reading it."""
        (self.folder / "bot.yaml").write_text(yaml.safe_dump(self.settings))
        draft = self.folder / "gate.yaml.new"
        draft.write_text(yaml.safe_dump(self.policy))
        draft.replace(self.policy_path)

    def sign_in_with(self, provider: Provider) -> None:
        """Let people sign in at `provider`, and let its CI tokens ask."""
        client = {"client_id": CLIENT_ID, "client_secret": "env:SIGN_IN_SECRET"}
        self.settings["sign_in"] = [{"name": "Example SSO", "issuer": provider.url, **client}]
        self.settings["jobs"]["oidc"] = [{"issuer": provider.url, "kind": "github"}]
        self.write()


def _policy(signer: Signer, url: str) -> dict[str, Any]:
    import base64

    public_key = base64.b64encode(signer.public_key.spki).decode()
    return {
        "version": 1,
        "replay": "sqlite:replay.db",
        "audit": "file:audit",
        "keys": [{"kid": "bot", "alg": "Ed25519", "public_key": public_key, "approvers": ["*@example.com"]}],
        "passkeys": {"origin": url},
        "forges": {"127.0.0.1": "github"},
        "people": {
            "alice@example.com": {"github": "alice"},
            "bob@example.com": {"github": "bob"},
            "carol@example.com": {"github": "carol"},
            "dave@example.com": {"github": "dave"},
        },
        "environments": {
            "production": {
                "repositories": ["acme/*"],
                "approvers": ["alice@example.com", "bob@example.com", "carol@example.com"],
                "separation_of_duties": False,
            }
        },
    }


def _settings(url: str) -> dict[str, Any]:
    import hashlib

    return {
        "version": 1,
        "url": url,
        "policy": "gate.yaml",
        "signer": "file:key.pem",
        "state": "sqlite:state/bot.db",
        "audit": "file:events",
        "replay": "sqlite:state/events.db",
        "session_key": "env:GATE_BOT_SESSION_KEY",
        "jobs": {
            "tokens": [
                {
                    "name": "ci",
                    "sha256": hashlib.sha256(API_TOKEN.encode()).hexdigest(),
                    "repositories": ["acme/*"],
                }
            ]
        },
        "sign_in": [{"name": "unused", "github": "https://github.com", "client_id": "x", "client_secret": "env:X"}],
    }


@dataclass
class Running:
    """A bot that runs."""

    place: Place
    process: "subprocess.Popen[bytes]"
    log: Path
    url: str

    def stop(self) -> int:
        """Ask it to stop, and wait; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def text(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")


@contextmanager
def running_bot(place: Place, *, port: int = 0, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run the bot of `place` until the block ends, at another port than its URL's where `port` is given."""
    port = port or place.port
    log = place.folder / f"bot-{port}.log"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "COVERAGE_", "NO_PROXY"))}
    environment = {**kept, **SECRETS, "PATH": os.environ["PATH"], "HOME": str(place.folder), **(environ or {})}
    environment.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    command = [sys.executable, "-W", "error", "-m", "gate", "bot", "--config", "bot.yaml", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=place.folder, env=environment, stdout=output, stderr=output)
        running = Running(place, process, log, f"http://localhost:{port}")
        try:
            _await(running)
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(running: Running, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(running.url):
        if running.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the bot did not start: {running.text()[-3000:]}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/healthz", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
