"""Notices for tests."""

from typing import Any

from gate.bot.notices import Notice
from tests.bot.githubdata import REPOSITORY, sha

URL = "https://gate.example.com/requests/req-1"
HOSTILE = "<!channel> @here [x](https://evil.example.com) `*_~<b>\n\r\u202e www.evil.example.com <https://evil.example.com|ok>"


def notice(news: str = "asked", **changed: Any) -> Notice:
    """A notice of the request req-1, for commit 3 to production."""
    made = {
        "news": news,
        "request_id": "req-1",
        "url": URL,
        "repository": REPOSITORY,
        "sha": sha(3),
        "environment": "production",
        "run_id": "30433642",
        "actors": ("bob",),
        "title": "Fix all the bugs",
        "needed": 2,
        "approved_by": ("alice@example.com", "carol@example.com") if news == "approved" else (),
        "declined_by": "alice@example.com" if news == "declined" else "",
        "reason": "Not on a Friday" if news == "declined" else "",
        "approvers": ("alice@example.com", "carol@example.com"),
        "expires_at": 1_795_000_000,
    }
    return Notice(**(made | changed))
