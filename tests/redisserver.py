"""Real Redis servers for tests, each in a folder of its own, that can be killed, paused and started again."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.parts import free_port, need

SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")


class RedisServer:
    """A server on a loopback port that keeps its data in `folder`; `options` are those of its command line."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)

    @property
    def place(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        """Its first database."""
        return f"redis://{self.place}/0"

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS alone."""
        return "--tls-cert-file" in self.options

    @property
    def confirms_disk(self) -> bool:
        """Whether it is new enough to know WAITAOF."""
        version = self.command("INFO", "server")["redis_version"].split(".")
        return (int(version[0]), int(version[1])) >= (7, 2)

    def fresh(self) -> str:
        """A database that nobody has used yet."""
        return f"redis://{self.place}/{next(self._databases)}"

    def start(self, seconds: float = 20) -> "RedisServer":
        """Run it, until it answers."""
        self.folder.mkdir(exist_ok=True)
        port = ("--tls-port", str(self.port), "--port", "0") if self.tls else ("--port", str(self.port))
        fixed = ("--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--databases", "1000")
        with (self.folder / "log").open("ab") as log:
            command = ["redis-server", *fixed, *port, *self.options]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"redis-server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        return self

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal; after one that ends it, wait for that."""
        assert self.process
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait(timeout=30)

    def command(self, *words: Any, db: int = 0) -> Any:
        """The answer to one command, behind the gate's back."""
        import redis

        with redis.Redis(port=self.port, db=db, protocol=2) as client:
            return client.execute_command(*words)

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                if self.tls:
                    return True
                connection.sendall(b"PING\r\n")
                return not connection.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


@contextmanager
def running_redis(folder: Path, *options: str, port: int = 0) -> Iterator[RedisServer]:
    """Run a server until the block ends."""
    need(shutil.which("redis-server") is not None, "redis-server (apt install redis-server)")
    server = RedisServer(folder, *options, port=port)
    try:
        yield server.start()
    finally:
        if server.process:
            server.process.kill()
            server.process.wait(timeout=30)
