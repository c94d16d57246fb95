"""The bot's HTTP against whoever means it no good: a real process, and a client that sends what it likes."""

import ast
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

import gate.bot
from tests.bot.provider import SHA, Provider, Reply, serving
from tests.bot.running import API_TOKEN, Place, Running, running_bot
from tests.bot.visitor import Visitor, come_back

BODY = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": "7", "waits": False}
BUSY_TOKEN, MANY_TOKEN = "a-token-of-a-job-that-asks-in-a-loop", "a-token-of-many-jobs"
HEADERS = (
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "permissions-policy",
    "cache-control",
    "x-request-id",
)


@dataclass
class Site:
    """A bot that runs, and where its people sign in."""

    bot: Running
    provider: Provider
    addresses: int = 0

    def visitor(self) -> Visitor:
        return Visitor(self.bot.place.url, int(self.bot.url.rpartition(":")[2]), address=self.address())

    def signed_in(self, email: str = "alice@example.com") -> Visitor:
        visitor = self.visitor()
        assert visitor.sign_in(self.provider, email).status == 303
        return visitor

    def request(self, run: str = "7") -> str:
        answer = self.visitor().call("/api/requests", API_TOKEN, BODY | {"run_id": run})
        assert answer.status == 200, answer.text
        return str(answer.json["id"])

    def address(self) -> str:
        """An address that nobody had before, as the proxy tells it."""
        self.addresses += 1
        return f"198.51.{self.addresses // 250}.{self.addresses % 250}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(Provider()) as provider:
        place = Place(tmp_path_factory.mktemp("web"))
        place.sign_in_with(provider)
        place.settings["trusted_proxies"] = ["127.0.0.1/32"]
        place.settings["jobs"]["tokens"] += [
            {"name": token[-9:], "sha256": sha256(token.encode()).hexdigest(), "repositories": ["acme/*"]}
            for token in (BUSY_TOKEN, MANY_TOKEN)
        ]
        place.write()
        with running_bot(place) as bot:
            yield Site(bot, provider)
            assert "a bug" not in bot.text()
            assert "Traceback" not in bot.text()


# --- sessions and forms -----------------------------------------------------------------------------------------------


def test_a_form_without_the_session_s_secret_does_nothing(site: Site) -> None:
    key, alice, bob = site.request("csrf"), site.signed_in(), site.signed_in("bob@example.com")
    others = bob.csrf
    for path in ("approve", "decline", "challenge", "look-up"):
        for csrf in (None, "", "x", others, "ü", "\udcff".encode("utf-8", "replace").decode()):
            form = {"reason": "no"} | ({} if csrf is None else {"csrf": csrf})
            answer = alice.post(f"/requests/{key}/{path}", form)
            assert answer.status == 401, (path, csrf, answer.text)
            assert "not from your session" in answer.text
    for path in ("/passkeys", "/passkeys/options", "/sign-out"):
        assert alice.post(path, {"csrf": others}).status == 401
    assert "Waiting" in alice.get(f"/requests/{key}").text


