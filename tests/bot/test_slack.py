"""Slack's incoming webhook, received on a real socket."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gate.bot.notices import Undelivered
from gate.bot.notices.sections import read_notices
from gate.bot.notices.slack import Slack, message
from gate.bot.secret import Secret
from gate.errors import PolicyError, UsageError
from gate.strictyaml import parse
from tests.bot.news import HOSTILE, URL, notice

PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


class Receiver:
    """What was posted, and what is answered: `ok`, or each of `answers` once. A status of 0 never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.posted: list[dict[str, Any]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.closing = threading.Event()


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == PATH
            assert self.headers["Content-Type"] == "application/json; charset=utf-8"
            receiver.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
            if not status:
                receiver.closing.wait()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        try:
            yield receiver
        finally:
            receiver.closing.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with receiving() as receiver:
        monkeypatch.setenv("SLACK", receiver.url)
        yield receiver


def channel(**settings: Any) -> Slack:
    return Slack(Secret("env:SLACK", None), **settings)


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text object of the blocks: its type, and its text."""
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["type"], value["text"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def test_a_message(slack: Receiver) -> None:
    channel().deliver(notice())
    (posted,) = slack.posted
    assert posted == message(notice())
    assert posted["text"].splitlines() == [
        "Approval asked: production of acme/shop at 000000030000",
        "Commit: `Fix all the bugs`",
        "Asked by: `bob`",
        "Run: `30433642`",
        "Approvals: 0 of 2",
        "Until: 2026-11-18 11:06:40Z",
        f"<{URL}|Open the request>",
    ]


@pytest.mark.parametrize("news", ["asked", "approved", "declined", "expired"])
def test_only_a_link(news: str) -> None:
    told = json.dumps(message(notice(news)))
    assert "button" not in told
    assert set(re.findall(r'"type": "(\w+)"', told)) == {"section", "mrkdwn", "plain_text"}
    assert "action" not in told
    assert f"<{URL}|Open the request>" in told


def test_text_of_others_does_nothing() -> None:
    hostile = dict.fromkeys(("title", "reason", "run_id", "declined_by"), HOSTILE)
    told = message(notice("declined", actors=(HOSTILE,), approved_by=(HOSTILE,), **hostile))
    link = f"<{URL}|Open the request>"
    assert told["text"].replace(link, "").count("<") == 0
    for line in told["text"].splitlines():
        if "evil" in line:
            assert re.fullmatch(r"[A-Z][a-z ]+: `[^`<>\n]*`", line)
            assert "://" not in line
            assert "www.evil" not in line
    for kind, text in texts(told["blocks"]):
        assert "<" not in text.replace(link, "")
        assert kind == "plain_text" or "evil" not in text
    assert (told["unfurl_links"], told["unfurl_media"]) == (False, False)


def test_long_text_is_cut() -> None:
    for _, text in texts(message(notice(title="x" * 100_000, actors=("y" * 300,) * 500))["blocks"]):
        assert len(text) < 3000


def test_entities() -> None:
    assert "Commit: `a &lt;b&gt; &amp;amp; c`" in message(notice(title="a <b> &amp; c"))["text"]


@pytest.mark.parametrize(
    ("status", "final"), [(302, True), (400, True), (403, True), (404, True), (410, True), (500, False), (503, False)]
)
def test_refusals(slack: Receiver, status: int, final: bool) -> None:
    slack.answers = [(status, {"Location": slack.url})]
    with pytest.raises(Undelivered, match=f"answered {status}") as caught:
        channel().deliver(notice())
    assert caught.value.final is final
    assert len(slack.posted) == 1


@pytest.mark.parametrize(
    ("headers", "after"), [({"Retry-After": "17"}, 17.0), ({}, 30.0), ({"Retry-After": "x"}, 30.0)]
)
def test_a_rate_limit(slack: Receiver, headers: dict[str, str], after: float) -> None:
    slack.answers = [(429, headers)]
    with pytest.raises(Undelivered) as caught:
        channel().deliver(notice())
    assert (caught.value.final, caught.value.after) == (False, after)


def test_silence_is_bounded(slack: Receiver) -> None:
    slack.answers = [(0, {})]
    with pytest.raises(Undelivered, match="did not answer in time") as caught:
        channel(patience=0.2).deliver(notice())
    assert not caught.value.final


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK", f"http://127.0.0.1:9{PATH}")
    with pytest.raises(Undelivered, match="can't be reached") as caught:
        channel().deliver(notice())
    assert not caught.value.final


@pytest.mark.parametrize(
    "url",
    [
        f"http://hooks.slack.com{PATH}",
        f"https://user:password@hooks.slack.com{PATH}",
        f"ftp://hooks.slack.com{PATH}",
        f"https://{PATH}",
        f"https://[{PATH}",
        f"https://hooks.slack.com{PATH}\u00e9",
        f"https://hooks.slack.com{PATH} x",
    ],
)
def test_where_a_secret_path_is_not_sent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK", url)
    with pytest.raises(UsageError, match="not an https:// URL") as caught:
        channel().deliver(notice())
    assert "XXXX" not in f"{caught.value!r} {caught.value.hint} {caught.value.actual}"


def test_no_secret_in_any_log_or_error(slack: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    slack.answers = [(404, {}), (200, {})]
    with pytest.raises(Undelivered) as caught:
        channel().deliver(notice())
    channel().deliver(notice())
    assert "XXXX" not in f"{caplog.text} {caught.value!r} {caught.value.hint} {caught.value.actual} {channel()!r}"


def test_the_section(slack: Receiver, tmp_path: Path) -> None:
    (only,) = read_notices(parse(b"slack: env:SLACK\n"), tmp_path)
    assert only.name == "slack"
    only.deliver(notice())
    assert len(slack.posted) == 1


@pytest.mark.parametrize("text", [f"slack: https://hooks.slack.com{PATH}", "slack: env:S\nteams: env:T\n", "slack: {}"])
def test_a_section_that_makes_no_sense(text: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="Line") as caught:
        read_notices(parse(text.encode()), tmp_path)
    assert "XXXX" not in f"{caught.value!r} {caught.value.hint}"
