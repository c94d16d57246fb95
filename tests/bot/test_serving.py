"""The bot as a process: how it starts, behind TLS, how it treats slow clients, and how it ends."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gate.bot import server
from tests.bot.provider import SHA, Provider, Reply, serving
from tests.bot.running import API_TOKEN, SECRETS, Place, running_bot
from tests.bot.test_slack import receiving
from tests.bot.tweaks import ROOT, tweaked
from tests.bot.visitor import Visitor, come_back
from tests.parts import free_port

BODY = {"repository": "acme/shop", "sha": SHA, "environment": "production", "run_id": "7"}


def test_at_an_https_url_cookies_are_for_that_host_and_tls_alone(tmp_path: Path) -> None:
    """Behind a proxy that ends TLS: to the bot it speaks HTTP, with the host that people asked for."""
    url = "https://gate.example.com"
    with serving(Provider()) as provider:
        place = Place(tmp_path)
        place.sign_in_with(provider)
        place.settings["url"] = place.policy["passkeys"]["origin"] = url
        place.write()
        with running_bot(place) as bot:
            visitor = Visitor(url, place.port)
            start = visitor.get("/sign-in/0")
            assert "redirect_uri=https%3A%2F%2Fgate.example.com%2Fsign-in%2F0%2Fcallback" in start.headers["location"]
            done = visitor.get(come_back(start))
            assert done.status == 303
            assert visitor.cookies.keys() == {"__Host-gate"}
            for cookie in (*start.cookies, *done.cookies):
                attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
                assert cookie.startswith("__Host-gate")
                assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
                assert not any(attribute.startswith("domain") for attribute in attributes)
            page = visitor.get("/")
            assert (page.status, page.headers["strict-transport-security"]) == (200, "max-age=63072000")
            out = visitor.submit("/sign-out")
            assert out.headers["location"] == "/"
            [gone] = out.cookies
            assert gone.startswith('__Host-gate=""; ')
            assert "Secure" in gone
            visitor.cookies = {"gate": "x"}
            assert visitor.get("/").status == 401
            assert Visitor(f"http://localhost:{place.port}", place.port).get("/").status == 421
            assert bot.stop() in (0, -15)


def test_without_a_trusted_proxy_nobody_says_where_they_come_from(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with running_bot(place):
        visitor = Visitor(place.url, place.port)
        statuses = [
            visitor.get("/api/requests/x", Authorization="Bearer x", X_Forwarded_For=f"203.0.113.{n}").status
            for n in range(62)
        ]
        assert (statuses.count(404), statuses[-1]) == (60, 429)


def test_it_ends_at_once_when_idle_and_finishes_what_is_under_way(tmp_path: Path) -> None:
    """SIGTERM, while somebody signs in at a provider that takes its time."""
    asked, answer = threading.Event(), threading.Event()

    def slow(_: object) -> Reply:
        asked.set()
        answer.wait(20)
        return Reply(400, {"error": "invalid_grant"})

    with serving(Provider()) as provider:
        place = Place(tmp_path / "busy")
        place.sign_in_with(provider)
        with running_bot(place) as bot:
            visitor = Visitor(place.url, place.port)
            back = come_back(visitor.get("/sign-in/0"))
            provider.faults["/token"] = slow
            answers = []
            waiting = threading.Thread(target=lambda: answers.append(visitor.get(back)))
            waiting.start()
            assert asked.wait(20)
            bot.process.terminate()
            while _listens(place.port):
                time.sleep(0.01)
            time.sleep(1)  # uvicorn would cut it off by now if it were given no time
            answer.set()
            waiting.join(20)
            assert answers[0].status == 401
            assert bot.process.wait(20) in (0, -15)
    place = Place(tmp_path / "idle")
    with running_bot(place) as bot:
        start = time.monotonic()
        assert bot.stop() in (0, -15)
        assert time.monotonic() - start < 5
        assert f"serving {place.url}, listening at 127.0.0.1:{place.port}" in bot.text()
        assert "Traceback" not in bot.text()


def test_a_notice_under_way_is_delivered_before_it_ends(tmp_path: Path) -> None:
    """SIGTERM, while a thread of the herald is between the errand and the channel."""
    slow = """import pathlib, time
