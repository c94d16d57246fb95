"""A Redis server as the replay store asks it: every call is bounded, checked and explained."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gate.clocks import check_clock, skew
from gate.deadline import deadline
from gate.errors import ReplayUnavailable
from gate.models import Severity
from gate.replay.redishealth import Hazard, Info, hazards, parse_info, server_time
from gate.replay.redislink import Link
from gate.replay.redisplace import Place
from gate.replay.redistrouble import Trouble, explain

TRIES = 3
CALL_SECONDS = 30.0  # for all tries together
_PAUSE = 0.1  # seconds before the second try, twice that before the third
_PAGE = 1000  # keys that the server looks at in one step of a scan

Argument = str | int | bytes
Flaw = tuple[Severity, str, str]


class Server:
    """The server that `place` names. In a cluster: whichever holds the gate's slot, which any of them tells."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._home = self._address = (place.host, place.port)
        # Idle connections by process id: one that crosses a fork must not be used there.
        self._idle: defaultdict[int, list[Link]] = defaultdict(list)

    def ask(self, *command: Argument) -> Any:
        """The answer to a command whose effect, if it has any, need not be durable.

        Raises:
            ReplayUnavailable: there is none, or from nobody who can be relied on.
        """
        return self._try(lambda link: link.ask(*command))

    def write(self, *command: Argument) -> Any:
        """The answer to a command whose effect is durable by then. It may be sent more than once.

        Raises:
            ReplayUnavailable: as for `ask`; it may have been done all the same.
        """
        return self._try(lambda link: link.write(*command))

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """Every key that begins with `prefix`, once, in lists that are not empty.

        Raises:
            ReplayUnavailable: as for `ask`, at any time: a cursor is worth nothing on another connection.
        """
        self.ask("EXISTS", prefix)  # in a cluster, leads to the server of its slot
        cursor, seen = b"0", set[bytes]()
        with self._link() as link:
            while True:
                cursor, keys = self._page(link, cursor, prefix)
                fresh = keys - seen  # a scan may meet a key twice
                seen |= fresh
                if fresh:
                    yield list(fresh)
                if cursor == b"0":
                    return

    def flaws(self) -> Iterator[Flaw]:
        """What the doctor should say, apart from whether the store can be written.

        Raises:
            ReplayUnavailable: as for `ask`.
        """
        if self.place.speaks_in_clear:
            yield "warning", "is asked in clear, so the network could answer in its place", "Use rediss:"
        if self.place.password_file is None and not self.place.is_local:
            yield (
                "warning",
                "lets in whoever reaches it",
                "Give the gate a user, and name its password_file in the URI.",
            )
        lenient = Server(self.place._replace(may_forget=True))
        lenient.ask("EXISTS", "{deploy-gate}")
        info = parse_info(lenient.ask("INFO"))
        severity: Severity = "warning" if self.place.may_forget else "error"
        found = [(severity, hazard.message, hazard.fix) for hazard in hazards(info)]
        yield from found
        if not found and (behind := lenient.lag()):
            yield "warning", behind.message, behind.fix
        if clock := skew(server_time(info), "the server"):
            yield "error", clock, "Synchronise both clocks (NTP)."

    def lag(self) -> Hazard | None:
        """Why a use that the server takes may not be on its disk when it counts, None where it is.

        Raises:
            ReplayUnavailable: as for `ask`.
        """
        lag: Hazard | None = self._try(_lag)
        return lag

    def unavailable(self, trouble: Trouble) -> ReplayUnavailable:
        """The error that tells of `trouble`."""
        return ReplayUnavailable(f"The {self.place.name} {trouble.message}.", hint=trouble.hint)

    def _try(self, act: Callable[[Link], Any]) -> Any:
        with deadline(CALL_SECONDS):
            tries, (answer, trouble) = 1, self._once(act)
            while trouble is not None:
                if tries == TRIES or not trouble.passes:
                    raise self.unavailable(trouble)
                time.sleep(tries * _PAUSE)
                tries, (answer, trouble) = tries + 1, self._once(act)
            return answer

    def _once(self, act: Callable[[Link], Any]) -> tuple[Any, Trouble | None]:
        try:
            with self._link() as link:
                return act(link), None
        except ReplayUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whatever the library raises blocks)
            self._idle.clear()  # what befell this one will befall them
            self._address = _moved(error, self._address) or self._home
            return None, explain(error)

    def _page(self, link: Link, cursor: bytes, prefix: str) -> tuple[bytes, set[bytes]]:
        try:
            cursor, keys = link.ask("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _PAGE)
            return cursor, set(keys)
        except Exception as error:  # noqa: BLE001 (whatever the library raises blocks)
            raise self.unavailable(explain(error)) from None

    @contextmanager
    def _link(self) -> Iterator[Link]:
        """A connection of one's own. One that met an error is closed."""
        idle = self._idle[os.getpid()]
        try:
            link = idle.pop()
        except IndexError:
            link = self._open()
        try:
            yield link
        except BaseException:
            link.close()
            raise
        idle.append(link)

    def _open(self) -> Link:
        link = Link(self.place, self._address)
        try:
            self._check(link.info)
        except ReplayUnavailable:
            link.close()
            raise
        return link

    def _check(self, info: Info) -> None:
        for hazard in hazards(info):
            if not (hazard.forgets and self.place.may_forget):
                raise ReplayUnavailable(f"The {self.place.name} {hazard.message}.", hint=hazard.fix)
        check_clock(server_time(info), f"the {self.place.name}")


def _lag(link: Link) -> Hazard | None:
    if link.info.get("cluster_enabled") == "1":
        link.ask("GET", "{deploy-gate}")  # leads to the server of its slot
    return link.lag


def _moved(error: Any, asked: tuple[str, int]) -> tuple[str, int] | None:
    """Where the cluster keeps the gate's slot, if the error says so; it may leave out the host."""
    return (error.host or asked[0], error.port) if type(error).__name__ == "MovedError" else None