def test_a_form_of_a_session_that_ended_does_nothing(site: Site) -> None:
    key, alice = site.request("ended"), site.signed_in()
    csrf, cookie = alice.csrf, dict(alice.cookies)
    out = alice.post("/sign-out", {"csrf": csrf})
    assert (out.status, out.headers["location"], alice.cookies) == (303, "/", {})
    alice.cookies = cookie
    assert alice.get("/").status == 401
    assert alice.post(f"/requests/{key}/approve", {"csrf": csrf}).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"Origin": "https://localhost:{port}"},
        {"Origin": "http://LOCALHOST:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_another_site_s_form_is_not_even_looked_at(site: Site, headers: dict[str, str]) -> None:
    alice = site.signed_in()
    port = site.bot.url.rpartition(":")[2]
    given = {name: value.format(port=port) for name, value in headers.items()}
    answer = alice.post("/sign-out", {"csrf": alice.csrf}, **given)
    assert (answer.status, "another site" in answer.text) == (403, True)
    assert alice.get("/").status == 200
    for header in HEADERS:
        assert header in answer.headers


def test_a_new_sign_in_ends_the_old_session_and_a_planted_cookie_is_worth_nothing(site: Site) -> None:
    alice = site.visitor()
    alice.cookies["gate"] = "planted-by-somebody-else"
    alice.sign_in(site.provider, "alice@example.com")
    first = alice.cookies["gate"]
    assert first != "planted-by-somebody-else"
    alice.sign_in(site.provider, "alice@example.com")
    assert alice.cookies["gate"] != first
    assert Visitor(alice.url, alice.port, {"gate": first}).get("/").status == 401
    assert Visitor(alice.url, alice.port, {"gate": "planted-by-somebody-else"}).get("/").status == 401
    assert alice.get("/").status == 200


@pytest.mark.parametrize("cookie", ["", "x", "ü", "x" * 5000, "a b", '"quoted"', "%00", "..%2f"])
def test_whatever_stands_in_the_cookie_is_nobody(site: Site, cookie: str) -> None:
    visitor = site.visitor()
    answer = visitor.send("GET", "/", Cookie=f"gate={cookie}".encode().decode("latin-1"))
    assert answer.status == 401


def test_cookies_are_for_this_site_alone_and_for_no_script(site: Site) -> None:
    alice = site.visitor()
    start = alice.get("/sign-in/0?next=/history")
    [flow] = start.cookies
    assert flow.startswith("gate-sign-in=")
    [session] = [one for one in alice.get(come_back(start)).cookies if one.startswith("gate=")]
    for cookie in (flow, session):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
    assert "Max-Age=14400" in session


def test_a_sign_in_ends_where_it_began(site: Site) -> None:
    """Login CSRF: whoever sends somebody else's answer to a browser that began nothing, or another sign-in, fails."""
    mine, others = site.visitor(), site.visitor()
    back = come_back(mine.get("/sign-in/0"))
    assert others.get(back).status == 401
    others.get("/sign-in/0")
    assert others.get(back).status == 401
    assert mine.get(f"{back}&state=x").status == 401
    assert mine.get(back).status == 303
    assert mine.get(back).status == 401  # once
    for path in (
        "/sign-in/1",
        "/sign-in/-1",
        "/sign-in/x",
        "/sign-in/0000",
        "/sign-in/\u0660",
        "/sign-in/00",
        "/sign-in/99",
    ):
        assert mine.get(quote(path)).status == 404


@pytest.mark.parametrize("path", ["/", "/passkeys", "/history", "/requests/x", "/requests/x?y=z"])
def test_who_is_not_signed_in_sees_the_sign_in_page_and_nothing_else(site: Site, path: str) -> None:
    answer = site.visitor().get(path)
    assert answer.status == 401
    assert "Example SSO" in answer.text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example.com", "/\\evil.example.com", "\\\\evil.example.com", "https://evil.example.com",
        "javascript:alert(1)", "/requests/../../evil", "/%2f%2fevil.example.com", "/requests/x#@evil.example.com",
        "/requests/x?y", "/history\n", "/history\r\nSet-Cookie: x=y", "/sign-out", "/requests/x/approve", "//", "",
        "/requests/" + "x" * 65, "/requests/\u00fc", "data:text/html,x", "/.//evil.example.com", "/;@evil.example.com",
    ],
)  # fmt: skip
def test_nobody_is_led_elsewhere(site: Site, target: str) -> None:
    visitor = site.visitor()
    address = site.address()
    there = visitor.get(f"/sign-in/0?next={quote(target, safe='')}", X_Forwarded_For=address)
    back = visitor.get(come_back(there), X_Forwarded_For=address)
    assert (back.status, back.headers["location"]) == (303, "/")
    page = visitor.get(f"/sign-in?next={quote(target, safe='')}").text
    assert "evil" not in page.replace("evil.example.com</", "")
    assert 'next=/"' in page or "next=%2F" in page or "next=" not in page


def test_a_stranger_is_signed_in_nowhere_and_recorded(site: Site) -> None:
    stranger = site.visitor()
    answer = stranger.sign_in(site.provider, "mallory@evil.example.com")
    assert (answer.status, "gate" in stranger.cookies) == (403, False)
    assert "does not know you" in answer.text
    assert stranger.get("/").status == 401
    found = [path.read_text() for path in (site.bot.place.folder / "events/deploy-gate/bot/events").glob("*.json")]
    assert any("mallory@evil.example.com" in record for record in found)


