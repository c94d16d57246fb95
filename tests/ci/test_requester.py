"""Asking a deploy-bot, over real HTTP: what is said on the wire, how often, and what each fault comes to."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gate.deployment import Deployment
from gate.errors import BotUnavailable, Denied, GateError, UsageError
from gate.requester import Requester, Standing, github_id_token, link, tokens_of
from tests.ci import fakebot
from tests.ci.fakebot import API_TOKEN, ID_TOKEN, REQUEST_TOKEN, FakeBot, Request, raw, status
from tests.parts import free_port
from tests.world import ALICE, BOB, SHA

DEPLOYMENT = Deployment("acme/shop", SHA, "production", actors=("carol",), run_id="7001")
TOKENS = ["eyJh.eyJi.c2ln", "eyJh.eyJj.c2ln"]


@pytest.fixture
def bot() -> Iterator[FakeBot]:
    with fakebot.running_bot() as bot:
        yield bot


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def requester(bot: FakeBot, clock: Clock, credential: str = API_TOKEN, jitter: float = 0.0) -> Requester:
    return Requester(bot.url, credential, clock=clock, sleep=clock.sleep, jitter=lambda: jitter)


def texts(error: GateError) -> str:
    return "\n".join([error.message, error.hint, error.expected, error.actual, repr(error)])


def approve(request: Request) -> None:
    """The next of Alice and Bob approves."""
    count = len(request.approvals)
    request.approve((ALICE, BOB)[count], TOKENS[count])


def nothing(request: Request) -> None:
    """Nobody does anything."""


def test_it_asks_for_exactly_this_deployment(bot: FakeBot, clock: Clock) -> None:
    asked = requester(bot, clock).ask(DEPLOYMENT, attempt=2, rerun=True)
    assert bot.calls == [
        (
            "POST",
            "/api/requests",
            {
                "repository": "acme/shop",
                "sha": SHA,
                "environment": "production",
                "run_id": "7001",
                "attempt": 2,
                "actors": ["carol"],
                "rerun": True,
            },
            f"Bearer {API_TOKEN}",
        )
    ]
    assert (asked.id, asked.secret) == (bot.only.id, bot.only.secret)
    assert asked.url == f"{bot.url}/requests/{asked.id}"
    assert asked.secret not in repr(asked)


def test_two_approvals_are_waited_for_told_of_once_each_and_handed_over(bot: FakeBot, clock: Clock) -> None:
    bot.needed = 2
    bot.on_poll = [nothing, approve, nothing, approve]
    asking, told = requester(bot, clock), list[Standing]()
    asked = asking.ask(DEPLOYMENT)
    standing = asking.wait(asked, 600, told.append)
    assert tokens_of(asked, standing) == tuple(TOKENS)
    assert [news.progress for news in told] == [
        "1 of 2 approvals (alice@example.com)",
        "2 of 2 approvals (alice@example.com, bob@example.com)",
    ]
    assert {call[3] for call in bot.calls[1:]} == {f"Bearer {asked.secret}"}
    assert not any(token in repr(standing) for token in TOKENS)


def test_what_is_approved_already_is_fetched_at_once(bot: FakeBot, clock: Clock) -> None:
    bot.on_ask = approve
    asking = requester(bot, clock)
    standing = asking.wait(asking.ask(DEPLOYMENT), 0)
    assert (standing.tokens, clock.slept) == ((TOKENS[0],), [])


@pytest.mark.parametrize(("poll_after", "jitter", "most"), [(0, 0.0, 300), (0, 1.0, 240), (3, 0.0, 200), (10, 0.5, 54)])
def test_it_never_polls_oftener_than_the_bot_says_nor_than_every_two_seconds(
    poll_after: int, jitter: float, most: int, bot: FakeBot, clock: Clock
) -> None:
    bot.poll_after = poll_after
    asking = requester(bot, clock, jitter=jitter)
    asked = asking.ask(DEPLOYMENT)
    assert asking.wait(asked, 600).status == "open"
    assert clock.now <= 1600
    assert most - 1 <= len(bot.calls) - 1 <= most
    assert min(clock.slept[:-1]) >= max(2, poll_after)
    assert clock.slept[-1] >= 2


def test_no_wait_is_no_poll(bot: FakeBot, clock: Clock) -> None:
    asking = requester(bot, clock)
    assert asking.wait(asking.ask(DEPLOYMENT), 0).status == "open"
    assert [call[0] for call in bot.calls] == ["POST"]


def test_a_decline_says_who_and_why(bot: FakeBot, clock: Clock) -> None:
    bot.on_poll = [lambda request: request.decline(BOB, "not on a Friday\n\x1b[2J")]
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    with pytest.raises(Denied, match=r"bob@example.com declined: not on a Friday\\n\\x1b\[2J") as caught:
        tokens_of(asked, asking.wait(asked, 600))
    assert caught.value.reason == "approval.declined"


def test_what_ran_out_is_denied(bot: FakeBot, clock: Clock) -> None:
    bot.on_poll = [lambda request: setattr(request, "status", "expired")]
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    with pytest.raises(Denied, match="Nobody approved before the request ran out") as caught:
        tokens_of(asked, asking.wait(asked, 600))
    assert caught.value.reason == "token.missing"


def test_too_few_in_time_are_denied_with_the_link(bot: FakeBot, clock: Clock) -> None:
    bot.needed = 2
    bot.on_poll = [approve]
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    with pytest.raises(Denied, match="Not enough people approved in time") as caught:
        tokens_of(asked, asking.wait(asked, 60))
    assert caught.value.reason == "token.missing"
    assert caught.value.actual == "1 of 2 approvals (alice@example.com)"
    assert asked.url in caught.value.hint


# --- what passes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [fakebot.reset, fakebot.lost, fakebot.cut, status(500), status(503), status(503, Retry_After="soon"), status(429)],
)
def test_a_fault_that_passes_is_waited_out_and_asked_once(fault: fakebot.Fault, bot: FakeBot, clock: Clock) -> None:
    bot.faults = [fault]
    assert requester(bot, clock).ask(DEPLOYMENT).id == bot.only.id
    assert (clock.slept, len(bot.calls)) == ([2.0], 2)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int, bot: FakeBot, clock: Clock) -> None:
    bot.faults = [status(code, Retry_After="17")]
    requester(bot, clock).ask(DEPLOYMENT)
    assert clock.slept == [17.0]


def test_faults_while_waiting_pass_with_growing_pauses(bot: FakeBot, clock: Clock) -> None:
    bot.on_poll = [approve]
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    bot.faults = [fakebot.reset, status(502), fakebot.cut, status(503), fakebot.reset, status(500)]
    assert asking.wait(asked, 600).status == "approved"
    assert clock.slept == [2, 2, 4, 8, 16, 30, 30]


# --- what does not --------------------------------------------------------------------------------------------------


def test_nobody_there_is_said_after_a_minute(clock: Clock) -> None:
    asking = Requester(f"http://127.0.0.1:{free_port()}", API_TOKEN, clock=clock, sleep=clock.sleep)
    with pytest.raises(BotUnavailable, match="can't be reached") as caught:
        asking.ask(DEPLOYMENT)
    assert caught.value.reason == "bot.unavailable"
    assert 58 <= clock.now - 1000 <= 60


@pytest.mark.parametrize(("wait", "tried"), [(0, 60), (120, 120), (1800, 240)])
def test_asking_is_tried_while_what_proves_the_job_is_good(wait: int, tried: int, bot: FakeBot, clock: Clock) -> None:
    """GitHub's OIDC token is good for five minutes."""
    bot.faults = [status(503)] * 100
    with pytest.raises(BotUnavailable, match="said 503"):
        requester(bot, clock).ask(DEPLOYMENT, seconds=wait)
    assert tried - 2 <= clock.now - 1000 <= tried


