"""Who asks: OIDC tokens of GitHub and GitLab, API tokens, and what the section `jobs` may say."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from gate.bot.claims import Job, Kind, read_job
from gate.bot.discovery import Issuer
from gate.bot.errors import NotAllowed, NotProved, Unavailable
from gate.bot.jobs import ApiToken, CiIssuer, Doorkeeper, JobSettings
from gate.bot.jobsettings import read_jobs
from gate.bot.web import status_of
from gate.errors import PolicyError
from gate.policy import RepositoryPattern
from gate.strictyaml import parse
from tests.bot.provider import SHA, Provider, Reply, new_key, serving

URL = "https://gate.example.com"
SECRET = "gat_4vXkq0Zt9bJ2mR7s"
TOKEN = ApiToken(
    "jenkins", hashlib.sha256(SECRET.encode()).digest(), (RepositoryPattern(("acme", "*")),), frozenset({"production"})
)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Provider()) as running:
        yield running


def keeper(provider: Provider, kind: Kind = "github") -> Doorkeeper:
    return Doorkeeper(JobSettings((CiIssuer(provider.url, kind),), (TOKEN,)), URL)


def identify(provider: Provider, kind: Kind = "github", **changes: Any) -> Job:
    job = keeper(provider, kind).identify(f"Bearer {provider.ci_token(kind, **changes)}")
    assert isinstance(job, Job)
    return job


def refusal(door: Doorkeeper, credential: str) -> NotProved:
    with pytest.raises(NotProved) as caught:
        door.identify(f"Bearer {credential}")
    error = caught.value
    assert credential not in " ".join((error.message, error.hint, error.expected, error.actual, repr(error)))
    assert status_of(error) == 401
    return error


def test_a_job_at_github(provider: Provider) -> None:
    assert identify(provider) == Job(
        issuer=provider.url,
        repository="acme/shop",
        repository_id="1296269",
        sha=SHA,
        environment="production",
        run_id="30433642",
        attempt=2,
        actors=("127.0.0.1:octocat#583231",),
        ref="refs/heads/main",
        workflow="acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        run_url="",
        event="push",
        forge="github",
        proved=frozenset(
            (
                "repository",
                "repository_id",
                "sha",
                "environment",
                "run_id",
                "attempt",
                "actors",
                "ref",
                "workflow",
                "event",
            )
        ),
    )


def test_a_job_at_gitlab(provider: Provider) -> None:
    assert identify(provider, "gitlab") == Job(
        issuer=provider.url,
        repository="acme/web/shop",
        repository_id="20",
        sha=SHA,
        environment="production",
        run_id="574",
        attempt=1,
        actors=("127.0.0.1:octocat#1", "octocat@example.com"),
        ref="refs/heads/main",
        workflow="gitlab.example.com/acme/web/shop//.gitlab-ci.yml@refs/heads/main",
        run_url=f"{provider.url}/Acme/web/shop/-/pipelines/574",
        event="push",
        forge="gitlab",
        proved=frozenset(
            ("repository", "repository_id", "sha", "environment", "run_id", "actors", "ref", "workflow", "event")
        ),
    )


@pytest.mark.parametrize("environment", [None, ""])
@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_job_without_an_environment(provider: Provider, kind: Kind, environment: Any) -> None:
    job = identify(provider, kind, environment=environment)
    assert job.environment == ""
    assert "environment" not in job.proved


def test_what_a_pull_request_s_token_stands_for_is_passed_along(provider: Provider) -> None:
    job = identify(provider, event_name="pull_request", ref="refs/pull/7/merge")
    assert (job.event, job.ref) == ("pull_request", "refs/pull/7/merge")


def test_sub_is_not_looked_at(provider: Provider) -> None:
    assert identify(provider, sub="repo:evil/evil:environment:production").repository == "acme/shop"


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://token.actions.githubusercontent.com", "https://github.com/Acme/Shop/actions/runs/30433642"),
        ("https://token.actions.githubusercontent.com/acme", "https://github.com/Acme/Shop/actions/runs/30433642"),
        ("https://token.actions.githubusercontent.com.evil.example", ""),
        ("https://ghe.example.com/_services/token", "https://ghe.example.com/Acme/Shop/actions/runs/30433642"),
        ("https://token.actions.octo.ghe.com", "https://octo.ghe.com/Acme/Shop/actions/runs/30433642"),
        ("https://sso.example.com", ""),
    ],
)
def test_where_a_run_is_to_be_seen(issuer: str, url: str) -> None:
    claims = Provider().ci_claims()
    job = read_job("github", issuer, claims)
    assert job.run_url == url
    assert "run_url" not in job.proved


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": None},
        {"repository": 7},
        {"repository": "shop"},
        {"repository": "acme/../shop"},
        {"repository": ["acme/shop"]},
        {"repository": "acme/shop\n"},
        {"repository": "a" * 300 + "/shop"},
        {"repository_id": None},
        {"repository_id": 1296269},
        {"repository_id": "1296269x"},
        {"repository_id": ""},
        {"sha": None},
        {"sha": "5f3c1d0"},
        {"sha": SHA.upper()},
        {"sha": "refs/heads/main"},
        {"environment": ["production"]},
        {"environment": "a\nb"},
        {"environment": "x" * 1001},
        {"run_id": None},
        {"run_id": 30433642},
        {"run_id": "1/../../evil"},
        {"run_id": "٣"},
        {"run_attempt": "0"},
        {"run_attempt": None},
        {"run_attempt": 2},
        {"actor": None},
        {"actor": ""},
        {"actor": {"login": "x"}},
        {"actor": "octo\u202ecat"},
        {"actor": "x" * 300},
        {"ref": 7},
        {"event_name": "push\n"},
        {"job_workflow_ref": "x" * 2000},
    ],
)
def test_claims_of_the_wrong_form(provider: Provider, changes: dict[str, Any]) -> None:
    found = refusal(keeper(provider), provider.ci_token(**changes))
    assert found.message.startswith("The CI's token can't be used: ")
    assert all(text.isprintable() for text in (found.message, found.expected, found.actual))


@pytest.mark.parametrize("name", ["project_path", "project_id", "pipeline_id", "sha", "user_login", "user_email"])
def test_claims_that_gitlab_always_has(provider: Provider, name: str) -> None:
    refusal(keeper(provider, "gitlab"), provider.ci_token("gitlab", **{name: None}))


def test_a_token_of_the_other_kind(provider: Provider) -> None:
    refusal(keeper(provider, "gitlab"), provider.ci_token("github"))
    refusal(keeper(provider, "github"), provider.ci_token("gitlab"))


# Issuers


@pytest.mark.parametrize(
    "change",
    [
        lambda url: f"{url}/",
        lambda url: f"{url}/x",
        lambda url: url.upper(),
        lambda url: url.replace("http://", "HTTP://"),
        lambda url: url.replace("127.0.0.1", "127.0.0.1."),
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.replace("http://", "http://x@"),
        lambda url: f"{url}?",
        lambda url: f"{url}#",
        lambda url: f"{url}/.well-known/..",
        lambda url: f" {url}",
        lambda url: f"{url}\u200b",
        lambda url: f"{url}\0",
        lambda url: [url],
        lambda url: None,
        lambda url: "",
    ],
)
def test_an_issuer_that_is_spelled_otherwise_is_another(provider: Provider, change: Any) -> None:
    claims = {**provider.ci_claims(), "iss": change(provider.url)}
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), provider.keys[0].private, "RS256")
    assert "does not know" in refusal(keeper(provider), token).message
    assert provider.requests == []


def test_an_unlisted_issuer_is_never_contacted(provider: Provider) -> None:
    with serving(Provider()) as evil:
        refusal(keeper(provider), evil.ci_token())
        refusal(keeper(provider), evil.ci_token(iss=provider.url))
        assert evil.requests == []


def test_one_issuer_s_key_does_not_speak_for_another(provider: Provider) -> None:
    with serving(Provider()) as other:
        other.keys = [new_key()]
        door = Doorkeeper(JobSettings((CiIssuer(provider.url, "github"), CiIssuer(other.url, "gitlab")), ()), URL)
        kid = provider.keys[0].kid
        refusal(door, other.sign(provider.ci_claims(), {"kid": kid}))
        assert isinstance(door.identify(f"Bearer {other.ci_token('gitlab')}"), Job)


def test_a_token_for_several_audiences_could_be_sent_on_by_any(provider: Provider) -> None:
    assert (
        "others, too" in refusal(keeper(provider), provider.ci_token(audience=[URL, "https://other.example"])).message
    )
    assert identify(provider, audience=[URL]).repository == "acme/shop"


def test_an_issuer_that_is_down_is_not_a_refusal(provider: Provider) -> None:
    provider.faults["/jwks"] = lambda request: Reply(503)
    with pytest.raises(Unavailable):
        keeper(provider).identify(f"Bearer {provider.ci_token()}")


# API tokens


def test_an_api_token(provider: Provider) -> None:
    assert keeper(provider).identify(f"Bearer {SECRET}") == TOKEN
    assert keeper(provider).identify(f"bearer  {SECRET} ") == TOKEN
    assert provider.requests == []


@pytest.mark.parametrize("secret", [SECRET[:-1], SECRET + "x", SECRET.upper(), TOKEN.sha256.hex(), "jenkins", "x"])
def test_what_is_no_api_token(provider: Provider, secret: str) -> None:
    refusal(keeper(provider), secret)


def test_every_api_token_is_compared_in_constant_time(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    from gate.bot import jobs

    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return hmac_compare(one, other)

    hmac_compare = jobs.hmac.compare_digest
    monkeypatch.setattr(jobs.hmac, "compare_digest", compare)
    others = [TOKEN._replace(name=f"t{number}", sha256=bytes([number]) * 32) for number in range(3)]
    door = Doorkeeper(JobSettings((), (TOKEN, *others)), URL)
    assert door.identify(f"Bearer {SECRET}") == TOKEN
    assert compared == [token.sha256 for token in (TOKEN, *others)]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer {SECRET} x", f"Bearer {SECRET}\n", "Bearer ä",
     f"Bearer\t{SECRET}", "Bearer " + "x" * 20_000, f"BEARER,{SECRET}"],
)  # fmt: skip
def test_headers_without_a_credential(provider: Provider, header: str) -> None:
    with pytest.raises(NotProved) as caught:
        keeper(provider).identify(header)
    assert SECRET not in f"{caught.value.message} {caught.value.actual} {caught.value.hint}"


def test_an_issuer_speaks_only_of_its_own_repositories(provider: Provider) -> None:
    """Whoever owns the group `acme` at another forge does not ask for this one's `acme/shop`."""
    mine = CiIssuer(provider.url, "github", (RepositoryPattern(("acme", "*")),))
    others = CiIssuer(provider.url, "github", (RepositoryPattern(("platform", "*")),))
    header = f"Bearer {provider.ci_token(audience=URL)}"
    assert Doorkeeper(JobSettings((mine,), ()), URL).identify(header)
    with pytest.raises(NotAllowed, match="may not speak of this repository"):
        Doorkeeper(JobSettings((others,), ()), URL).identify(header)