def test_a_way_to_sign_in_that_is_down_is_no_bug(site: Site) -> None:
    visitor = site.visitor()
    back = come_back(visitor.get("/sign-in/0", X_Forwarded_For=site.address()))
    site.provider.faults["/token"] = lambda _: Reply(500, {})
    try:
        assert visitor.get(back, X_Forwarded_For=site.address()).status == 503
    finally:
        del site.provider.faults["/token"]


def test_a_job_is_told_who_declined_and_why_and_sees_no_token(site: Site) -> None:
    asked = site.visitor().call("/api/requests", API_TOKEN, BODY | {"run_id": "no"}).json
    assert site.signed_in().decline(asked["id"], "Not on a Friday").status == 303
    told = site.visitor().call(f"/api/requests/{asked['id']}", asked["secret"]).json
    assert (told["status"], told["declined_by"], told["decline_reason"]) == (
        "declined", "alice@example.com", "Not on a Friday")  # fmt: skip
    assert not {"tokens", "secret"} & told.keys()
    for scheme in ("Basic", "bearer", ""):
        answer = site.visitor().get(f"/api/requests/{asked['id']}", Authorization=f"{scheme} {asked['secret']}")
        assert answer.status == (200 if scheme == "bearer" else 401)


def test_but_back_to_the_page_that_they_wanted(site: Site) -> None:
    visitor = site.visitor()
    there = visitor.get("/sign-in/0?next=/requests/abc-_9", X_Forwarded_For=site.address())
    assert visitor.get(come_back(there)).headers["location"] == "/requests/abc-_9"


def test_who_is_no_longer_who_they_were_in_the_policy_is_out_at_once(site: Site) -> None:
    """Whoever signed in with an address that has become somebody else's, too."""
    place = site.bot.place
    before = json.loads(json.dumps(place.policy))
    carol = site.signed_in("carol@example.com")
    try:
        place.policy["environments"]["production"]["approvers"].remove("carol@example.com")
        del place.policy["people"]["carol@example.com"]
        place.policy["people"]["bob@example.com"]["emails"] = ["carol@example.com"]
        place.write()
        _until(lambda: carol.get("/").status == 403)
        key = site.request("gone")
        assert carol.post(f"/requests/{key}/approve", {"csrf": "x"}).status == 403
    finally:
        place.policy = before
        place.write()
        _until(lambda: carol.get("/").status == 200)


def _until(holds: object, seconds: float = 20) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- what every answer carries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 401), ("GET", "/sign-in", 200), ("GET", "/nowhere", 404), ("POST", "/nowhere", 404),
        ("GET", "/requests/x/approve", 404), ("DELETE", "/", 405), ("PUT", "/api/requests", 405),
        ("OPTIONS", "/", 405), ("TRACE", "/", 405), ("PATCH", "/sign-out", 405), ("FOO", "/", 405),
        ("HEAD", "/", 401), ("HEAD", "/healthz", 200), ("HEAD", "/api/requests", 404),
        ("GET", "/healthz", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/api/requests/x", 401),
        ("POST", "/api/requests", 401), ("POST", "/webhooks/github", 404), ("GET", "/static/app.css", 200),
        ("GET", "/static/none.css", 404), ("GET", "/favicon.ico", 404), ("POST", "/sign-out", 401),
    ],
)  # fmt: skip
def test_every_answer_has_the_same_headers(site: Site, method: str, path: str, status: int) -> None:
    answer = site.visitor().send(method, path, X_Forwarded_For=site.address())
    assert answer.status == status
    for name in HEADERS:
        assert name in answer.headers, name
    csp = answer.headers["content-security-policy"]
    assert "default-src 'none'" in csp
    assert "frame-ancestors 'none'" in csp
    assert "unsafe" not in csp
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store" or path == "/static/app.css"
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers  # this one is at http://localhost


