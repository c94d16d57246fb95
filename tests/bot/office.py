"""A desk in a small world, with everything around it that a bot has, but for HTTP."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gate.bot.asked import Asked, resolve
from gate.bot.building import _tell
from gate.bot.claims import Job
from gate.bot.desk import Desk
from gate.bot.errors import Unavailable
from gate.bot.facts import Lookup
from gate.bot.herald import Herald
from gate.bot.intake import Intake
from gate.bot.jobs import ApiToken
from gate.bot.keyring import Keyring
from gate.bot.limits import Limits
from gate.bot.logbook import Logbook
from gate.bot.notary import Notary
from gate.bot.notices import Channel, Notice
from gate.bot.policysource import PolicySource
from gate.bot.presence import Presence
from gate.bot.register import Register, Standing
from gate.bot.state import Document, State
from gate.bot.state.sqlite import SqliteState
from gate.models import Finding
from gate.policy import RepositoryPattern
from gate.policyfile import compile_policy
from tests.core.authenticator import ORIGIN, Authenticator
from tests.core.mint import POLICY as TEXT
from tests.world import NOW, SHA, World

ISSUER = "https://token.actions.githubusercontent.com"
PROVED = frozenset({"repository", "repository_id", "sha", "environment", "run_id", "attempt", "actors"})
POLICY = compile_policy(TEXT.encode())
SESSION = "the session of a test"


class Memory:
    """A channel that keeps what it is told; it raises `trouble` while there is some, and waits for `gate`."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.told: list[Notice] = []
        self.tried = 0
        self.trouble: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    def deliver(self, notice: Notice) -> None:
        """Keep it."""
        self.tried += 1
        self.before()
        if self.trouble:
            raise self.trouble
        self.told.append(notice)

    @property
    def news(self) -> list[str]:
        """What it was told, in a word each."""
        return [notice.news for notice in self.told]


class Wrapped:
    """A state that does something before a method: `before[method]` is called with its kind and key."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.before: dict[str, Callable[[str, str], object]] = {}

    def _do(self, method: str, kind: str, key: str = "") -> None:
        self.before.get(method, lambda *_: None)(kind, key)

    def get(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.get`."""
        self._do("get", kind, key)
        return self.state.get(kind, key, now)

    def put(self, kind: str, key: str, value: Mapping[str, Any], **more: int) -> Document | None:
        """See `State.put`."""
        self._do("put", kind, key)
        return self.state.put(kind, key, value, **more)

    def take(self, kind: str, key: str, now: int) -> Document | None:
        """See `State.take`."""
        self._do("take", kind, key)
        return self.state.take(kind, key, now)

    def list(self, kind: str, now: int) -> Iterator[Document]:
        """See `State.list`."""
        self._do("list", kind)
        return self.state.list(kind, now)

    def diagnose(self) -> Iterator[Finding]:
        """See `State.diagnose`."""
        return self.state.diagnose()


@contextmanager
def suspended(before: dict[str, Any]) -> Iterator[None]:
    """Nothing is done before any method meanwhile."""
    kept = dict(before)
    before.clear()
    try:
        yield
    finally:
        before.update(kept)


def down(*_: object) -> None:
    """What a store does that is down."""
    raise Unavailable("The store is down.")


