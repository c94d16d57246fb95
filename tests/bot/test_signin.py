"""Who people are: OIDC and GitHub sign-in against a provider on loopback, with everything that can be mixed up."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from gate.bot import oauth, providers
from gate.bot.clientsettings import SignInSettings
from gate.bot.errors import NotProved, Unavailable
from gate.bot.oauth import Started
from gate.bot.providers import GitHubProvider, open_provider
from gate.bot.secret import Secret
from gate.bot.signedin import SignedIn, known
from gate.bot.signin import read_sign_in
from gate.errors import PolicyError, UsageError
from gate.models import Identity
from gate.people import People, Person
from gate.strictyaml import parse
from tests.bot import description
from tests.bot.provider import CLIENT_ID, CLIENT_SECRET, Provider, Reply, Request, serving
from tests.parts import free_port

REDIRECT = "https://gate.example.com/sign-in/sso/done"
ALICE = SignedIn((Identity("email", "alice@example.com"),), "Alice", "SSO")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SSO_SECRET", CLIENT_SECRET)
    with serving(Provider()) as running:
        yield running


def settings(provider: Provider, kind: Any = "oidc", **changes: Any) -> SignInSettings:
    way = SignInSettings("SSO", kind, provider.url, CLIENT_ID, Secret("env:SSO_SECRET", None))
    return way._replace(**changes)


def browse(started: Started) -> dict[str, str]:
    """What the browser brings back."""
    answer = requests.get(started.url, allow_redirects=False, timeout=5)
    assert answer.status_code == 302, answer.text
    target = answer.headers["Location"]
    assert target.startswith(f"{REDIRECT}?")
    return dict(parse_qsl(urlsplit(target).query))


def sign_in(way: SignInSettings, change: Callable[[dict[str, str]], Any] = lambda query: None) -> SignedIn:
    """A whole sign-in; another bot finishes what one began."""
    started = open_provider(way).start(REDIRECT)
    query = browse(started)
    change(query)
    return open_provider(way).finish(REDIRECT, dict(started.flow), query)


def refusal(way: SignInSettings, change: Callable[[dict[str, str]], Any] = lambda query: None) -> NotProved:
    with pytest.raises(NotProved) as caught:
        sign_in(way, change)
    assert CLIENT_SECRET not in f"{caught.value.message} {caught.value.expected} {caught.value.actual}"
    return caught.value


def test_signing_in_with_oidc(provider: Provider) -> None:
    assert sign_in(settings(provider)) == ALICE


def test_what_the_browser_is_sent_with(provider: Provider) -> None:
    started = open_provider(settings(provider)).start(REDIRECT)
    query = dict(parse_qsl(urlsplit(started.url).query))
    assert started.url.startswith(f"{provider.url}/authorize?")
    assert query["response_type"] == "code"
    assert query["redirect_uri"] == REDIRECT
    assert query["code_challenge_method"] == "S256"
    assert query["state"] == started.flow["state"]
    assert query["nonce"] == started.flow["nonce"]
    assert started.flow["provider"] == "SSO"
    assert started.flow["code_verifier"] not in started.url
    assert CLIENT_SECRET not in started.url
    assert len({*started.flow.values()}) == 4
    again = open_provider(settings(provider)).start(REDIRECT)
    assert not {*again.flow.values()} & {*started.flow.values()} - {"SSO"}


@pytest.mark.parametrize(
    "methods", [["client_secret_basic"], ["client_secret_post"], ["private_key_jwt", "client_secret_post"]]
)
def test_the_secret_is_shown_as_the_provider_wants_it(provider: Provider, methods: list[str]) -> None:
    provider.auth_methods = methods
    assert sign_in(settings(provider)) == ALICE
    [token_request] = [request for request in provider.requests if request.path == "/token"]
    assert ("client_secret" in token_request.form) == ("client_secret_basic" not in methods)


def test_keys_may_rotate_between_start_and_finish(provider: Provider) -> None:
    way = open_provider(settings(provider))
    started = way.start(REDIRECT)
    provider.rotate(alg="ES256")
    query = browse(started)
    assert open_provider(settings(provider)).finish(REDIRECT, started.flow, query) == ALICE


def test_an_address_that_only_userinfo_tells(provider: Provider) -> None:
    provider.userinfo = provider.user
    provider.user = {"sub": "248289"}
    assert sign_in(settings(provider)) == ALICE
    provider.userinfo = {**provider.userinfo, "sub": "1"}
    assert "two people" in refusal(settings(provider)).message


# State, nonce, code


def replaced(**changes: str) -> Callable[[dict[str, str]], Any]:
    return lambda query: query.update(changes)


@pytest.mark.parametrize("change", [replaced(state="x" * 48), replaced(state=""), lambda query: query.pop("state"),
                                    replaced(state="\ud800"), replaced(state="ä")])  # fmt: skip
def test_another_state(provider: Provider, change: Any) -> None:
    assert "state differs" in refusal(settings(provider), change).message
    assert provider.asked("/token") == 0


def test_an_empty_flow_proves_nothing(provider: Provider) -> None:
    way = open_provider(settings(provider))
    query = browse(way.start(REDIRECT)) | {"state": ""}
    for flow in ({}, {"provider": "SSO"}, {"provider": "SSO", "state": ""}):
        with pytest.raises(NotProved):
            way.finish(REDIRECT, flow, query)
    assert provider.asked("/token") == 0


@pytest.mark.parametrize("change", [replaced(code=""), lambda query: query.pop("code"), replaced(code="x" * 5000),
                                    replaced(code="x\ny"), replaced(code="ä")])  # fmt: skip
def test_what_is_no_code(provider: Provider, change: Any) -> None:
    assert "no code" in refusal(settings(provider), change).message
    assert provider.asked("/token") == 0


def test_an_unknown_code(provider: Provider) -> None:
    assert refusal(settings(provider), replaced(code="x")).actual == "invalid_grant"


def test_a_code_works_once(provider: Provider) -> None:
    way = open_provider(settings(provider))
    started = way.start(REDIRECT)
    query = browse(started)
    assert way.finish(REDIRECT, started.flow, query) == ALICE
    with pytest.raises(NotProved, match="not accept this sign-in any more"):
        way.finish(REDIRECT, started.flow, query)


def test_a_code_that_somebody_else_s_browser_got(provider: Provider) -> None:
    """RFC 9700 §4.5: an injected code fails by PKCE, and by the nonce."""
    way = open_provider(settings(provider))
    theirs, ours = way.start(REDIRECT), way.start(REDIRECT)
    injected = browse(theirs)["code"]
    with pytest.raises(NotProved) as caught:
        way.finish(REDIRECT, ours.flow, {**browse(ours), "code": injected})
    assert caught.value.actual == "invalid_grant"


@pytest.mark.parametrize("nonce", ["x", "", None, 7])
def test_another_nonce(provider: Provider, nonce: Any) -> None:
    provider.change_id_token = lambda claims: claims.update(nonce=nonce)
    assert "nonce differs" in refusal(settings(provider)).message


def test_people_may_change_their_mind(provider: Provider) -> None:
    provider.refusal = "access_denied"
    found = refusal(settings(provider))
    assert found.message == "You chose not to sign in."
    provider.refusal = "server_error"
    assert refusal(settings(provider)).actual == "server_error"
    assert provider.asked("/token") == 0


# Mixed-up providers


@pytest.mark.parametrize(
    "change", [replaced(iss="https://evil.example"), replaced(iss=""), lambda query: query.pop("iss")]
)
def test_another_iss(provider: Provider, change: Any) -> None:
    assert "somewhere else" in refusal(settings(provider), change).message
    assert provider.asked("/token") == 0


def test_a_provider_that_sends_no_iss(provider: Provider) -> None:
    provider.sends_iss = False
    assert sign_in(settings(provider)) == ALICE
    assert "somewhere else" in refusal(settings(provider), replaced(iss="https://evil.example")).message


def test_a_flow_that_another_provider_began(provider: Provider) -> None:
    with serving(Provider()) as evil:
        evil.sends_iss = provider.sends_iss = False
        started = open_provider(settings(provider)).start(REDIRECT)
        query = browse(started)
        with pytest.raises(NotProved, match="somewhere else"):
            open_provider(settings(evil, name="Evil")).finish(REDIRECT, started.flow, query)
        assert evil.asked("/token") == 0


# The id_token


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aud": "another-client"}, "meant for somebody else"),
        ({"aud": [CLIENT_ID, "another-client"]}, "another client"),
        ({"aud": [CLIENT_ID, "another-client"], "azp": "another-client"}, "another client"),
        ({"azp": "another-client"}, "another client"),
        ({"exp": 1}, "expired"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"sub": ""}, "sub is missing"),
        ({"email": "mallory"}, "which e-mail address"),
        ({"email": ["alice@example.com"]}, "which e-mail address"),
        ({"email": "alice@example.com\n"}, "which e-mail address"),
        ({"email": "alice@example.com,bob@example.com"}, "which e-mail address"),
        ({"email": "\u0430lice@example.com"}, "which e-mail address"),
        ({"email": "a" * 300 + "@example.com"}, "which e-mail address"),
        ({"email": "4711+alice@users.noreply.github.com"}, "not accepted"),
        ({"email": "alice@USERS.noreply.github.com"}, "not accepted"),
        ({"email_verified": "true"}, "has not verified"),
        ({"email_verified": 1}, "has not verified"),
        ({"email_verified": False}, "has not verified"),
        ({"email_verified": None}, "has not verified"),
    ],
)
def test_claims_that_prove_nobody(provider: Provider, changes: dict[str, Any], message: str) -> None:
    provider.change_id_token = lambda claims: claims.update(changes)
    assert message in refusal(settings(provider)).message


def test_several_audiences_with_us_as_the_party(provider: Provider) -> None:
    provider.change_id_token = lambda claims: claims.update(aud=[CLIENT_ID, "another"], azp=CLIENT_ID)
    assert sign_in(settings(provider)) == ALICE


@pytest.mark.parametrize("email", ["alice@example.com", "Alice@EXAMPLE.com"])
def test_a_listed_domain(provider: Provider, email: str) -> None:
    provider.user["email"] = email
    assert sign_in(settings(provider, domains=frozenset({"example.com"}))).identities == (Identity("email", email),)


@pytest.mark.parametrize("domain", ["evil.example", "example.com.evil.example", "notexample.com", "sub.example.com"])
def test_an_unlisted_domain(provider: Provider, domain: str) -> None:
    provider.user["email"] = f"alice@{domain}"
    assert refusal(settings(provider, domains=frozenset({"example.com"}))).actual == domain


def test_a_name_is_made_fit_to_show(provider: Provider) -> None:
    provider.user["name"] = "Alice\u202e\n" + "x" * 500
    name = sign_in(settings(provider)).name
    assert name.isprintable()
    assert len(name) < 150
    provider.user["name"] = 7
    assert sign_in(settings(provider)).name == "alice@example.com"


# Providers that do not do as they must


@pytest.mark.parametrize(
    "reply",
    [Reply(500), Reply(200, b"<html>"), Reply(200, []), Reply(200, {}), Reply(200, {"id_token": 7}), Reply(404),
     Reply(200, {"access_token": "x", "expires_in": "soon"}), Reply(200, {"access_token": "x", "expires_in": []}),
     Reply(401, {"error": "invalid_client"}), Reply(400, {"error": {"x": "y"}}), Reply(200, b" " * 600_000),
     Reply(200, b"[" * 100_000), Reply(429)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["oidc", "github"])
def test_answers_of_the_token_endpoint_that_are_none(provider: Provider, kind: str, reply: Reply) -> None:
    provider.faults["/token"] = provider.faults["/login/oauth/access_token"] = lambda request: reply
    provider.faults["/api/v3/user"] = lambda request: Reply(403)
    with pytest.raises(Unavailable) as caught:
        sign_in(settings(provider, kind))
    assert CLIENT_SECRET not in f"{caught.value.message} {caught.value.actual}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("kind", ["oidc", "github"])
def test_a_token_endpoint_that_redirects(provider: Provider, kind: str, status: int) -> None:
    """Neither the code nor the client's secret goes elsewhere."""
    with serving(Provider()) as evil:
        elsewhere = Reply(status, b"", {"Location": f"{evil.url}/token"})
        provider.faults["/token"] = provider.faults["/login/oauth/access_token"] = lambda request: elsewhere
        with pytest.raises(Unavailable):
            sign_in(settings(provider, kind))
        assert evil.requests == []