@pytest.mark.parametrize(
    "path",
    ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py", "/static//etc/passwd",
     "/static/app.css%00", "/static/.", "/static/APP.CSS", "/requests/%2e%2e", "/requests/%00", "/%2e%2e/%2e%2e/x",
     "//evil.example.com/", "/requests/%ff%fe"],
)  # fmt: skip
def test_paths_lead_nowhere_else(site: Site, path: str) -> None:
    alice = site.signed_in()
    assert alice.get(path).status in (400, 404)


# --- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example.com", "localhost", "localhost:1", "LOCALHOST:{port}", "localhost.:{port}", "127.0.0.1:{port}",
     "localhost:{port}@evil.example.com", "evil.example.com/healthz?", "localhost:{port}/healthz?", "x/metrics#",
     "localhost:{port}, evil.example.com", " "],
)  # fmt: skip
def test_another_host_is_not_answered(site: Site, host: str) -> None:
    port = site.bot.url.rpartition(":")[2]
    answer = site.visitor().raw(f"GET /sign-in HTTP/1.1\r\nHost: {host.format(port=port)}\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"421", b"400"), answer
    assert b"It is at " + site.bot.url.encode() in answer or answer.split(b" ")[1] == b"400"
    assert b"Example SSO" not in answer


def test_hosts_can_t_be_doubled_left_out_or_forwarded(site: Site) -> None:
    visitor = site.visitor()
    port = site.bot.url.rpartition(":")[2].encode()
    right = b"Host: localhost:" + port + b"\r\n"
    for head in (right + b"Host: evil.example.com\r\n", b"Host: evil.example.com\r\n" + right, b""):
        assert b" 400 " in visitor.raw(b"GET /sign-in HTTP/1.1\r\n" + head + b"\r\n")[:20]
    absolute = visitor.raw(b"GET http://evil.example.com/sign-in HTTP/1.1\r\n" + right + b"\r\n")
    assert b" 404 " in absolute[:20]
    answer = visitor.get(
        "/sign-in/0", X_Forwarded_Host="evil.example.com", Forwarded="host=evil.example.com", X_Forwarded_Proto="https"
    )
    assert "evil" not in str(answer.headers)
    assert quote(visitor.url, safe="") in answer.headers["location"]


def test_probes_may_come_by_address_and_see_no_pages(site: Site) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert site.visitor().get(path, Host="10.1.2.3").status == 200
    assert site.visitor().get("/healthz/../sign-in", Host="10.1.2.3").status == 421


# --- sizes and shapes -------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_whatever_it_says_of_itself(site: Site) -> None:
    visitor, port = site.visitor(), site.bot.url.rpartition(":")[2].encode()
    big = visitor.send("POST", "/api/requests", b"x" * (64 * 1024 + 1), Accept="application/json")
    assert (big.status, big.json["error"]["expected"]) == (413, "at most 65536 bytes")
    for name in HEADERS:
        assert name in big.headers
    head = b"POST /api/requests HTTP/1.1\r\nHost: localhost:" + port + b"\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert b" 413 " in visitor.raw(chunked + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 3)[:20]
    both = head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert b" 400 " in visitor.raw(both)[:20] or b" 401 " in visitor.raw(both)[:20]
    assert b" 400 " in visitor.raw(head + b"Content-Length: -1\r\n\r\n")[:20]
    assert b" 400 " in visitor.raw(head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")[:20]
    assert visitor.raw(head + b"Content-Length: 10\r\n\r\nhello", patience=0.3) == b""  # it waits for the rest


def test_a_head_that_is_too_large_is_refused(site: Site) -> None:
    visitor, port = site.visitor(), site.bot.url.rpartition(":")[2].encode()
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost:" + port + b"\r\n"
    for flood in (b"X: " + b"y" * 70_000 + b"\r\n", b"X: y\r\n" * 10_000):
        answer = visitor.raw(head + flood + b"\r\n")
        assert answer.split(b" ")[1] in (b"400", b"431"), answer[:100]


@pytest.mark.parametrize(
    "form",
    [
        "&".join(f"f{number}=x" for number in range(51)),
        "csrf=a&csrf=b",
        "csrf=%ff%fe",
        b"csrf=\xff\xfe".decode("latin-1"),
        "reason=a&reason=b&csrf=x",
    ],
)
def test_a_form_that_two_would_read_differently_is_refused(site: Site, form: str) -> None:
    alice = site.signed_in()
    answer = alice.post("/sign-out", form)
    assert answer.status == 400, answer.text
    assert "can&#39;t be read" in answer.text or "can't be read" in answer.text
    assert alice.get("/").status == 200


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "1", "{", '{"a":1,"a":2}', '{"sha":1}', "[" * 60_000, '{"a":' * 10_000, "1" * 10_000,
     '{"run_id":"\\ud800"}', '{"run_id":"a\\u0000b"}', '{"attempt":1e400}', '{"attempt":NaN}', '{"actors":"alice"}',
     '{"run_id":"' + "x" * 300 + '"}', "\xff", '{"unknown":1}', '{"rerun":"yes"}'],
)  # fmt: skip
def test_json_that_is_no_question_gets_a_plain_answer(site: Site, body: str) -> None:
    filled = body.replace("{", json.dumps(BODY)[:-1] + ",", 1) if body.startswith('{"') else body
    if '"sha"' in body or '"run_id"' in body:
        filled = (
            json.dumps({name: value for name, value in BODY.items() if f'"{name}"' not in body})[:-1] + "," + body[1:]
        )
    answer = site.visitor().send(
        "POST", "/api/requests", filled.encode("utf-8"), Authorization=f"Bearer {API_TOKEN}",
        X_Forwarded_For=site.address(),
    )  # fmt: skip
    assert answer.status == 400, answer.text
    assert answer.json["error"]["message"]
    assert set(answer.json["error"]) == {"reason", "message", "hint", "expected", "actual"}