def test_a_bot_that_dies_is_waited_for_no_longer_than_asked(bot: FakeBot, clock: Clock) -> None:
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    bot.faults = [fakebot.reset] * 100
    with pytest.raises(BotUnavailable):
        asking.wait(asked, 300)
    assert 1298 <= clock.now <= 1300


def test_a_pause_beyond_the_bound_is_not_begun(bot: FakeBot, clock: Clock) -> None:
    bot.faults = [status(503, Retry_After="3600")]
    with pytest.raises(BotUnavailable, match="said 503"):
        requester(bot, clock).ask(DEPLOYMENT)
    assert clock.slept == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 421, 422])
def test_the_bots_own_refusal_is_final_and_in_its_words(code: int, bot: FakeBot, clock: Clock) -> None:
    bot.faults = [status(code)]
    with pytest.raises(UsageError, match=f"The deploy-bot refuses: said {code}"):
        requester(bot, clock).ask(DEPLOYMENT)
    assert (len(bot.calls), clock.slept) == (1, [])


def test_a_refusal_that_repeats_the_token_does_not_show_it(bot: FakeBot, clock: Clock) -> None:
    with pytest.raises(UsageError, match=r"who asks: \(a token\)") as caught:
        requester(bot, clock, "another-token").ask(DEPLOYMENT)
    assert "another-token" not in texts(caught.value)
    assert caught.value.hint == "Use another one."