from gate.bot.herald import Herald
deliver = Herald._deliver
def slow(*arguments):
    pathlib.Path('begun').touch()
    time.sleep(1)
    return deliver(*arguments)
Herald._deliver = slow
"""
    with receiving() as slack:
        place = Place(tmp_path)
        place.settings["notices"] = {"slack": "env:SLACK"}
        place.write()
        with running_bot(place, environ={"SLACK": slack.url} | tweaked(tmp_path, slow)) as bot:
            assert Visitor(place.url, place.port).call("/api/requests", API_TOKEN, BODY).status == 200
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            assert bot.stop() in (0, -15)
            assert len(slack.posted) == 1, bot.text()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def test_whoever_is_slow_with_a_head_or_a_body_is_sent_away(tmp_path: Path) -> None:
    place = Place(tmp_path)
    quick = "import gate.bot.promptness as p, gate.bot.bodies as b\np.SECONDS = b.SECONDS = 0.5\np.IDLE_SECONDS = 1\n"
    with running_bot(place, environ=tweaked(tmp_path, quick)):
        visitor = Visitor(place.url, place.port)
        host = f"Host: localhost:{place.port}\r\n".encode()
        for head in (b"", b"GET / HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\n" + host + b"X: "):
            with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
                connection.sendall(head)
                assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", place.port), 20) as connection:  # after a good one, too
            connection.sendall(b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n")
            assert b"200" in connection.recv(4096)
            connection.sendall(b"GET /")
            rest = b""
            while chunk := connection.recv(4096):
                rest += chunk
            assert b"HTTP/1.1" not in rest
        slow = visitor.raw(b"POST /api/requests HTTP/1.1\r\n" + host + b"Content-Length: 9\r\n\r\nhello", patience=20)
        assert b" 408 " in slow[:20]
        with socket.create_connection(("127.0.0.1", place.port), 20) as connection:  # who hangs up is no bug
            connection.sendall(b"POST /api/requests HTTP/1.1\r\n" + host + b"Content-Length: 9\r\n\r\nhello")
        assert visitor.call("/api/requests", API_TOKEN, BODY).status == 200
        assert "a bug" not in (place.folder / f"bot-{place.port}.log").read_text()


ROUTES = ["GET /healthz", "GET /static/app.css", "GET /", "PUT /", "DELETE /healthz", "POST /", "GET /sign-in"]


def test_whoever_sends_the_body_of_what_is_answered_a_byte_at_a_time_is_sent_away(tmp_path: Path) -> None:
    """Each byte comes before uvicorn would end an idle connection, and none is ever the last one."""
    quick = "import gate.bot.promptness as p, gate.bot.bodies as b\np.SECONDS = b.SECONDS = 1\n"
    place = Place(tmp_path)
    with running_bot(place, environ=tweaked(tmp_path, quick)):
        held = {}
        for route in ROUTES:
            held[route] = socket.create_connection(("127.0.0.1", place.port), 20)
            head = f"{route} HTTP/1.1\r\nHost: localhost:{place.port}\r\nContent-Length: 1000000\r\n\r\n"
            held[route].sendall(head.encode())
        until = time.monotonic() + 20
        while held and time.monotonic() < until:
            time.sleep(0.1)
            held = {route: connection for route, connection in held.items() if _takes_a_byte(connection)}
        assert not held


def _takes_a_byte(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"a")
    except OSError:
        connection.close()
        return False
    return True


def test_whoever_does_not_read_the_answer_is_sent_away(tmp_path: Path) -> None:
    """Questions without end, one behind the other, and not one answer taken."""
    quick = "import gate.bot.promptness as p\np.READ_SECONDS = 1\n"
    place = Place(tmp_path)
    with running_bot(place, environ=tweaked(tmp_path, quick)):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", place.port))
            question = f"GET /static/app.css HTTP/1.1\r\nHost: localhost:{place.port}\r\n\r\n".encode()
            with pytest.raises(ConnectionError):
                while True:
                    connection.sendall(question * 100)
        with socket.create_connection(("127.0.0.1", place.port), 20) as connection:  # who reads late gets it all
            connection.sendall(question * 499 + question.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            time.sleep(0.5)
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            assert received.count(b"HTTP/1.1 200 OK") == 500
        assert Visitor(place.url, place.port).get("/healthz").status == 200


def test_few_large_bodies_are_read_at_once(tmp_path: Path) -> None:
    """Anybody can begin to send one; small ones are taken all the same."""
    place = Place(tmp_path)
    place.settings["github"] = {"api_url": "http://127.0.0.1:1", "token": "env:GH", "webhook_secret": "env:HOOK"}
    place.write()
    with running_bot(place, environ={"GH": "x", "HOOK": "x"}) as bot:
        head = f"POST /webhooks/github HTTP/1.1\r\nHost: localhost:{place.port}\r\nContent-Length: 1000000\r\n\r\n"
        held = []
        for _ in range(8):
            held.append(socket.create_connection(("127.0.0.1", place.port), 20))
            held[-1].sendall(head.encode() + b"a" * 100_000)
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", place.port), 20) as ninth:
            ninth.sendall(head.encode() + b"a" * 100_000)
            assert ninth.recv(100).startswith(b"HTTP/1.1 503 ")
        assert Visitor(place.url, place.port).send("POST", "/webhooks/github", b"a" * 1000).status == 401
        for connection in held:
            connection.close()
        time.sleep(0.5)
        assert Visitor(place.url, place.port).send("POST", "/webhooks/github", b"a" * 100_000).status == 401
        assert "a bug" not in bot.text()


def test_without_webhooks_no_large_body_is_read(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with running_bot(place):
        assert Visitor(place.url, place.port).send("POST", "/webhooks/github", b"a" * 100_000).status == 413


def test_a_broken_chunk_after_the_answer_is_no_trouble(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with running_bot(place) as bot:
        head = f"GET /healthz HTTP/1.1\r\nHost: localhost:{place.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
            connection.sendall(head.encode())
            assert b"200" in connection.recv(4096)
            connection.sendall(b"no length\r\n")
            while connection.recv(4096):
                pass
        bot.stop()
        assert "error" not in {json.loads(line)["level"] for line in bot.text().splitlines()}


def test_a_bug_is_a_page_that_tells_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    broken = """from gate.bot.jobs import Doorkeeper
def fails(*_):
    raise KeyError('a secret of the library')
