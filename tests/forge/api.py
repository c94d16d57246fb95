"""A GitHub on 127.0.0.1: its compare API, with documented payloads, and faults on request."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
PREFIX = "/api/v3"

_COMPARE = re.compile(
    rf"{PREFIX}/(?:repos/acme/shop|repositories/1296269)/compare/([0-9a-f]{{40}})\.\.\.([0-9a-f]{{40}})"
)
_COMMIT = re.compile(rf"{PREFIX}/repos/acme/shop/commits/([0-9a-f]{{40}})")
_OBJECT = re.compile(rf"{PREFIX}/repos/acme/shop/git/commits/([0-9a-f]{{40}})")


class Request(NamedTuple):
    """What a client asked for."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Reply(NamedTuple):
    """What it gets. `body` may be bytes to send as they are, or a function that writes to the connection."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)


def sha(number: int) -> str:
    """The id of commit `number`."""
    return f"{number:040x}"


def account(login: str, number: int = 1, kind: str = "User") -> dict[str, Any]:
    """A `simple-user` of the REST schema."""
    return {
        "login": login,
        "id": number,
        "node_id": "MDQ6VXNlcjE=",
        "avatar_url": "https://github.com/images/error/octocat_happy.gif",
        "gravatar_id": "",
        "url": f"https://api.github.com/users/{login}",
        "type": kind,
        "site_admin": False,
    }


def signature(email: str | None) -> dict[str, Any]:
    """A `git-user` of the REST schema."""
    return {"name": "Monalisa Octocat", "email": email, "date": "2026-11-14T16:00:49Z"}


def commit(number: int, *, message: str = "Fix all the bugs", **parts: Any) -> dict[str, Any]:
    """A `commit` of the REST schema; `author`, `committer` are accounts, `signed_by`, `put_by` git users."""
    url = f"https://api.github.com/repos/acme/shop/commits/{sha(number)}"
    return {
        "url": url,
        "sha": sha(number),
        "node_id": "MDY6Q29tbWl0NmRjYjA5YjViNTc4NzVmMzM0ZjYxYWViZWQ2OTVlMmU0MTkzZGI1ZQ==",
        "html_url": url,
        "comments_url": f"{url}/comments",
        "commit": {
            "url": url,
            "author": parts.get("signed_by", signature("bob@example.com")),
            "committer": parts.get("put_by", signature("noreply@github.com")),
            "message": message,
            "tree": {"url": url, "sha": sha(999_999)},
            "comment_count": 0,
            "verification": parts.get("verification", {"verified": False, "reason": "unsigned"}),
        },
        "author": parts.get("author", account("bob")),
        "committer": parts.get("committer", account("web-flow")),
        "parents": [{"url": url, "sha": sha(parent)} for parent in parts.get("parents", (number - 1,))],
    }


class Forge:
    """Commits 1 to `total` after commit 0. `faults` are replies to be given first, one for each request; `change`
    may alter every good answer."""

    def __init__(self, total: int = 3) -> None:
        self.commits = [commit(number) for number in range(1, total + 1)]
        self.faults: list[Callable[[Request], Reply]] = []
        self.change: Callable[[dict[str, Any], Request], None] = lambda answer, request: None
        self.requests: list[Request] = []
        self.url = ""

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)(request)
        answer = self._answer(request)
        if answer is None:
            return Reply(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})
        self.change(answer, request)
        return Reply(200, answer)

    def _answer(self, request: Request) -> dict[str, Any] | None:
        if match := _COMPARE.fullmatch(request.path):
            return self._comparison(int(match[1], 16), int(match[2], 16), request.query)
        if match := _COMMIT.fullmatch(request.path):
            found = [item for item in self.commits if item["sha"] == match[1]]
            return {**found[0], "stats": {"total": 2}, "files": []} if found else None
        if match := _OBJECT.fullmatch(request.path):
            return next(({"sha": match[1]} for item in self.commits if item["sha"] == match[1]), None)
        return {"full_name": "acme/shop"} if request.path == f"{PREFIX}/repos/acme/shop" else None

    def _comparison(self, base: int, head: int, query: dict[str, str]) -> dict[str, Any]:
        page, size = int(query.get("page", 1)), int(query.get("per_page", 250))
        listed = self.commits[base:head]
        answer = {
            "url": f"https://api.github.com/repos/acme/shop/compare/{sha(base)}...{sha(head)}",
            "base_commit": commit(base),
            "merge_base_commit": commit(min(base, head)),
            "status": "ahead" if head > base else "identical" if head == base else "behind",
            "ahead_by": max(0, head - base),
            "behind_by": max(0, base - head),
            "total_commits": len(listed),
            "commits": listed[size * (page - 1) : size * page],
        }
        if page == 1:
            answer["files"] = [{"sha": sha(1), "filename": "file1.txt", "status": "added", "patch": "@@ -0,0 +1 @@"}]
        return answer


@contextmanager
def serving(forge: Forge) -> Iterator[Forge]:
    """Serve `forge` on a port of its own until the block ends, and set its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                self._send(forge.reply(Request(parts.path, query, headers)))
            except OSError:
                self.close_connection = True  # the client gave up

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if callable(reply.body):
                self.end_headers()
                reply.body(self.wfile)
                self.close_connection = True
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