JSON = "application/json"
ODD = {
    "a page that is not found": raw(b"<html>404</html>", 404, Content_Type="text/html"),
    "nothing that is not found": raw(b"", 404),
    "a login page": raw(b"<html>login</html>"),
    "a forbidden page": raw(b"<html>", 403),
    "a redirect": raw(b"", 302, Location="https://sso.example.com/?secret=x"),
    "a redirect to the very same": raw(b"", 307, Location="/api/requests"),
    "a redirect to nowhere": raw(b"", 308, Location="//["),
    "a proxy that waited": raw(b"Request Timeout", 408),
    "a proxy that was misled": raw(b"Misdirected Request", 421),
    "a proxy that wants a password": raw(b"", 407, Proxy_Authenticate="Basic"),
    "a proxy without its bot": raw(b"<html>", 502),
    "a gateway's error": raw(b'{"message": "Not Found"}', 404, Content_Type=JSON),
    "an identity proxy's error": raw(b'{"error": {"code": 401, "message": "Login"}}', 401, Content_Type=JSON),
    "an error of no content type": raw(
        b'{"error": {"reason": "r", "message": "m", "hint": "", "expected": "", "actual": ""}}', 403
    ),
    "an error without words": raw(
        b'{"error": {"reason": "r", "message": 5, "hint": "", "expected": "", "actual": ""}}', 403, Content_Type=JSON
    ),
    "another's JSON": raw(b'{"status": "maintenance"}', Content_Type=JSON),
    "a list": raw(b"[]"),
    "half an object": raw(b"{"),
    "bytes": raw(b"\xff"),
    "depth": raw(b"[" * 100_000),
    "more than is read": raw(b"{}" + b" " * 300_000),
    "a cut answer": fakebot.cut,
    "a cut connection": fakebot.reset,
    "the bot, overwhelmed": status(429),
    "the bot, which got half a question": status(408),
    "the bot, unwell": status(500),
}


@pytest.mark.parametrize("what", ODD)
def test_one_odd_answer_ends_no_wait(what: str, bot: FakeBot, clock: Clock) -> None:
    """Whatever stands between the job and its bot may say anything, once in half an hour."""
    bot.on_poll = [nothing, approve]
    heard = list[str]()
    asking = Requester(bot.url, API_TOKEN, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0, tell=heard.append)
    bot.faults = [ODD[what]]
    asked = asking.ask(DEPLOYMENT)
    bot.faults = [ODD[what]] * 3
    assert tokens_of(asked, asking.wait(asked, 1800)) == (TOKENS[0],)
    said = [text.partition("; trying again for at most ")[0] for text in heard]
    assert 1 <= len(said) == len(set(said)) <= 2, "each trouble is said once"
    assert {path for _, path, _, _ in bot.calls} == {"/api/requests", f"/api/requests/{asked.id}"}


@pytest.mark.parametrize("what", ODD)
def test_odd_answers_to_the_end_could_not_decide(what: str, bot: FakeBot, clock: Clock) -> None:
    asking = requester(bot, clock)
    asked = asking.ask(DEPLOYMENT)
    bot.faults = [ODD[what]] * 200
    with pytest.raises(BotUnavailable) as caught:
        asking.wait(asked, 1800)
    assert caught.value.reason == "bot.unavailable"
    assert clock.now == pytest.approx(2800, abs=2.5)
    assert 60 <= len(bot.calls) <= 70, "pauses grow to half a minute"
    assert not any(secret in texts(caught.value) for secret in (API_TOKEN, asked.secret, "secret=x"))


def test_a_pause_that_something_else_asks_for_is_not_believed(bot: FakeBot, clock: Clock) -> None:
    bot.faults = [raw(b"<html>down for maintenance</html>", 503, Retry_After="86400")]
    requester(bot, clock).ask(DEPLOYMENT)
    assert clock.slept == [2.0]


