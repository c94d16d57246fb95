"""What notices say: sentences of our own, made of names that were checked, apart from text of others."""

import re
from typing import NamedTuple

from gate.bot.notices import Notice
from gate.text import plural, printable, utc

_HEADLINES = {
    "asked": "Approval asked",
    "approved": "Approved",
    "declined": "Declined",
    "expired": "Ran out without approval",
}
_LINKS = re.compile(r"(?i)(?<=[a-z0-9]):(?=//)|(?<=www)\.|(?<=mailto):")


class Fact(NamedTuple):
    """One line: `label: value`. `value` is text of others unless `ours`."""

    label: str
    value: str
    ours: bool = False


def headline(notice: Notice) -> str:
    """`Approval asked: production of acme/shop at 0123456789ab`. Holds only names that are safe anywhere."""
    return f"{_HEADLINES[notice.news]}: {notice.environment} of {notice.repository} at {notice.sha[:12]}"


def summary(notice: Notice) -> str:
    """One line of at most 140 characters for whoever reads statuses, without text of others."""
    if notice.news == "asked":
        missing = max(notice.needed - len(notice.approved_by), 0)
        return f"{plural(missing, 'approval')} to go, until {utc(notice.expires_at)}"
    return {"approved": "Approved", "declined": "Declined", "expired": "Ran out without approval"}[notice.news]


def facts(notice: Notice) -> list[Fact]:
    """What there is to know, in the order in which people ask."""
    return [
        fact
        for fact in (
            Fact("Commit", notice.title),
            Fact("Asked by", _names(notice.actors)),
            Fact("Run", notice.run_id),
            Fact("Approvals", f"{len(notice.approved_by)} of {notice.needed}", ours=True),
            Fact("Approved by", _names(notice.approved_by)),
            Fact("Declined by", notice.declined_by),
            Fact("Reason", notice.reason),
            Fact("Until", utc(notice.expires_at) if notice.news == "asked" else "", ours=True),
        )
        if fact.value
    ]


def inert(text: str, limit: int = 200) -> str:
    """Text of others on one line, in which no mail reader or chat finds an address to make a link of: `https[:]//`."""
    return _LINKS.sub(lambda match: f"[{match[0]}]", printable(" ".join(text.split()), limit))


def code(text: str, limit: int = 200) -> str:
    """Text of others as code in Markdown and its kin: nothing in it is a mention, a link or an image."""
    return f"`{inert(text, limit).replace('`', chr(0x2CB)) or ' '}`"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
