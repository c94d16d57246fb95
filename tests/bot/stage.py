"""A stage for the tests of the pages: one bot with its sign-in, a GitHub, people, and jobs that ask for approval."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

from gate.bot.keyring import Keyring
from gate.bot.request import ApprovalRequest
from gate.bot.state import Document, open_state
from tests.bot import github
from tests.bot.githubdata import TOKEN
from tests.bot.provider import CLIENT_ID, Provider, github_account, serving
from tests.bot.running import API_TOKEN, SECRETS, Place, running_bot
from tests.bot.visitor import Visitor
from tests.core.authenticator import Authenticator

LONG = f"{'long.name.' * 6}hers@a.{'department.' * 16}example.com"  # 254 characters: no address is longer
ROOT = Path(__file__).resolve().parents[2]


class Asked(NamedTuple):
    """A request that a job made: where people answer it, and what the job comes back with."""

    id: str
    url: str
    secret: str
    sha: str
    run_id: str


class Stage:
    """Everything that runs. alice and bob have passkeys in the policy, nobody else has.

    `production` and `live` ask for a passkey and separate duties, `solo` for a passkey, `pair` for two, `staging` for
    anybody's yes, `duo` for two of those.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = Place(folder / "bot")
        self.url = self.place.url
        self.passkeys = {
            name: Authenticator(origin=self.url, rp_id="localhost", name=name) for name in ("alice", "bob", "mallory")
        }
        self.place.policy |= _policy(self.passkeys)
        self.place.policy["keys"][0]["approvers"].append(LONG)
        self.keyring = Keyring(SECRETS["GATE_BOT_SESSION_KEY"].encode())
        self.state = open_state("sqlite:state/bot.db", self.place.folder)
        self._visitors: dict[str, Visitor] = {}

    @contextmanager
    def running(self) -> Iterator["Stage"]:
        """Run it all until the block ends."""
        with ExitStack() as stack:
            self.provider = stack.enter_context(serving(Provider()))
            self.gitlab = stack.enter_context(serving(Provider()))
            self.hub = stack.enter_context(github.serving())
            self.place.sign_in_with(self.provider)
            client = {"client_id": CLIENT_ID, "client_secret": "env:SIGN_IN_SECRET"}
            self.place.settings["sign_in"].append({"name": "GitHub", "github": self.provider.url, **client})
            self.place.settings["jobs"]["oidc"] = [
                {"issuer": self.provider.url, "kind": "github", "repositories": ["acme/*"]},
                {"issuer": self.gitlab.url, "kind": "gitlab", "repositories": ["acme/web/*"]},
            ]
            self.place.settings["github"] = {"api_url": self.hub.url, "token": "env:GITHUB_TOKEN_OF_BOT"}
            self.place.write()
            self.commit("The first of all", "zoe")
            self.bot = stack.enter_context(running_bot(self.place, environ={"GITHUB_TOKEN_OF_BOT": TOKEN}))
            yield self

    def commit(self, title: str, login: str = "dave") -> str:
        """A commit at GitHub, on top of all others; its id."""
        return self.hub.shop.add_commit(title, login, f"{login}@example.com")

    def ask(self, environment: str = "staging", *, author: str = "zoe", **body: Any) -> Asked:
        """Ask for an approval with the API token, as run `run_id`, by default one that nobody had before."""
        sha = body.get("sha") or self.commit("Round the totals half to even", author)
        run_id = str(secrets.randbelow(10**12) + 1)
        said = {
            "repository": "acme/shop",
            "environment": environment,
            "run_id": run_id,
            "actors": ["zoe"],
            "waits": False,
        }
        answer = self.api("POST", "/api/requests", API_TOKEN, json=said | {"sha": sha} | body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return Asked(told["id"], told["url"], told["secret"], sha, body.get("run_id", said["run_id"]))

    def poll(self, asked: Asked) -> dict[str, Any]:
        """What the job hears when it comes back."""
        answer = self.api("GET", f"/api/requests/{asked.id}", asked.secret)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def api(self, method: str, path: str, token: str, **arguments: Any) -> requests.Response:
        """The jobs' API."""
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=30, **arguments)

    def allow(self, environment: str, sha: str) -> str:
        """Have bob approve `sha`, and the gate allow it; what the gate says."""
        asked = self.ask(environment, sha=sha)
        assert self.visitor("bob").approve(asked.id).status == 303
        done = self.gate(
            "verify", "--repository", "acme/shop", "--sha", sha, "--environment", environment, "--run-id", asked.run_id,
            "--request-id", asked.id, "--actor", "zoe", "--approval", self.poll(asked)["tokens"][0],
            "--github-api-url", self.hub.url, GITHUB_TOKEN=TOKEN,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def visitor(self, name: str) -> Visitor:
        """Somebody at example.com who has signed in, without a browser. Their forms' errors come as JSON."""
        if name not in self._visitors:
            passkey = self.passkeys.get(name)
            visitor = Visitor(self.url, self.place.port, passkey=passkey, accept="application/json")
            assert visitor.sign_in(self.provider, _address(name)).status == 303
            self._visitors[name] = visitor
        return self._visitors[name]

    def arriving(self, name: str) -> None:
        """Be the one who signs in next."""
        self.provider.expect(_address(name))
        self.provider.github_user = github_account(name.partition("@")[0], 4711)

    @contextmanager
    def job(self, environment: str, *options: str, **changes: str) -> Iterator["subprocess.Popen[str]"]:
        """A job that runs `gate verify --deploy-bot`, in `cwd` if that is given, with `changes` to its environment."""
        folder = changes.pop("cwd", str(self.folder))
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        environ = kept | {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)} | changes
        command = [sys.executable, "-W", "error", "-m", "gate", "verify", "--policy", str(self.place.policy_path),
                   "--deploy-bot", self.url, "--environment", environment, "--wait", "60s", *options]  # fmt: skip
        job = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield job
        finally:
            job.kill()
            job.communicate()

    def gate(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Run a `gate` command on this stage's policy, with `changes` to its environment."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)} | changes
        command = [sys.executable, "-m", "gate", *arguments, "--policy", str(self.place.policy_path)]
        return subprocess.run(
            command, check=False, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60
        )

    def change(self, asked: Asked, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a request where it is kept, as time or another version of things would."""
        document = self.state.get("request", asked.id, _now())
        assert document
        value = self._opened(document)
        change(value)
        self.put(value, document.version)

    def request(self, asked: Asked) -> ApprovalRequest:
        """The request as it is kept."""
        document = self.state.get("request", asked.id, _now())
        assert document
        return ApprovalRequest.from_json(self._opened(document))

    def _opened(self, document: Document) -> dict[str, Any]:
        value = self.keyring.unseal(f"request {document.key}", document.value["sealed"], now=_now())
        assert value
        return value

    def put(self, value: dict[str, Any], version: int = 0) -> None:
        """Keep a request."""
        key, now = value["deployment"]["request_id"], _now()
        sealed = {"sealed": self.keyring.seal(f"request {key}", value, until=now + 9000)}
        assert self.state.put("request", key, sealed, expires_at=now + 9000, expected=version, now=now)

    def records(self) -> list[str]:
        """Where the records of both audit logs are, oldest first in each stream."""
        return sorted(str(path) for log in ("audit", "events") for path in (self.place.folder / log).rglob("*.json"))

    @property
    def events(self) -> tuple[str, str]:
        """The option that has `gate audit show` look into the bot's own log."""
        return "--audit", f"file://{self.place.folder}/events"

    def rows(self) -> list[tuple[Any, ...]]:
        """All that the bot keeps, but for what its own clock does to errands."""
        kinds = ("draft", "enrolment", "request", "session")
        return [tuple(document) for kind in kinds for document in sorted(self.state.list(kind, _now()), key=str)]


def _address(name: str) -> str:
    return name if "@" in name else f"{name}@example.com"


def _now() -> int:
    return int(time.time())


def _policy(passkeys: dict[str, Authenticator]) -> dict[str, Any]:
    import yaml

    def person(name: str) -> dict[str, Any]:
        listed = [yaml.safe_load(passkeys[name].credential_yaml)] if name in ("alice", "bob") else []
        return {"github": name} | ({"passkeys": listed} if listed else {})

    def environment(names: str, **members: Any) -> dict[str, Any]:
        approvers = [name if "@" in name else f"{name}@example.com" for name in names.split()]
        return {
            "repositories": ["acme/*", "acme/web/shop"],
            "approvers": approvers,
            "separation_of_duties": False,
        } | members

    names = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "zoe", "octocat")
    return {
        "people": {f"{name}@example.com": person(name) for name in names},
        "environments": {
            "production": environment("alice bob carol dave grace", separation_of_duties=True, passkey="required"),
            "live": environment("alice bob", separation_of_duties=True, passkey="required"),  # where something is live
            "pair": environment("alice bob carol", approvals=2, passkey="required"),
            "solo": environment("alice bob", passkey="required"),
            "staging": environment(f"alice bob carol erin frank {LONG}"),
            "duo": environment("carol erin frank", approvals=2),
        },
    }