def test_an_answer_without_end_is_given_up(bot: FakeBot, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_MOST_SECONDS", 0.0)
    bot.faults = [raw(b'{"id": 1}')] * 10
    with pytest.raises(BotUnavailable, match="took too long to answer"):
        requester(bot, clock).ask(DEPLOYMENT)


def test_a_silent_bot_is_given_up(bot: FakeBot, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_TIMEOUTS", (0.05, 0.05))
    bot.faults = [lambda handler: time.sleep(0.2)] * 10
    with pytest.raises(BotUnavailable, match="took too long to answer"):
        requester(bot, clock).ask(DEPLOYMENT)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/requests/1",
        "{url}.evil.example/requests/1",
        "{url}@evil.example/",
        "{url}",
        "{url}/requests/1 2",
        "{url}/\u202ex",
        "{url}/<script>",
        "{url}/requests/1\n::error::x",
        "//127.0.0.1/x",
        "javascript:alert(1)",
        "{url}/" + "x" * 500,
        5,
        None,
    ],
)
def test_a_link_that_leads_elsewhere_is_not_shown(url: Any, bot: FakeBot, clock: Clock) -> None:
    bot.change = {"url": url.format(url=bot.url) if isinstance(url, str) else url}
    with pytest.raises(BotUnavailable) as caught:
        requester(bot, clock).ask(DEPLOYMENT)
    assert "evil" not in texts(caught.value)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *((name, None) for name in ("id", "secret", "status", "needed", "approvals", "expires_at", "poll_after")),
        *(("id", value) for value in ("", "a/b", "..", "a?b", "a" * 129, 1)),
        *(("secret", value) for value in ("short", "a b" * 10, "x\r\nX: y" * 5, "é" * 20, "x" * 600)),
        *(("status", value) for value in ("APPROVED", "", True, ["open"])),
        *(("needed", value) for value in (0, -1, 101, 1.0, True, "1")),
        *(
            ("approvals", value)
            for value in ({}, "x", [1], [{}], [{"approver": 1}], [{"approver": "a\nb"}], [{}] * 101)
        ),
        *(("expires_at", value) for value in (-1, 1 << 41, 1.5, "0", True)),
        *(("poll_after", value) for value in (-1, 601, "3", True)),
    ],
)
def test_an_answer_of_another_shape_is_not_understood(member: str, value: Any, bot: FakeBot, clock: Clock) -> None:
    bot.change = {member: value}
    with pytest.raises(BotUnavailable, match=f"see '{member}'"):
        requester(bot, clock).ask(DEPLOYMENT)


@pytest.mark.parametrize("tokens", [None, [], "eyJh.eyJi.c2ln", ["x"], ["a.b.c d"], ["a.b.c\n"], ["a.b.c"] * 17, [{}]])
def test_approved_without_proper_tokens_is_not_understood(tokens: Any, bot: FakeBot, clock: Clock) -> None:
    bot.on_ask = approve
    bot.change = {"tokens": tokens}
    asking = requester(bot, clock)
    with pytest.raises(BotUnavailable, match="see 'tokens'"):
        asking.wait(asking.ask(DEPLOYMENT), 0)


def test_members_that_are_not_known_are_left_alone(bot: FakeBot, clock: Clock) -> None:
    bot.change = {"colour": "blue", "poll_after": 2.5}
    assert requester(bot, clock).ask(DEPLOYMENT).standing.poll_after == 2.5


# --- what is given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://gate.example.com",
        "http://127.0.0.1.evil.example",
        "https://",
        "https://user:pw@gate.example.com",
        "https://gate.example.com?x",
        "https://gate.example.com#x",
        "https://gate.example.com:0",
        "https://gate.example.com:x",
        "https://[",
        "https://gate example.com",
        "ftp://gate.example.com",
        "gate.example.com",
        "https://gäte.example.com",
        "",
    ],
)
def test_a_token_is_sent_only_over_tls_or_to_this_machine(url: str) -> None:
    with pytest.raises(UsageError, match="not one that a token may be sent to") as caught:
        Requester(url, API_TOKEN)
    assert "pw" not in texts(caught.value)


