"""Redis: clusters, whose servers hand the gate on to the one that holds its slot."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gate.models import Head
from gate.replay import Replayed
from tests.parts import free_port
from tests.redisserver import SAFE, RedisServer, running_redis
from tests.replay.accesses import open_at, refusal
from tests.replay.material import STREAM, use
from tests.replay.wire import info, middleman

pytestmark = pytest.mark.usefixtures("hasty_redis")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three primaries, with a third of the slots each."""
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        servers = []
        for n in range(3):
            port = free_port()
            options = (
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(free_port()),
                "--cluster-node-timeout",
                "2000",
            )
            servers.append(stack.enter_context(running_redis(folder / str(n), *SAFE, *options, port=port)))
        for n, server in enumerate(servers):
            server.command("CLUSTER", "ADDSLOTSRANGE", n * 5461, n * 5461 + 5460 + (n == 2))
            server.command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            bus = servers[0].options[servers[0].options.index("--cluster-port") + 1]
            server.command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
        deadline = time.monotonic() + 20
        while not all("cluster_state:ok" in str(server.command("CLUSTER", "INFO")) for server in servers):
            assert time.monotonic() < deadline, "the cluster does not form"
            time.sleep(0.05)
        yield servers


def test_every_server_of_a_cluster_leads_to_the_same_store(cluster: list[RedisServer]) -> None:
    stores = [open_at(server.uri) for server in cluster]
    for n, store in enumerate(stores):
        store.consume([use(f"jti-{n}-{part}", "mine") for part in range(20)])
        assert store.advance(STREAM, Head(n + 1, b"record", written=False), n)
        store.settle(STREAM, n + 1)
    for store in [*stores, *(open_at(server.uri) for server in cluster)]:
        with pytest.raises(Replayed):
            store.consume([use("new", "theirs"), use("jti-0-0", "theirs")])
        assert store.head(STREAM) == Head(3, b"record", written=True)
        assert len(list(store.consumed())) == 60
        assert list(store.heads()) == [STREAM]
        assert [finding.severity for finding in store.diagnose()] == ["ok"]
    fresh = open_at(cluster[1].uri)
    assert len(list(fresh.consumed())) == 60  # also where the first question is a scan


def test_a_replica_of_a_cluster_leads_to_its_primary(server: RedisServer) -> None:
    moved = b"-MOVED 1 127.0.0.1:%d\r\n" % server.port
    answers = {"INFO": info(role="slave", cluster_enabled=1, aof_enabled=0), "CLIENT": b"+OK\r\n"}
    with middleman(lambda name, _: answers.get(name, moved), server.port) as between:
        open_at(between.uri).consume([use("jti-1", "mine")])
        assert [row.jti for row in open_at(between.uri).consumed()] == ["jti-1"]
    assert [row.jti for row in open_at(server.uri).consumed()] == ["jti-1"]


def test_servers_of_a_cluster_that_send_the_gate_in_circles_block(redis_server: RedisServer) -> None:
    def plan(name: str, _: int) -> str | bytes:
        return b"-MOVED 1 :%d\r\n" % between.port if name != "INFO" else info(cluster_enabled=1)

    with middleman(plan, redis_server.port) as between:
        assert "moving its data" in str(refusal(open_at(between.uri)))


def test_a_cluster_has_one_database(cluster: list[RedisServer]) -> None:
    assert "answered with an error" in str(refusal(open_at(f"redis://{cluster[0].place}/1")))
