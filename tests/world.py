"""A small world to test the gate in: a policy with its key, stores, a clock, and a git checkout where one is needed."""

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gate.deployment import Deployment
from gate.gate import Gate
from gate.issuer import Issuer
from gate.policyfile import compile_policy
from gate.signers import Signer, create_key
from gate.wiring import LoadedPolicy
from tests.core.authenticator import ORIGIN, Authenticator

NOW = 1_800_000_000
SHA = "1f3c9ab2e0aa4d5b8c7d6e5f4a3b2c1d0e9f8a7b"
ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"

POLICY = """\
version: 1
replay: {replay}
audit: {audit}
keys:
  - kid: test-key
    alg: {alg}
    public_key: {public_key}
    approvers: ["*@example.com"]
people:
  alice@example.com: {{github: alice, emails: [alice@personal.example]{alice}}}
  bob@example.com: {{github: bob{bob}}}
  carol@example.com: {{github: carol}}
  dave@example.com: {{github: dave}}
automation: [deployer]
environments:
  production:
    repositories: ["acme/*"]
    approvers: [alice@example.com, bob@example.com, carol@example.com]
    max_age: 15m
    separation_of_duties: {separation}
    approvals: {approvals}
{passkeys}"""


@dataclass
class World:
    """Everything a decision needs, in one folder. `now` is the gate's clock.

    `passkey` says whether alice and bob have one: "" no, "listed", or "required" where the policy also asks for it.
    `extra` are more lines of the environment.
    """

    folder: Path
    replay: str = "sqlite:replay.db"
    audit: str = "file:audit"
    separation: bool = False
    approvals: int = 1
    alg: Any = "Ed25519"
    passkey: str = ""
    extra: str = ""
    now: float = NOW
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = create_key("file:key.pem", self.folder, self.alg)
        self.path.write_bytes(self.text.encode())

    @property
    def path(self) -> Path:
        """Where the policy is."""
        return self.folder / "gate.yaml"

    @property
    def text(self) -> str:
        """The policy's text."""
        return POLICY.format(
            replay=self.replay,
            audit=self.audit,
            alg=self.alg,
            public_key=base64.b64encode(self.signer.public_key.spki).decode(),
            separation=str(self.separation).lower(),
            approvals=self.approvals,
            **self._passkeys(),
        )

    def _passkeys(self) -> dict[str, str]:
        if not self.passkey:
            return {"alice": "", "bob": "", "passkeys": self.extra}
        asked = "    passkey: required\n" if self.passkey == "required" else ""
        lists = {name: f", passkeys: [{Authenticator(name=name).credential_yaml}]" for name in ("alice", "bob")}
        return lists | {"passkeys": f'{self.extra}{asked}passkeys: {{origin: "{ORIGIN}"}}\n'}

    def loaded(self) -> LoadedPolicy:
        """The compiled policy and where it lies."""
        return LoadedPolicy(compile_policy(self.text.encode()), self.folder, self.text.encode())

    def gate(self, **collaborators: Any) -> Gate:
        """A gate on this world's stores and clock; `replay`, `audit`, `history` and `checkout` can be others."""
        loaded = self.loaded()
        replay = collaborators.pop("replay", None) or loaded.replay_store()
        audit = collaborators.pop("audit", None) or loaded.audit_log()
        return Gate(loaded.policy, replay, audit, clock=lambda: self.now, **collaborators)

    def deployment(self, **changes: Any) -> Deployment:
        """The deployment that most tests ask about."""
        members: dict[str, Any] = {"repository": "acme/shop", "sha": SHA, "environment": "production"}
        return Deployment(**(members | changes))

    def token(self, approver: str = ALICE, ttl: int = 600, issued: int | None = None, **changes: Any) -> str:
        """An approval of that deployment."""
        issuer = Issuer(self.signer, kid="test-key")
        now = int(self.now) if issued is None else issued
        return issuer.issue(self.deployment(**changes), approver, now=now, ttl=ttl)

    def proved(self, approver: str = ALICE, passkey: str = "alice", **changes: Any) -> str:
        """An approval of that deployment, with the assertion of that passkey."""
        issuer = Issuer(self.signer, kid="test-key")
        claims = issuer.draft(self.deployment(**changes), approver, now=int(self.now), ttl=600)
        return issuer.seal(Authenticator(name=passkey).approve(claims))


def git(folder: Path, *args: str) -> str:
    """Run git in `folder`, and return what it prints."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *args], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str, author: str, committer: str = "") -> str:
    """An empty commit by `author` (an e-mail address) in the checkout `folder`, made where there is none; its id."""
    if not (folder / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "-q")
    who: Sequence[str] = ["-c", f"user.name={author}", "-c", f"user.email={committer or author}"]
    git(folder, *who, "commit", "-q", "--allow-empty", f"--author={author} <{author}>", "-m", message)
    return git(folder, "rev-parse", "HEAD")