@pytest.mark.parametrize("reason", ["\x00", "a\r\nb", "\u202egnp", "<script>alert(1)</script>", "{{7*7}}", "😀" * 150])
def test_whatever_a_reason_holds_is_shown_as_text(site: Site, reason: str) -> None:
    key, alice = site.request(f"reason{hash(reason)}"), site.signed_in()
    assert alice.decline(key, reason + "x").status == 303
    page = alice.get(f"/requests/{key}")
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert "\x00" not in page.text
    assert "\u202e" not in page.text
    assert alice.get("/history").status == 200


@pytest.mark.parametrize("credential", ["", "x", "[]", "{}", '{"id":1}', "[" * 20_000, '{"id":"' + "x" * 40_000 + '"}'])
def test_what_is_no_credential_is_refused(site: Site, credential: str) -> None:
    alice = site.signed_in()
    assert alice.submit("/passkeys", credential=credential).status in (403, 409)


def test_ten_thousand_fields_are_too_many(site: Site) -> None:
    alice = site.signed_in()
    answer = alice.post("/sign-out", "&".join(f"f{number}=x" for number in range(10_000)))
    assert (answer.status, alice.get("/").status) == (413, 200)


def test_a_reason_may_be_long_but_not_too_long(site: Site) -> None:
    key, alice = site.request("long"), site.signed_in()
    assert alice.decline(key, "").status == 400
    assert alice.decline(key, "x" * 301).status == 400
    assert alice.decline(key, "x" * 300).status == 303


# --- limits -----------------------------------------------------------------------------------------------------------


def test_guessing_ends_early_and_only_for_who_guesses(site: Site) -> None:
    visitor, mine, others = site.visitor(), site.address(), site.address()
    key = site.request("guess")

    def guess(path: str, address: str, body: bytes | None = None) -> int:
        method = "GET" if body is None else "POST"
        return visitor.send(method, path, body, Authorization="Bearer guess", X_Forwarded_For=address).status

    with ThreadPoolExecutor(8) as pool:
        polled = list(pool.map(lambda _: guess(f"/api/requests/{key}", mine), range(75)))
        asked = list(pool.map(lambda _: guess("/api/requests", mine, b"{}"), range(75)))
    for statuses in (polled, asked):
        assert set(statuses) == {401, 429}
        assert 60 <= statuses.count(401) <= 68  # those under way at once are let through
    last = visitor.get(f"/api/requests/{key}", Authorization="Bearer x", X_Forwarded_For=mine)
    assert (last.status, last.json["error"]["hint"]) == (429, "Try again in 1 minute.")
    assert 50 <= int(last.headers["retry-after"]) <= 60
    assert guess(f"/api/requests/{key}", others) == 401
    spoofed = f"{others}, {mine}"  # what a client says of itself stands on the left
    assert guess(f"/api/requests/{key}", spoofed) == 429


