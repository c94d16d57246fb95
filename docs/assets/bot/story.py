"""What the pictures show: made-up people at a made-up shop, at a time that stands still."""

import base64
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from gate.bot.building import build
from gate.bot.request import ApprovalRequest, CommitLine, Declined, Facts, Given
from gate.bot.settings import load_settings
from gate.bot.signedin import SignedIn
from gate.bot.signinpages import SignInPages
from gate.bot.site import Site
from gate.deployment import Deployment
from gate.gate import Gate
from gate.identity import identity
from gate.issuer import Issuer
from gate.models import Commit, Identity
from tests.bot.running import Place
from tests.core.authenticator import Authenticator

NOW = 1_795_516_200  # 2026-11-24 10:30:00 UTC
SHA, BEFORE = "1f3c9ab2e0aa4d5b8c7d6e5f4a3b2c1d0e9f8a7b", "7be20c4d91f35a6870e1b2c3d4f5a6978869504a"
ALICE, BOB = "alice@example.com", "bob@example.com"
_REPOSITORY = "acme/storefront"
_COMMITS = (
    CommitLine(SHA, "Charge VAT at the buyer's rate", "jonas-weber, priya-n"),
    CommitLine("c04d8e7716a2b9f5e3d1c0a8b7f6e5d4c3b2a190", "Round each line of an invoice, not its sum", "jonas-weber"),
    CommitLine(
        "9a51f2e3d4c5b6a7988796a5b4c3d2e1f0a9b8c7", "Update the exchange rates' client to 4.2", "dependabot[bot]"
    ),
)


class Story(NamedTuple):
    """A bot with its clock, and what its pages are about: paths of requests by name."""

    site: Site
    place: Place
    clock: mock.Mock
    passkeys: dict[str, Authenticator]

    def session(self, person: str) -> str:
        """The cookie of somebody who has signed in."""
        signed_in = SignedIn((identity(person),), person.partition("@")[0].title(), "Example SSO")
        answer = SignInPages(self.site).admit(mock.Mock(cookie=""), signed_in, "/")
        return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]

    def request(
        self, run_id: str, repository: str = _REPOSITORY, environment: str = "production", **changes: Any
    ) -> str:
        """The path of a request that is kept with these `changes`."""
        key = f"{run_id:0>8}{'kQ3vTz5nXw7r' * 2}"
        deployment = Deployment(repository, changes.pop("sha", SHA), environment, ("jonas-weber",), run_id, "", key)
        members: dict[str, Any] = {
            "generation": 1, "attempt": 1, "asked_at": NOW - 120, "expires_at": NOW + 3480,
            "asker": "https://token.actions.githubusercontent.com", "run_sha": deployment.sha,
            "run_url": f"https://github.com/{repository}/actions/runs/{run_id}", "ref": "refs/heads/main",
            "workflow": f"{repository}/.github/workflows/deploy.yml@refs/heads/main", "event": "push",
            "facts": facts(),
        }  # fmt: skip
        request = ApprovalRequest(deployment, **members | changes)
        value = {"sealed": self.site.keyring.seal(f"request {key}", request.as_json(), until=NOW + 90_000)}
        self.site.state.put("request", key, value, expires_at=NOW + 90_000, expected=0, now=int(self.clock()))
        self.site.presence.note(request)
        return f"/requests/{key}"

    def given(self, approver: str, run_id: str, environment: str = "production", reason: str = "") -> Given:
        """A yes, signed, to the request of that run."""
        key, now = f"{run_id:0>8}{'kQ3vTz5nXw7r' * 2}", int(self.clock())
        deployment = Deployment(_REPOSITORY, SHA, environment, ("jonas-weber",), run_id, "", key)
        issuer = Issuer(self.place.signer, name=self.place.url, kid="bot")
        claims = issuer.draft(deployment, approver, now=now, ttl=900, reason=reason, amr=("mfa", "user"))
        token = issuer.seal(self.passkeys[approver].approve(claims))
        return Given(approver, approver, token, now, now + 900, reason, passkey=True)


def facts(commits: tuple[CommitLine, ...] = _COMMITS) -> Facts:
    """What GitHub says."""
    roles = tuple((line.sha, (("login", line.people.partition(",")[0]),)) for line in commits)
    link = f"https://github.com/{_REPOSITORY}/compare/{BEFORE}...{SHA}"
    return Facts(commits, len(commits), roles, BEFORE, link)


@contextmanager
def telling(folder: Path) -> Iterator[Story]:
    """Set the stage in `folder`; until the block ends, the clock stands still."""
    place = Place(folder / "bot")
    passkeys = {name: Authenticator(place.url, "localhost", name=name) for name in (ALICE, BOB)}
    for name, passkey in passkeys.items():
        public_key = base64.b64encode(passkey.credential.spki).decode()
        key_id = base64.urlsafe_b64encode(passkey.credential.id).decode().rstrip("=")
        place.policy["people"][name]["passkeys"] = [{"id": key_id, "public_key": public_key}]
    place.policy["people"] |= {f"{login}@example.com": {"github": login} for login in ("jonas-weber", "priya-n")}
    place.policy["automation"] = ["dependabot[bot]"]
    place.policy["environments"]["production"] |= {"approvals": 2, "passkey": "required", "separation_of_duties": True}
    place.settings["sign_in"] = [
        {"name": "Example SSO", "issuer": "https://sso.example.com", "client_id": "gate", "client_secret": "env:SSO"},
        {"name": "GitHub", "github": "https://github.com", "client_id": "gate", "client_secret": "env:SSO"},
    ]
    place.write()
    secret = {"GATE_BOT_SESSION_KEY": secrets.token_urlsafe(48), "SSO": "unused"}
    with mock.patch.dict("os.environ", secret), mock.patch("time.time", return_value=NOW) as clock:
        site = build(load_settings(place.folder / "bot.yaml"), pin=str)
        yield Story(site, place, clock, passkeys)


class _Forge:
    def commits(self, _: str, allowed: Iterable[str], sha: str) -> list[Commit]:
        list(allowed)
        return [Commit(sha, ((Identity("login", "jonas-weber"),),))]


def write_history(story: Story) -> None:
    """Two days of decisions: a deployment that was allowed, one that nobody approved, one that was declined."""
    loaded = story.site.policy.current()

    gate = Gate(loaded.policy, loaded.replay_store(), loaded.audit_log(), history=_Forge(), clock=story.clock)
    story.clock.return_value = NOW - 90_000
    gate.check([], Deployment(_REPOSITORY, BEFORE, "production", ("jonas-weber",), "30391177"))
    story.clock.return_value = NOW - 80_000
    key = f"{'30402291':0>8}{'kQ3vTz5nXw7r' * 2}"
    deployment = Deployment(_REPOSITORY, SHA, "production", ("jonas-weber",), "30402291", "", key)
    yes = [story.given(name, "30402291", reason=why) for name, why in ((ALICE, "Tax office deadline"), (BOB, ""))]
    for given in yes:
        story.site.logbook.approved(deployment, given)
        story.clock.return_value += 60
    gate.check([given.token for given in yes], deployment)
    story.clock.return_value = NOW - 4_000
    no = Declined(BOB, "The warehouse counts its stock until noon.", NOW - 4_000)
    story.site.logbook.declined(Deployment(_REPOSITORY, SHA, "production", ("jonas-weber",), "30433642"), no)
    story.clock.return_value = NOW
