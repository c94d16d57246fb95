"""One comment for each request on the pull requests that hold the commit, found again by a mark that nobody sees."""

import re
from collections.abc import Mapping
from typing import Any

from gate.bot.notices import Notice, Undelivered
from gate.bot.notices.words import code, facts, headline
from gate.forge.rest import Rest

_MOST_PULLS = 5
_PAGE = 100
_MOST_PAGES = 20  # of comments; a longer thread is left alone


def comment_on_pulls(rest: Rest, notice: Notice, app_id: str) -> None:
    """Write the comment, or bring it up to date. `app_id` is the app that writes, "" where it is none.

    Raises:
        Refused: GitHub does not let us.
        Undelivered: one has too many comments to look through.
    """
    body = text(notice)
    for pull in rest.get(f"commits/{notice.sha}/pulls", per_page=_MOST_PULLS):
        number = int(pull["number"])
        before = _find(rest, number, notice, app_id)
        if before is None:
            if not pull["locked"]:
                rest.post(f"issues/{number}/comments", {"body": body})
        elif before["body"].strip() != body.strip() and (notice.news != "asked" or _news(before, notice) == "asked"):
            rest.patch(f"issues/comments/{int(before['id'])}", {"body": body})


def text(notice: Notice) -> str:
    """The comment, in Markdown. Text of others is code in it, and so mentions nobody and links nowhere."""
    listed = "\n".join(f"- {fact.label}: {fact.value if fact.ours else code(fact.value)}" for fact in facts(notice))
    mark = f"<!-- deploy-gate {notice.request_id} {notice.news} -->"
    return f"{mark}\n**{headline(notice)}**\n\n{listed}\n\n[Open the request]({notice.url})\n"


def _news(comment: Mapping[str, Any], notice: Notice) -> str:
    """What the comment says of the request, "" where it is about another, or no comment of ours."""
    first = (comment["body"] or "").partition("\n")[0].strip()
    match = re.fullmatch(f"<!-- deploy-gate {re.escape(notice.request_id)} ([a-z]{{1,10}}) -->", first)
    return match[1] if match else ""


def _find(rest: Rest, number: int, notice: Notice, app_id: str) -> Mapping[str, Any] | None:
    """The comment with the mark. An app takes only its own: anybody may copy a mark."""
    for page in range(1, _MOST_PAGES + 1):
        found = rest.get(f"issues/{number}/comments", per_page=_PAGE, page=page)
        for comment in found:
            app = comment.get("performed_via_github_app") or {}
            if _news(comment, notice) and (not app_id or app_id in (str(app.get("id")), app.get("client_id"))):
                return dict(comment)
        if len(found) < _PAGE:
            return None
    raise Undelivered("A pull request has more comments than are looked at.", final=True)