def test_failing_to_sign_in_too_often_is_stopped(site: Site) -> None:
    visitor, failing = site.visitor(), site.address()
    statuses = [visitor.get("/sign-in/0/callback?code=x", X_Forwarded_For=failing).status for _ in range(22)]
    assert (statuses.count(401), statuses[-1]) == (20, 429)


def test_what_a_neighbour_does_stops_nobody_at_the_same_address(site: Site) -> None:
    """Questions without a credential, secrets that are guessed, and what a stranger's page makes a browser load."""
    neighbour, shared = site.visitor(), site.address()
    image = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}

    def annoy(_: int) -> None:
        neighbour.send("POST", "/api/requests", b"{}", X_Forwarded_For=shared, Authorization="Bearer nobody")
        neighbour.get("/api/requests/x", X_Forwarded_For=shared, Authorization="Bearer x")
        neighbour.get("/sign-in/0", X_Forwarded_For=shared, **image)
        neighbour.get("/sign-in/0/callback?code=x", X_Forwarded_For=shared, **image)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(annoy, range(130)))
    honest = site.visitor()
    honest.address = shared
    asked = honest.call("/api/requests", API_TOKEN, BODY | {"run_id": "neighbour"})
    assert asked.status == 200
    assert honest.call(f"/api/requests/{asked.json['id']}", asked.json["secret"]).status == 200
    assert honest.sign_in(site.provider, "alice@example.com").status == 303
    assert honest.approve(asked.json["id"]).status == 303


def test_asking_too_often_is_stopped_for_that_token(site: Site) -> None:
    visitor = site.visitor()
    statuses = [visitor.call("/api/requests", BUSY_TOKEN, BODY | {"run_id": "busy"}).status for _ in range(122)]
    assert (statuses.count(200), statuses[-1]) == (120, 429)
    assert visitor.call("/api/requests", API_TOKEN, BODY | {"run_id": "busy"}).status == 200


def test_jobs_outside_the_environment_keep_none_of_its_own_from_asking(site: Site) -> None:
    claims = {"audience": site.bot.place.url, "repository": "acme/often", "run_id": "1"}
    outside = site.provider.ci_token(**claims, environment=None)
    visitor = site.visitor()
    body = {"environment": "production"}
    assert [visitor.call("/api/requests", outside, body).status for _ in range(121)][-1] == 429
    inside = site.provider.ci_token(**claims, environment="production")
    assert visitor.call("/api/requests", inside, {}).status == 200


def test_deciding_too_often_is_stopped_for_that_person(site: Site) -> None:
    dave = site.signed_in("dave@example.com")
    csrf = dave.csrf
    statuses = [dave.post("/requests/none/look-up", {"csrf": csrf}).status for _ in range(62)]
    assert (statuses.count(429), statuses[0]) == (2, 303)


# --- slowness and the end ---------------------------------------------------------------------------------------------


def test_nobody_waits_behind_those_who_wait_for_a_slow_provider(site: Site) -> None:
    hang, seen = threading.Event(), threading.Semaphore(0)
    alice, key = site.signed_in(), site.request("slow")

    def slow(_: object) -> object:
        seen.release()
        hang.wait(20)
        return Reply(500, {})

    site.provider.faults["/token"] = slow  # type: ignore[assignment]
    backs = []
    for _ in range(45):
        one = site.visitor()
        backs.append((one, come_back(one.get("/sign-in/0", X_Forwarded_For=site.address()))))
    with ThreadPoolExecutor(45) as pool:
        waiting = [pool.submit(one.get, back) for one, back in backs]
        for _ in range(8):
            assert seen.acquire(timeout=20)
        assert not seen.acquire(timeout=0.5)
        assert [alice.get(path).status for path in ("/healthz", "/readyz", "/", f"/requests/{key}")] == [200] * 4
        assert alice.approve(key).status == 303
        assert site.request("meanwhile")
        hang.set()
        assert all(one.result().status in (401, 503, 429) for one in waiting)
    del site.provider.faults["/token"]


