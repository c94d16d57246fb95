"""Redis: whatever a server says or holds that is no proof of success blocks."""

import pytest

from gate.replay import Replayed, redislink
from tests.parts import free_port
from tests.redisserver import RedisServer
from tests.replay.accesses import ACCESSES, WRITES, open_at, refusal
from tests.replay.material import STREAM, use
from tests.replay.servers import black_hole
from tests.replay.wire import PASS, info, middleman

pytestmark = pytest.mark.usefixtures("hasty_redis")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "accept this user and password"),
        (b"-NOAUTH Authentication required.\r\n", "does not accept this user and password"),
        (b"-NOPERM User eve has no permissions to run the 'eval' command\r\n", "let this user do what the gate needs"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "is full"),
        (b"-MISCONF Errors writing to the AOF file: No space left on device\r\n", "can't write to its disk"),
        (b"-READONLY You can't write against a read only replica.\r\n", "is a replica"),
        (b"-ERR Error running script (call to f_0): @user_script: 1: -READONLY You can't write\r\n", "is a replica"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "has too few replicas at hand"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is starting, busy, or moving its data"),
        (b"-BUSY Redis is busy running a script.\r\n", "is starting, busy, or moving its data"),
        (b"-CLUSTERDOWN Hash slot not served\r\n", "is starting, busy, or moving its data"),
        (b"-ASK 1 10.0.0.1:6379\r\n", "is starting, busy, or moving its data"),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "a value that no gate wrote"),
        (b"-ERR unknown command 'EVAL' of arn:secret\r\n", "answered with an error"),
        (b"-\r\n", "answered with an error"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: secret\r\n\r\n", "gave no answer that makes sense"),
        (b"$5\r\nhe", "did not answer in time, or can't be reached"),
        (b"", "did not answer in time, or can't be reached"),
    ],
)
def test_whatever_is_no_proof_of_success_blocks(
    redis_server: RedisServer, said: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redislink, "ANSWER_SECONDS", 0.03)
    polite = {"INFO": info(), "CLIENT": b"+OK\r\n"}
    with middleman(lambda name, _: polite.get(name, said), redis_server.port) as between:
        error = refusal(open_at(between.uri))
        *_, finding = open_at(between.uri).diagnose()
    assert message in str(error)
    assert (finding.severity, finding.message) == ("error", str(error))


@pytest.mark.parametrize("said", [b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*0\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"])
def test_an_answer_of_another_shape_blocks(redis_server: RedisServer, said: bytes) -> None:
    polite = {"INFO": info(), "CLIENT": b"+OK\r\n"}
    with middleman(lambda name, _: polite.get(name, said), redis_server.port) as between:
        for access in ACCESSES:
            refusal(open_at(between.uri), [access])


@pytest.mark.parametrize(
    "said", [b"-ERR unknown command 'INFO'\r\n", b"+OK\r\n", b"$-1\r\n", b"$4\r\nhi\r\n\r\n", b"$5\r\na:b\r\n\r\n"]
)
def test_a_server_that_does_not_say_what_it_is_blocks(redis_server: RedisServer, said: bytes) -> None:
    with middleman(lambda name, _: said if name == "INFO" else PASS, redis_server.port) as between:
        refusal(open_at(between.uri))


def test_a_server_that_is_down_or_silent_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redislink, "ANSWER_SECONDS", 0.05)
    assert "did not answer in time" in str(refusal(open_at(f"redis://127.0.0.1:{free_port()}")))
    with black_hole() as url:
        assert "did not answer in time" in str(refusal(open_at(f"redis://{url.removeprefix('http://')}")))


@pytest.mark.parametrize("value", ["", "x", "5", "null", '"x"', "[1]", "{}", '{"nonce": "x", "jti": 1}'])
def test_a_value_that_no_gate_wrote_blocks(server: RedisServer, value: str) -> None:
    server.command("SET", "{deploy-gate}jti:jti-1", value)
    server.command("HSET", f"{{deploy-gate}}head:{STREAM.path}", "seq", value)
    server.command("SET", b"{deploy-gate}head:\xff", "x")
    accesses = [ACCESSES[n] for n in (0, 1, 2, 3, 6)]
    assert "holds a value that no gate wrote" in str(refusal(open_at(server.uri), accesses))


def test_a_key_of_another_kind_blocks(server: RedisServer) -> None:
    server.command("HSET", "{deploy-gate}jti:jti-1", "a", "b")
    server.command("SET", f"{{deploy-gate}}head:{STREAM.path}", "x")
    accesses = [ACCESSES[n] for n in (0, 1, 3, 4, 5)]
    assert "holds a value that no gate wrote" in str(refusal(open_at(server.uri), accesses))


def test_a_full_server_blocks_and_nothing_is_partly_consumed(server: RedisServer) -> None:
    store = open_at(server.uri)
    store.consume([use("jti-0", "mine")])
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert "is full" in str(refusal(store, WRITES))
    assert [row.jti for row in store.consumed()] == ["jti-0"]
    with pytest.raises(Replayed):
        store.consume([use("jti-0", "theirs")])