def test_a_token_endpoint_that_drips(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "SECONDS", 0.2)
    done = threading.Event()

    def drip(file: Any) -> None:
        while not done.wait(0.02):
            file.write(b" ")
            file.flush()

    provider.faults["/token"] = lambda request: Reply(200, drip)
    try:
        with pytest.raises(Unavailable, match="too long"):
            sign_in(settings(provider))
    finally:
        done.set()


def test_a_token_endpoint_that_is_silent(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "SECONDS", 0.2)
    done = threading.Event()

    def wait(request: Request) -> Reply:
        done.wait(5)
        return Reply(500)

    provider.faults["/token"] = wait
    try:
        with pytest.raises(Unavailable):
            sign_in(settings(provider))
    finally:
        done.set()


def test_a_provider_that_is_gone(provider: Provider) -> None:
    gone = f"http://127.0.0.1:{free_port()}/token"
    provider.change_metadata = lambda metadata: metadata.update(token_endpoint=gone)
    with pytest.raises(Unavailable, match="can't be reached"):
        sign_in(settings(provider))


def test_a_netrc_is_not_read(provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    provider.userinfo, provider.user = provider.user, {"sub": "248289"}
    provider.auth_methods = ["client_secret_post"]
    flow = open_provider(settings(provider)).start(REDIRECT)
    with requests.Session() as browser:
        browser.trust_env = False
        location = browser.get(flow.url, allow_redirects=False, timeout=5).headers["Location"]
    query = dict(parse_qsl(urlsplit(location).query))
    assert open_provider(settings(provider)).finish(REDIRECT, flow.flow, query) == ALICE
    assert not any("Basic" in request.headers.get("authorization", "") for request in provider.requests)


def test_a_provider_without_endpoints(provider: Provider) -> None:
    provider.change_metadata = lambda metadata: metadata.pop("token_endpoint")
    with pytest.raises(Unavailable, match="no endpoints"):
        sign_in(settings(provider))


def test_a_secret_that_is_not_set(provider: Provider) -> None:
    with pytest.raises(UsageError, match="empty"):
        open_provider(settings(provider, client_secret=Secret("env:NOT_SET", None))).start(REDIRECT)


# GitHub


def test_signing_in_with_github(provider: Provider) -> None:
    assert sign_in(settings(provider, "github")) == SignedIn(
        (Identity("account", "127.0.0.1:alice#4711"),), "Alice", "SSO"
    )
    [request] = [request for request in provider.requests if request.path == "/api/v3/user"]
    assert request.headers["authorization"].startswith("Bearer ")


def test_the_provider_tells_of_an_account_as_github_does(provider: Provider) -> None:
    """As GitHub describes its API: with the token that it gave, and without."""
    user = description.operation("GET", "/user")
    sign_in(settings(provider, "github"))
    [shown] = [request for request in provider.requests if request.path == "/api/v3/user"]
    for request in (shown, shown._replace(headers={})):
        reply = provider.reply(request)
        description.check_request(user, request.form, None)
        description.check_response(user, reply.status, reply.body)


@pytest.mark.parametrize(
    ("url", "namespace"), [("https://github.com", "github"), ("https://ghe.example.com:8443", "ghe.example.com")]
)
def test_an_account_s_id_goes_with_it(url: str, namespace: str) -> None:
    way = SignInSettings("GitHub", "github", url, CLIENT_ID, Secret("env:X", None))
    github = GitHubProvider(way)
    assert github._person({"login": "alice", "id": 4711, "name": None}) == SignedIn(
        (Identity("account", f"{namespace}:alice#4711"),), "alice", "GitHub"
    )


def test_where_github_s_api_is(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get_object(whose: str, url: str, *_: Any) -> dict[str, Any]:
        asked.append(url)
        return {"login": "alice", "id": 1}

    monkeypatch.setattr(providers, "get_object", get_object)
    monkeypatch.setattr(oauth.Client, "finish", lambda *_: {"access_token": "x"})
    for url in ("https://github.com", "https://octo.ghe.com", "https://ghe.example.com", "https://github.com.example"):
        open_provider(settings(provider, "github", url=url)).finish(REDIRECT, {}, {})
    assert asked == [
        "https://api.github.com/user",
        "https://api.octo.ghe.com/user",
        "https://ghe.example.com/api/v3/user",
        "https://github.com.example/api/v3/user",
    ]


@pytest.mark.parametrize(
    "user",
    [
        {},
        {"login": ""},
        {"login": "a b"},
        {"login": "alice\n"},
        {"login": 7},
        {"id": None},
        {"id": "4711"},
        {"id": True},
    ],
)
def test_an_account_that_is_none(provider: Provider, user: dict[str, Any]) -> None:
    provider.github_user = {**provider.github_user, **user} if user else {}
    with pytest.raises(Unavailable, match="does not say who"):
        sign_in(settings(provider, "github"))


@pytest.mark.parametrize("change", [replaced(state="x" * 48), replaced(code="x"), replaced(iss="https://evil.example"),
                                    replaced(iss="https://[")])  # fmt: skip
def test_github_answers_that_are_mixed_up(provider: Provider, change: Any) -> None:
    refusal(settings(provider, "github"), change)


def test_github_may_name_itself(provider: Provider) -> None:
    assert sign_in(settings(provider, "github"), replaced(iss=f"{provider.url}/login/oauth"))


def test_a_github_account_that_refuses(provider: Provider) -> None:
    provider.refusal = "access_denied"
    assert refusal(settings(provider, "github")).message == "You chose not to sign in."


# Who that is in the policy


class Policy:
    """As much of a policy as matters here."""

    people = People(
        {
            "alice@example.com": Person("alice", ("4711+alice@users.noreply.github.com",)),
            "bob@example.com": Person("bob", ()),
        },
        {"carol"},
    )


def who(*identities: tuple[str, str]) -> str | None:
    person = SignedIn(tuple(Identity(kind, value) for kind, value in identities), "", "")  # type: ignore[arg-type]
    return known(Policy(), person)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("identities", "name"),
    [
        ([("email", "Alice@Example.com")], "alice@example.com"),
        ([("login", "ALICE")], "alice@example.com"),
        ([("login", "alice"), ("email", "4711+alice@users.noreply.github.com")], "alice@example.com"),
        ([("login", "alice-new"), ("email", "4711+alice-new@users.noreply.github.com")], "alice@example.com"),
        ([("login", "alice"), ("email", "99+alice@users.noreply.github.com")], None),  # took the login over
        ([("login", "bob"), ("email", "12+bob@users.noreply.github.com")], "bob@example.com"),
        ([("login", "bob"), ("email", "4711+bob@users.noreply.github.com")], None),  # two people
        ([("login", "bob"), ("email", "alice@example.com")], None),
        ([("email", "alice@example.com"), ("email", "unknown@example.com")], "alice@example.com"),
        ([("login", "carol")], "carol"),
        ([("login", "mallory")], None),
        ([("email", "alice@evil.example")], None),
        ([("email", "\u0430lice@example.com")], None),
        ([("login", "")], None),
        ([], None),
    ],
)
def test_who_that_is(identities: list[tuple[str, str]], name: str | None) -> None:
    assert who(*identities) == name


# Settings


def test_the_whole_section(tmp_path: Path) -> None:
    text = """
- name: Example SSO
  issuer: https://sso.example.com/
  client_id: abc
  client_secret: env:SSO_SECRET
  domains: [Example.com]
- name: GitHub
  github: https://GitHub.com/
  client_id: def
  client_secret: file:secret
"""
    assert read_sign_in(parse(text.encode()), tmp_path) == (
        SignInSettings(
            "Example SSO", "oidc", "https://sso.example.com/", "abc", Secret("env:SSO_SECRET", tmp_path),
            frozenset({"example.com"}),
        ),
        SignInSettings("GitHub", "github", "https://github.com", "def", Secret("file:secret", tmp_path)),
    )  # fmt: skip


REST = "client_id: a, client_secret: env:X"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "Line 1: sign_in must be a list"),
        ("a: b", "Line 1: sign_in must be a list"),
        (f"[{{name: a, {REST}}}]", "Line 1: a way to sign in has either"),
        (f"[{{name: a, issuer: https://a, github: https://b, {REST}}}]", "Line 1: a way to sign in has either"),
        (f"[{{issuer: https://a, {REST}}}]", "Line 1: this way to sign in has no 'name'"),
        (f"[{{name: a, issuer: http://a, {REST}}}]", "Line 1: this must be the issuer's URL"),
        (f"[{{name: a, github: http://github.com, {REST}}}]", "Line 1: this must be https://github.com"),
        (f"[{{name: a, github: https://github.com/acme, {REST}}}]", "Line 1: this must be https://github.com"),
        (f"[{{name: a, github: https://b, domains: [b.c], {REST}}}]", "Line 1: domains are for e-mail"),
        (f"[{{name: a, issuer: https://b, domains: ['*.b'], {REST}}}]", "Line 1: this must be the domain"),
        (f"[{{name: a, issuer: https://b, domains: ['@b.c'], {REST}}}]", "Line 1: this must be the domain"),
        ("[{name: a, issuer: https://b, client_id: a, client_secret: hunter2}]", "Line 1: this must say where"),
        (f"- {{name: a, issuer: https://b, {REST}}}\n- {{name: a, issuer: https://c, {REST}}}", "Line 2: two ways"),
        (f"[{{name: {'a' * 61}, issuer: https://b, {REST}}}]", "Line 1: a name has at most"),
        (f"[{{name: a, issuer: https://b, {REST}, scope: x}}]", "unknown member 'scope'"),
    ],
)
def test_sections_that_are_not_taken(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_sign_in(parse(text.encode()), None)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