def test_an_error_closes_the_connection_whose_body_may_never_come(site: Site) -> None:
    visitor = site.visitor()
    head = b"POST /anything HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", visitor.port), timeout=20) as connection:
        connection.sendall(head)
        received = b""
        while chunk := connection.recv(65536):  # until the bot closes it
            received += chunk
    assert received.startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("lead", ["\xa0", "\x85", "\x1c"])
def test_a_cookie_of_another_name_is_not_the_session(site: Site, lead: str) -> None:
    """A neighbouring host may set any but the very name, which has a prefix that browsers guard."""
    alice, mallory = site.signed_in(), site.signed_in("dave@example.com")
    both = f"gate={alice.cookies['gate']}; {lead}gate={mallory.cookies['gate']}"
    answer = site.visitor().send("GET", "/", Cookie=both)
    assert "alice@example.com" in answer.text
    twice = f"gate={alice.cookies['gate']}; gate={mallory.cookies['gate']}"
    assert site.visitor().send("GET", "/", Cookie=twice).status == 401


@pytest.mark.parametrize("lead", ["\xa0", "\x85", "\x1c"])
def test_nobody_is_signed_in_by_a_cookie_of_another_name(site: Site, lead: str) -> None:
    """Otherwise a neighbouring host could sign its visitors in as itself."""
    mallory, victim = site.visitor(), site.visitor()
    back = come_back(mallory.get("/sign-in/0"))
    flow = mallory.cookies["gate-sign-in"]
    answer = victim.send("GET", back, Cookie=f"{lead}gate-sign-in={flow}")
    assert (answer.status, answer.cookies) == (401, [])
    assert mallory.get(back).status == 303


def test_no_cookie_is_read_by_another_reader() -> None:
    for path in Path(gate.bot.__file__).parent.rglob("*.py"):
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "cookies" not in attributes, path


@pytest.mark.parametrize("skip", ["x", "", "-1", "1.5", "1" * 7])
def test_no_page_of_the_history_is_made_up(site: Site, skip: str) -> None:
    assert site.signed_in().get(f"/history?skip={skip}").status == 400


def test_requests_are_listed_page_by_page(site: Site) -> None:
    for number in range(31):
        assert site.visitor().call("/api/requests", MANY_TOKEN, BODY | {"run_id": f"many{number}"}).status == 200
    alice = site.signed_in()
    first = alice.get("/").text
    assert first.count("/requests/") == 30
    assert '<a class="button second" href="/?skip=30">Older ones</a>' in first
    second = alice.get("/?skip=30").text
    links = [set(re.findall(r'href="(/requests/[^"]+)"', page)) for page in (first, second)]
    assert links[1]
    assert not links[0] & links[1]
    assert "Nothing waits for anybody" not in alice.get("/?skip=900000").text
    for skip in ("-1", "x", "1" * 7, ""):
        assert alice.get(f"/?skip={skip}").status == 400


def test_a_form_is_about_what_its_page_showed(site: Site) -> None:
    key, alice = site.request("seen"), site.signed_in()
    page = alice.get(f"/requests/{key}")
    assert page.form.keys() == {"csrf", "question"}
    for question in ({}, {"question": ""}, {"question": "x" * 43}):
        for path in ("approve", "challenge", "decline"):
            stale = alice.post(f"/requests/{key}/{path}", {"csrf": page.form["csrf"], "reason": "no"} | question)
            assert (stale.status, "has changed since you opened" in stale.text) == (409, True)
    again = site.visitor().call("/api/requests", API_TOKEN, BODY | {"run_id": "seen", "actors": ["erin"]})
    assert again.json["id"] == key
    stale = alice.post(f"/requests/{key}/approve", page.form)
    assert (stale.status, "has changed since you opened" in stale.text) == (409, True)
    assert "erin" in alice.get(f"/requests/{key}").text
    assert alice.approve(key).status == 303