@pytest.mark.parametrize(
    "url", ["https://gate.example.com/deploy", "https://Gate.example.com", "HTTPS://gate.example.com"]
)
def test_the_url_is_as_the_bot_writes_it(url: str) -> None:
    """It is the audience of the job's token, letter by letter."""
    with pytest.raises(UsageError, match="not as the bot itself writes it"):
        Requester(url, API_TOKEN)


def test_people_hear_at_once_that_the_bot_does_not_answer(bot: FakeBot, clock: Clock) -> None:
    heard: list[str] = []
    bot.faults = [fakebot.reset] * 3
    asking = Requester(bot.url, API_TOKEN, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0, tell=heard.append)
    asking.ask(DEPLOYMENT)
    assert heard == ["The deploy-bot can't be reached; trying again for at most 60 s"]


@pytest.mark.parametrize("credential", ["", "a b", "a\r\nHost: evil", "é", "x" * 20_000])
def test_what_cannot_be_a_token_is_not_sent(credential: str) -> None:
    with pytest.raises(UsageError, match="no token has"):
        Requester("https://gate.example.com", credential)


def test_a_netrc_file_is_not_read(
    bot: FakeBot, clock: Clock, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(netrc))
    requester(bot, clock).ask(DEPLOYMENT)
    assert bot.calls[0][3] == f"Bearer {API_TOKEN}"


def test_what_is_for_this_machine_alone_goes_through_no_proxy(
    bot: FakeBot, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fakebot.running_bot() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        requester(bot, clock).ask(DEPLOYMENT)
    assert (len(bot.calls), proxy.calls) == (1, [])


def test_another_site_is_reached_through_the_proxy_that_the_environment_names(
    bot: FakeBot, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", bot.url)
    monkeypatch.setenv("https_proxy", bot.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asking = Requester("https://gate.example.com", API_TOKEN, clock=clock, sleep=clock.sleep)
    with pytest.raises(BotUnavailable):
        asking.ask(DEPLOYMENT)
    assert {call[:2] for call in bot.calls} == {("CONNECT", "gate.example.com:443")}
    assert API_TOKEN not in str(bot.calls)


# --- GitHub's token service -----------------------------------------------------------------------------------------


def _id_token(bot: FakeBot, clock: Clock, token: str = REQUEST_TOKEN) -> str:
    url = f"{bot.url}/github-id-token?api-version=2.0"
    return github_id_token(url, token, "https://gate.example.com", clock=clock, sleep=clock.sleep)


def test_github_is_asked_for_a_token_for_the_bot(bot: FakeBot, clock: Clock) -> None:
    bot.faults = [status(503)]
    assert _id_token(bot, clock) == ID_TOKEN
    path = "/github-id-token?api-version=2.0&audience=https%3A%2F%2Fgate.example.com"
    assert bot.calls[-1] == ("GET", path, None, f"Bearer {REQUEST_TOKEN}")


@pytest.mark.parametrize("answer", [{}, {"value": 5}, {"value": ""}, {"value": "a\nb"}])
def test_github_without_a_token_is_said(answer: Any, bot: FakeBot, clock: Clock) -> None:
    bot.faults = [raw(json.dumps(answer).encode())]
    assert _id_token(bot, clock) == ID_TOKEN, "once may be chance"
    bot.faults = [raw(json.dumps(answer).encode())] * 20
    with pytest.raises(BotUnavailable, match="did not answer with a token"):
        _id_token(bot, clock)


@pytest.mark.parametrize("what", ODD)
def test_one_odd_answer_of_githubs_service_ends_nothing(what: str, bot: FakeBot, clock: Clock) -> None:
    heard = list[str]()
    bot.faults = [ODD[what]] * 3
    url = f"{bot.url}/github-id-token?api-version=2.0"
    audience = "https://gate.example.com"
    token = github_id_token(url, REQUEST_TOKEN, audience, clock=clock, sleep=clock.sleep, tell=heard.append)
    assert (token, len(heard)) == (ID_TOKEN, 1)
    bot.faults = [ODD[what]] * 20
    start = clock.now
    with pytest.raises(BotUnavailable, match="GitHub's token service") as caught:
        _id_token(bot, clock)
    assert clock.now - start == pytest.approx(60, abs=2.5)
    assert REQUEST_TOKEN not in texts(caught.value)


def test_what_github_never_sets_is_not_asked(clock: Clock) -> None:
    with pytest.raises(UsageError, match="not what GitHub sets"):
        github_id_token("http://evil.example/?x", REQUEST_TOKEN, "https://gate.example.com")
