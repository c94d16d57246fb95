"""How many may be connected to a bot: one address keeps nobody out, and load balancers hear of it whatever happens."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest

from gate.bot.connections import FOR_PROBES, MOST, OF_ONE_ADDRESS, Connections
from tests.bot.running import Place, Running, running_bot
from tests.bot.tweaks import tweaked
from tests.bot.visitor import Visitor

FEW = "import gate.bot.connections as c\nc.MOST, c.OF_ONE_ADDRESS, c.FOR_PROBES = 20, 10, 3\n"
Run = Callable[..., tuple["Crowd", Visitor, Running]]


class Crowd:
    """Connections to a bot from other addresses of this machine, which say nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held = ExitStack()

    def connect(self, address: str, count: int = 1) -> list[socket.socket]:
        """That many more from `address`."""
        return [
            self._held.enter_context(socket.create_connection(("127.0.0.1", self._port), 20, (address, 0)))
            for _ in range(count)
        ]

    def leave(self) -> None:
        """All are closed."""
        self._held.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a bot with these settings and bounds: whoever is connected to it, a visitor, and the bot."""
    with ExitStack() as stack:

        def start(tweak: str = "", **settings: object) -> tuple[Crowd, Visitor, Running]:
            place = Place(tmp_path)
            place.settings |= settings
            place.write()
            bot = stack.enter_context(running_bot(place, environ=tweaked(tmp_path, tweak) if tweak else None))
            crowd = Crowd(place.port)
            stack.callback(crowd.leave)
            return crowd, Visitor(place.url, place.port), bot

        yield start


def silent(connections: list[socket.socket]) -> int:
    """How many the bot keeps: on one that nobody has asked anything it speaks only to refuse it."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(connections) - len(poll.poll(500))


def status(visitor: Visitor, path: str) -> int:
    """The status of the answer, 0 where there is none."""
    try:
        return visitor.get(path).status
    except (ConnectionError, HTTPException):
        return 0


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_thousand_idle_connections_of_one_address_keep_nobody_out(run: Run) -> None:
    others, visitor, bot = run()
    held = others.connect("127.0.0.2", 1000)
    statuses = [visitor.get(path).status for path in ("/healthz", "/readyz", "/sign-in", "/static/app.css")]
    assert statuses == [200] * 4
    eventually(lambda: silent(held) == OF_ONE_ADDRESS)
    assert held[-1].recv(100).startswith(b"HTTP/1.1 503 ")
    others.leave()
    eventually(lambda: silent(others.connect("127.0.0.2")) == 1)
    assert "Traceback" not in bot.text()


def test_beyond_so_many_in_all_the_probes_are_answered(run: Run) -> None:
    others, visitor, _ = run(FEW)
    for address in ("127.0.0.2", "127.0.0.3"):
        others.connect(address, 10)
    for _ in range(5):  # one after the other: a connection of the probes' ends with its answer
        for path in ("/healthz", "/readyz"):
            answer = visitor.get(path)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
    page = visitor.get("/sign-in")
    assert (page.status, page.headers["retry-after"]) == (503, "10")
    assert page.json["error"]["message"] == "Too many are connected to the bot."
    idle = others.connect("127.0.0.4", 3)
    eventually(lambda: status(visitor, "/healthz") != 200)
    assert silent(idle) == 3
    eventually(lambda: status(visitor, "/healthz") == 200)  # silent ones of these get two seconds
    others.leave()
    eventually(lambda: status(visitor, "/sign-in") == 200)


def test_a_trusted_proxy_brings_the_connections_of_all(run: Run) -> None:
    others, visitor, _ = run(FEW, trusted_proxies=["127.0.0.5/32"])
    listed, other = others.connect("127.0.0.5", 9), others.connect("127.0.0.6", 12)
    eventually(lambda: silent(other) == 10)
    listed += others.connect("127.0.0.5", 2)
    time.sleep(0.5)
    assert silent(listed) == 11
    assert visitor.get("/healthz").status == 200


def test_behind_a_trusted_proxy_no_client_has_all_requests_under_way(run: Run) -> None:
    """Each is slow with its body, for as long as a body may take."""
    others, visitor, _ = run(FEW, trusted_proxies=["127.0.0.0/8"])
    head = f"POST /api/requests HTTP/1.1\r\nHost: {visitor.url.partition('//')[2]}\r\nContent-Length: 9\r\n"
    for connection in others.connect("127.0.0.5", 10):
        connection.sendall(f"{head}X-Forwarded-For: 203.0.113.7\r\n\r\n".encode())
    time.sleep(0.5)
    refused = visitor.get("/sign-in", X_Forwarded_For="203.0.113.7")
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")
    assert visitor.get("/sign-in", X_Forwarded_For="203.0.113.8").status == 200
    assert visitor.get("/readyz", X_Forwarded_For="203.0.113.7").status == 200
    others.leave()
    eventually(lambda: visitor.get("/sign-in", X_Forwarded_For="203.0.113.7").status == 200)


def test_what_is_counted_is_forgotten() -> None:
    connections = Connections(["10.0.0.0/8", "2001:db8::/32"])
    addresses = [f"192.0.2.{number}" for number in range(1, 200)]
    admitted = [(host, connections.enter(host)) for host in addresses * 20]
    assert {said: [one for _, one in admitted].count(said) for said in ("all", "probes")} == {
        "all": MOST,
        "probes": FOR_PROBES,
    }
    for host, said in admitted:
        if said != "nothing":
            connections.leave(host)
    assert not connections._open
    assert [connections.enter("2001:db9::1") for _ in range(OF_ONE_ADDRESS)] == ["all"] * OF_ONE_ADDRESS
    assert connections.enter("2001:db9::ffff") == "nothing", "a machine has a network of 64 bits"
    assert [connections.enter("10.1.2.3") for _ in range(OF_ONE_ADDRESS + 1)] == ["all"] * (OF_ONE_ADDRESS + 1)
    assert connections.enter("no address") == "all"
