"""The history page: "who approved this?" for people who do not use a terminal."""

import re

from starlette.responses import Response

from gate.bot.errors import BotError, Unavailable
from gate.bot.history import LOOKED_AT
from gate.bot.site import BotCall, Site
from gate.errors import Undecided

_SHA = re.compile(r"[0-9a-f]{0,64}")
_MOST_STREAMS = 100  # that people choose from


class HistoryPages:
    """The handler of a site for its history."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def history(self, call: BotCall) -> Response:
        """`GET /history`."""
        if self._site.visitor_or_none(call) is None:
            return self._site.sign_in_page(call)
        sha = call.query.get("sha", "").strip().lower()
        if not _SHA.fullmatch(sha):
            raise BotError("That is not the beginning of a commit id.", expected="up to 64 hex digits", actual=sha[:80])
        skip = call.skip()
        try:
            streams = self._site.history.streams()
            chosen = self._chosen(call, streams)
            entries, older = self._site.history.select(chosen, sha, skip) if chosen else ([], 0)
        except Undecided as error:
            raise Unavailable(error.message, hint=error.hint) from None
        return self._site.page(
            "history.html",
            call,
            streams=streams[:_MOST_STREAMS],
            others=len(streams[_MOST_STREAMS:]),
            chosen=chosen,
            sha=sha,
            entries=entries,
            older=older,
            looked_at=LOOKED_AT,
        )

    def _chosen(self, call: BotCall, streams: list[str]) -> str:
        asked = call.query.get("stream", "")
        return asked if asked in streams else next(iter(streams), "")