Doorkeeper.identify = fails
"""
    with running_bot(place, environ=tweaked(tmp_path, broken)) as bot:
        visitor = Visitor(place.url, place.port)
        answer = visitor.call("/api/requests", API_TOKEN, BODY)
        assert answer.status == 500
        assert answer.json["error"]["reason"] == "internal.error"
        assert "content-security-policy" in answer.headers
        bot.stop()
        for text in (answer.text, bot.text()):
            assert "a secret of the library" not in text
            assert str(tmp_path) not in text
        [line] = [one for one in map(json.loads, bot.text().splitlines()) if one["level"] == "error"]
        assert (line["message"], line["exception"]) == ("a bug: KeyError", "KeyError")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "sitecustomize.py:3" in line["where"]


def _start(place: Place, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in (SECRETS | environ).items() if value}
    return subprocess.run(
        [sys.executable, "-m", "gate", "bot", "--config", "bot.yaml", "--port", str(place.port)],
        cwd=place.folder,
        env=kept | {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", ["GATE_BOT_SESSION_KEY", "X", "SLACK", "MAIL", "GH"])
def test_a_secret_that_is_missing_is_found_when_it_starts(tmp_path: Path, missing: str) -> None:
    place = Place(tmp_path)
    place.settings["notices"] = {
        "slack": "env:SLACK",
        "email": {"server": "smtps://127.0.0.1:1", "from": "a@example.com", "user": "a", "password": "env:MAIL"},
    }
    place.settings["github"] = {"api_url": "http://127.0.0.1:1", "token": "env:GH"}
    place.write()
    done = _start(place, **({"SLACK": "https://hooks.example.com/x", "MAIL": "x", "GH": "x"} | {missing: ""}))
    assert done.returncode == 2
    assert f"env:{missing}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_small_answers_are_sent_at_once(host: str) -> None:
    """asyncio turns Nagle's algorithm off where a socket is of this very protocol: otherwise each waits for 40 ms."""
    listening = server.listen(host, free_port())
    for one in listening:
        assert one.proto == socket.IPPROTO_TCP
        one.close()
    assert listening
