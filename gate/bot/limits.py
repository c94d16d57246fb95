"""How often anybody may try: bounds per bot and whoever tries, so that floods end early. Guessing ends at the length of
what is to be guessed."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from gate.bot.errors import BotError, TooMany, Unavailable
from gate.text import plural

_LIMITS = {
    "ask": parse("120/minute"),
    "begin": parse("200/hour"),  # requests: so that nobody floods the people who read them
    "ask refused": parse("60/minute"),
    "poll refused": parse("60/minute"),
    "sign in failed": parse("20/minute"),
    "code refused": parse("20/minute"),  # by the provider
    "decide": parse("60/minute"),
    "recorded failure": parse("30/minute"),  # per bot: a flood of failures must not become a flood of records
}
_BY_ADDRESS = {"ask refused", "poll refused", "sign in failed", "code refused"}
_COUNTERS = 4096


def block(address: str) -> str:
    """What counts as one address: of IPv6 a network of 64 bits, which is what one machine gets at least."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))
    return str(found)


class Limits:
    """Counts in memory: several bots allow several times as much."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, what: str, who: str) -> None:
        """Count one try.

        Raises:
            TooMany: it is one too many.
        """
        if not self.allows(what, who):
            raise self._too_many(what, who)

    def allows(self, what: str, who: str) -> bool:
        """Count one try, and say whether it is within the bound."""
        return self._limiter.hit(_LIMITS[what], what, self._counter(what, who))

    def check(self, what: str, who: str) -> None:
        """Check that one more try would be within the bound, and count none.

        Raises:
            TooMany: it would not.
        """
        if not self._limiter.test(_LIMITS[what], what, self._counter(what, who)):
            raise self._too_many(what, who)

    def _too_many(self, what: str, who: str) -> TooMany:
        stats = self._limiter.get_window_stats(_LIMITS[what], what, self._counter(what, who))
        after = max(ceil(stats.reset_time - time.time()), 1)
        return TooMany(
            "Too many tries from there.", hint=f"Try again in {plural(ceil(after / 60), 'minute')}.", after=after
        )

    def _counter(self, what: str, who: str) -> str:
        """Addresses share so many counters, nobody knows which: there are more addresses than memory."""
        if what not in _BY_ADDRESS:
            return who
        return str(int.from_bytes(blake2b(who.encode(), key=self._key, digest_size=2).digest(), "big") % _COUNTERS)

    @contextmanager
    def of_failures(self, what: str, who: str) -> Iterator[None]:
        """Count what fails inside; beyond the bound failures say no more than that. What succeeds is never stopped: its
        neighbours at one address must not lock anybody out.

        Raises:
            TooMany: it failed, one time too many.
        """
        try:
            yield
        except BotError as error:
            if not isinstance(error, Unavailable):
                self.hit(what, who)
            raise