@dataclass
class Office:
    """A desk over the policy, the key and the stores of `world`, in its folder. `now` is every clock's.

    Another office on the same world is another bot.
    """

    world: World
    channels: list[Memory] = field(default_factory=lambda: [Memory()])
    life: int = 3600
    key: bytes = b"a session key of the tests, long enough"

    def __post_init__(self) -> None:
        self.state = Wrapped(SqliteState(self.world.folder / "bot.db", "sqlite:bot.db"))
        self.policy = PolicySource(str(self.world.path), clock=lambda: self.world.now)
        self.keyring = Keyring(self.key)
        self.signer: Callable[[], Any] = lambda: self.world.signer
        self.stores: Callable[[], Any] = self._stores
        channels: list[Channel] = list(self.channels)
        self.herald = Herald(self.state, channels, lambda *asked: _tell(self.register, ORIGIN, *asked), self.clock)
        logbook = Logbook(lambda: self.stores(), self.clock)  # noqa: PLW0108 (tests exchange it)
        self.register = Register(self.state, self.keyring, self.policy, self.clock)
        self.notary = Notary(ORIGIN, lambda: self.signer(), logbook)  # noqa: PLW0108 (as above)
        self.intake = Intake(
            register=self.register,
            keyring=self.keyring,
            policy=self.policy,
            lookup=Lookup(None),
            herald=self.herald,
            limits=Limits(),
            life=self.life,
        )
        self.presence = Presence(self.state, self.clock)
        self.desk = Desk(
            register=self.register,
            notary=self.notary,
            keyring=self.keyring,
            state=self.state,
            presence=self.presence,
            herald=self.herald,
            logbook=logbook,
        )

    def _stores(self) -> Any:
        loaded = self.policy.current()
        return loaded.audit_log(), loaded.replay_store()

    def clock(self) -> float:
        """Epoch seconds."""
        return self.world.now

    def later(self, seconds: int) -> None:
        """Let time pass."""
        self.world.now += seconds

    def change(self, old: str, new: str) -> None:
        """Change the policy; it is seen at once."""
        text = self.world.path.read_text()
        assert old in text
        changed = text.replace(old, new, 1)
        compile_policy(changed.encode())
        self.world.path.write_text(changed)
        self.world.now += 3

    def ask(self, *, held: str = "", **members: Any) -> Standing:
        """What a job gets that asks."""
        return self.intake.ask(asked(**members), held=held)

    def question(self, key: str) -> str:
        """What a page says now that it asks."""
        with suspended(self.state.before):
            return self.register.find(key).question

    def approve(self, key: str, person: str = "alice@example.com", reason: str = "") -> Any:
        """Let somebody approve without a passkey."""
        return self.submit(key, person, SESSION, None, reason)

    def submit(self, key: str, *form: Any) -> Any:
        """Let somebody approve from a page that they have just opened."""
        return self.desk.approve(key, self.question(key), *form)

    def draft(self, key: str, *form: Any) -> Any:
        """Let somebody begin to approve with their passkey, from such a page."""
        return self.desk.draft(key, self.question(key), *form)

    def decline(self, key: str, *form: Any) -> Any:
        """Let somebody decline from such a page."""
        return self.desk.decline(key, self.question(key), *form)

    def prove(self, key: str, name: str = "alice", reason: str = "", session: str = SESSION) -> Any:
        """Let somebody approve with their passkey."""
        person = f"{name}@example.com"
        claims, _ = self.draft(key, person, session, reason)
        assertion = Authenticator(name=name).approve(claims)["passkey"]
        return self.submit(key, person, session, assertion, reason)

    def tokens(self, standing: Standing, secret: str = "") -> list[str]:
        """What the job gets that comes back with that secret, or its own."""
        secret = secret or self.intake.secret(standing.request)
        now = self.intake.hand_over(standing.request.id, secret)
        return [given.token for given in now.request.approvals] if now.status == "approved" else []

    def records(self) -> list[Any]:
        """The records of the deployment's stream, oldest first."""
        from gate.chain import newest

        audit, heads = self.stores()
        return list(newest(audit, heads, self.world.deployment().stream))[::-1]


def asked(
    who: str = "", *, rerun: bool = False, waits: bool = False, said: frozenset[str] = frozenset(), **members: Any
) -> Asked:
    """What a job asks for: one whose CI proved all of it, or, with `who`, the holder of that API token. Most tests let
    time pass without a job that polls, so it does not wait."""
    if who:
        token = ApiToken(who, b"", (RepositoryPattern(("acme", "*")),), frozenset())
        return resolve(
            token,
            {"repository": "acme/shop", "sha": SHA, "environment": "production", "waits": waits, **members},
            POLICY,
        )
    made = {
        "issuer": ISSUER,
        "repository": "acme/shop",
        "repository_id": "74",
        "sha": SHA,
        "environment": "production",
        "run_id": "7",
        "actors": ("dave",),
        "forge": "github",
        "proved": PROVED,
    }
    body: dict[str, Any] = {"rerun": rerun, "waits": waits}
    for name in said:
        body[name] = members.pop(name)
    return resolve(Job(**(made | members)), body, POLICY)


def office(folder: Path, **world: Any) -> Office:
    """An office in a new world."""
    folder.mkdir(parents=True, exist_ok=True)
    return Office(World(folder, **world))


__all__ = ["NOW", "ORIGIN", "SESSION", "SHA", "Memory", "Office", "asked", "down", "office"]
