"""The pages' looks: Jinja2 templates that escape everything, and the words for times and people."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gate.bot.operations import Asset
from gate.text import plural, printable, utc

_MEDIA_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


@cache
def assets() -> dict[str, Asset]:
    """The static files by name."""
    found: dict[str, Asset] = {}
    for file in files("gate.bot").joinpath("static").iterdir():
        kind = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if kind:
            data = file.read_bytes()
            found[file.name] = Asset(data, kind, hashlib.sha256(data).hexdigest()[:12])
    return found


def asset_url(name: str) -> str:
    """Where the browser finds a static file; another version has another URL, so it may be kept for ever."""
    return f"/static/{name}?v={assets()[name].version}"


def shown(text: object, limit: int = 500) -> str:
    """Text of others, fit to show (gate.text)."""
    return printable(str(text), limit)


def within(seconds: int) -> str:
    """`in 5 minutes`, `2 hours ago` or `just now`."""
    if seconds == 0:
        return "just now"
    length = abs(seconds)
    unit, size = next(
        (unit for unit in (("day", 86400), ("hour", 3600), ("minute", 60)) if length >= unit[1]), ("second", 1)
    )
    count = plural(round(length / size), unit)
    return f"in {count}" if seconds >= 0 else f"{count} ago"


def when(seconds: int) -> Markup:
    """Epoch seconds as a time that is not torn apart at the end of a line."""
    shown_as = utc(seconds)
    return Markup('<time datetime="{}">{}</time>').format(shown_as.replace(" ", "T"), shown_as)


class Views:
    """Renders the templates of this package."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("gate.bot"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,  # they change with the version only, and each page would look
        )
        self._environment.filters |= {"shown": shown, "when": when, "within": within}
        self._environment.globals |= {"asset_url": asset_url, "plural": plural}

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        return HTMLResponse(self._environment.get_template(template).render(values), status)


def wants_json(request: Request) -> bool:
    """Whether a program asks, not a browser's page."""
    return request.url.path.startswith(("/api/", "/webhooks/")) or "application/json" in request.headers.get(
        "accept", ""
    )