# Settings

WHOLE = f"""
oidc:
  - issuer: https://token.actions.githubusercontent.com
    kind: github
    repositories: ["Acme/*"]
  - {{issuer: https://gitlab.com, kind: gitlab, repositories: [acme/web/*]}}
tokens:
  - name: jenkins
    sha256: {TOKEN.sha256.hex().upper()}  -
    repositories: ["Acme/*"]
    environments: [production]
"""


def test_the_whole_section() -> None:
    assert read_jobs(parse(WHOLE.encode())) == JobSettings(
        (
            CiIssuer("https://token.actions.githubusercontent.com", "github", (RepositoryPattern(("acme", "*")),)),
            CiIssuer("https://gitlab.com", "gitlab", (RepositoryPattern(("acme", "web", "*")),)),
        ),
        (TOKEN,),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: 1", "Line 1: jobs has an unknown member 'x'"),
        ("oidc: []", "Line 1: this must be a list"),
        ("oidc: [{issuer: https://gitlab.com}]", "Line 1: this issuer has no 'kind'"),
        ("oidc:\n  - {issuer: https://gitlab.com, kind: jenkins}", "Line 2: kind must be"),
        ("oidc: [{issuer: http://gitlab.com, kind: gitlab}]", "Line 1: this must be the issuer's URL"),
        ("oidc: [{issuer: https://u@gitlab.com, kind: gitlab}]", "Line 1: this must be the issuer's URL"),
        ("oidc: [{issuer: https://gitlab.com?x, kind: gitlab}]", "Line 1: this must be the issuer's URL"),
        ("oidc: [{issuer: gitlab.com, kind: gitlab}]", "Line 1: this must be the issuer's URL"),
        (
            "oidc:\n  - {issuer: https://gitlab.com, kind: gitlab}\n  - {issuer: https://gitlab.com, kind: github}",
            "Line 3: the issuer https://gitlab.com stands here twice, first on line 2",
        ),
        (
            "oidc:\n  - {issuer: https://a, kind: gitlab, repositories: [a/b]}\n  - {issuer: https://b, kind: gitlab}",
            "Line 3: with several issuers, each must say",
        ),
        (
            "oidc: [{issuer: https://gitlab.com, kind: gitlab}, {issuer: https://gitlab.com, kind: gitlab}]",
            "Line 1: the issuer https://gitlab.com stands here twice",
        ),
        ("tokens: [{name: a b, sha256: x, repositories: [a/b]}]", "Line 1: a token's name"),
        ("tokens: [{name: a, sha256: hunter2, repositories: [a/b]}]", "Line 1: sha256 is the SHA-256"),
        (f"tokens: [{{name: a, sha256: {'0' * 64}}}]", "Line 1: this token has no 'repositories'"),
        (f"tokens: [{{name: a, sha256: {'0' * 64}, repositories: ['*']}}]", "Line 1: this must be owner/name"),
        (
            f"tokens: [{{name: a, sha256: {'0' * 64}, repositories: [a/b], environments: [a b]}}]",
            "Line 1: The environment's name",
        ),
        (
            "tokens:" + "".join(f"\n  - {{name: {name}, sha256: {'0' * 64}, repositories: [a/b]}}" for name in "ab"),
            "Line 3: the token's sha256",
        ),
    ],
)
def test_sections_that_are_not_taken(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_jobs(parse(text.encode()))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_importing_it_is_cheap() -> None:
    code = "import sys, gate.bot.jobs, gate.bot.signin; print({'jwt', 'requests', 'authlib'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_nothing_is_fetched_before_somebody_asks(provider: Provider) -> None:
    keeper(provider)
    Issuer(provider.url)
    assert provider.requests == []
