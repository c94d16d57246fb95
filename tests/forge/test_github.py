"""GitHub's compare API, spoken over a real socket, in good and in bad health."""

import gzip
import socket
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

import pytest

from gate.errors import UsageError
from gate.forge import Unattributed
from gate.forge.github import GitHub, _namespace
from gate.models import Commit, Identity
from tests.forge.api import TOKEN, Forge, Reply, Request, account, commit, serving, sha, signature

NONE = "None of the commits that were allowed here"
OK_BUT = "GitHub's answer is not whole"


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Forge()) as served:
        yield served


def ask(forge: Forge, base: int | None, head: int, *, token: str | None = TOKEN, **settings: Any) -> list[Commit]:
    """What GitHub tells of the range, in little time where it does not."""
    settings = {"timeouts": (2.0, 2.0), "patience": 10.0, **settings}
    return since(forge, [] if base is None else [base], head, token=token, **settings)


def since(
    forge: Forge, allowed: Iterable[int], head: int, *, token: str | None = TOKEN, **settings: Any
) -> list[Commit]:
    """What is new in `head` after those of `allowed` were allowed."""
    return GitHub(forge.url, token, **settings).commits("acme/shop", map(sha, allowed), sha(head))


def refusal(forge: Forge, base: int | None = 0, head: int = 3, **settings: Any) -> Unattributed:
    with pytest.raises(Unattributed) as caught:
        ask(forge, base, head, **settings)
    error = caught.value
    assert error.reason == "approver.is_author"
    assert error.hint
    assert TOKEN not in f"{error} {error.hint} {error.expected} {error.actual}"
    return error


def numbers(commits: list[Commit]) -> list[int]:
    return [int(found.sha, 16) for found in commits]


def test_a_comparison(forge: Forge) -> None:
    assert numbers(ask(forge, 0, 3)) == [1, 2, 3]
    (request,) = forge.requests
    assert request.query == {"per_page": "100", "page": "1"}
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/vnd.github+json"
    assert request.headers["x-github-api-version"] == "2022-11-28"
    assert request.headers["user-agent"] == "deploy-gate"


def test_without_a_token_none_is_sent(forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert len(ask(forge, 0, 3, token=None)) == 3
    assert "authorization" not in forge.requests[0].headers


def test_a_netrc_does_not_replace_the_token(forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(forge, 0, 3)
    assert forge.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("total", [99, 100, 101, 250])
def test_all_pages_are_read(forge: Forge, total: int) -> None:
    forge.commits = [commit(number) for number in range(1, total + 1)]
    assert numbers(ask(forge, 0, total)) == list(range(1, total + 1))
    assert [request.query["page"] for request in forge.requests] == [str(n + 1) for n in range((total + 99) // 100)]


def test_everybody_who_had_a_hand_in_it(forge: Forge) -> None:
    forge.commits[0] = commit(
        1,
        message="Work (#7)\n\nCo-authored-by: Carol <carol@example.com>",
        author=account("alice"),
        signed_by=signature("alice@example.com"),
        committer=account("bob"),
        put_by=signature("bob@example.com"),
    )
    (found,) = ask(forge, 0, 1)
    assert found.people == (
        (Identity("login", "127.0.0.1:alice#1"), Identity("email", "alice@example.com")),
        (Identity("email", "carol@example.com"),),
    )
    assert found.committer == (Identity("login", "127.0.0.1:bob#1"), Identity("email", "bob@example.com"))


ALICE, BOB, GITHUB = account("alice", 1), account("bob", 2), account("web-flow", 3)


@pytest.mark.parametrize(
    ("author", "committer", "verified", "attested"),
    [
        (BOB, BOB, False, (False, False)),  # both are what the commit says, and anybody may say it
        (BOB, BOB, True, (True, True)),  # a key of Bob's signed that he put it there, and he names himself
        (BOB, ALICE, True, (False, True)),  # Alice signed, and says that Bob wrote it
        (BOB, GITHUB, True, (True, False)),  # made in the browser, by whoever had signed in
        (BOB, GITHUB, False, (False, False)),
        (account("dependabot[bot]", 4, "Bot"), GITHUB, True, (False, False)),
        (None, BOB, True, (False, True)),
        (BOB, None, True, (False, False)),
        (None, None, True, (False, False)),
        (BOB, BOB, "yes", (False, False)),
    ],
)
def test_an_account_is_attested_by_a_signature_alone(
    forge: Forge, author: Any, committer: Any, verified: Any, attested: tuple[bool, bool]
) -> None:
    forge.commits[0] = commit(1, author=author, committer=committer, verification={"verified": verified})
    (found,) = ask(forge, 0, 1)
    kinds = [[who.kind for who in role or ()] for role in (found.people[0], found.committer)]
    assert tuple("account" in each for each in kinds) == attested


def test_a_github_that_says_nothing_of_signatures_attests_nothing(forge: Forge) -> None:
    forge.commits[0] = commit(1, author=BOB, committer=BOB, verification=None)
    assert ask(forge, 0, 1)[0].people[0][0] == Identity("login", "127.0.0.1:bob#2")


@pytest.mark.parametrize(
    ("api", "namespace"),
    [
        ("https://api.github.com", "github"),
        ("https://api.acme.ghe.com", "acme.ghe.com"),
        ("https://ghe.example.com:8443/api/v3", "ghe.example.com"),
        ("https://api.example.com/api/v3", "api.example.com"),
    ],
)
def test_whose_accounts_an_api_speaks_of(api: str, namespace: str) -> None:
    assert _namespace(api) == namespace


@pytest.mark.parametrize("nobody", [None, {}])
def test_an_address_that_github_does_not_know(forge: Forge, nobody: Any) -> None:
    forge.commits[0] = commit(1, author=nobody, signed_by=signature("eve@example.org"))
    assert ask(forge, 0, 1)[0].people == ((Identity("email", "eve@example.org"),),)


def test_a_commit_without_an_author_keeps_the_role(forge: Forge) -> None:
    forge.commits[0] = commit(1, author=None, signed_by=None)
    assert ask(forge, 0, 1)[0].people == ((),)


def test_web_flow_as_an_author_stays(forge: Forge) -> None:
    forge.commits[0] = commit(1, author=account("web-flow"), signed_by=signature("noreply@github.com"))
    assert ask(forge, 0, 1)[0].people[0][0] == Identity("login", "127.0.0.1:web-flow#1")


def test_without_a_base_it_is_what_the_first_parent_does_not_have(forge: Forge) -> None:
    forge.commits[2]["parents"] = [{"sha": sha(1)}, {"sha": sha(2)}]
    assert numbers(ask(forge, None, 3)) == [2, 3]
    forge.commits[0]["parents"] = []
    assert numbers(ask(forge, None, 1)) == [1]


def test_going_back_to_what_was_allowed_ships_nothing_new(forge: Forge) -> None:
    assert since(forge, [3, 1], 1) == []
    assert ask(forge, 2, 2) == []


def test_a_commit_below_an_allowed_one_was_never_allowed_alone(forge: Forge) -> None:
    assert numbers(since(forge, [3, 0], 2)) == [1, 2]
    assert NONE in refusal(forge, 3, 2).message


@pytest.mark.parametrize("status", ["diverged", "behind"])
def test_an_allowed_commit_that_is_not_below_is_passed_over(forge: Forge, status: str) -> None:
    """A branch that was rewritten, or that starts below what was allowed last."""

    def change(answer: dict[str, Any], _: Request) -> None:
        if answer["base_commit"]["sha"] == sha(1):
            answer.update(status=status, behind_by=2)

    forge.change = change
    assert numbers(since(forge, [1, 0], 3)) == [1, 2, 3]
    assert NONE in refusal(forge, 1, 3).message


def test_an_allowed_commit_that_github_does_not_have_is_passed_over(forge: Forge) -> None:
    forge.faults = [lambda _: Reply(404, {"message": "Not Found"})]
    assert numbers(since(forge, [9, 0], 3)) == [1, 2, 3]
    assert [request.path.rsplit("/", 2)[1] for request in forge.requests] == ["compare", "commits", "compare"]


def test_only_so_many_allowed_commits_are_asked_about(forge: Forge) -> None:
    with pytest.raises(Unattributed, match=NONE):
        since(forge, range(100, 1000), 3)
    assert len(forge.requests) == 20


def _drop_last(answer: dict[str, Any], _: Request) -> None:
    answer["commits"] = answer["commits"][:-1]


def _repeat(answer: dict[str, Any], _: Request) -> None:
    answer["commits"][1] = answer["commits"][0]


@pytest.mark.parametrize(
    "change",
    [
        _drop_last,
        _repeat,
        lambda answer, _: answer.update(commits=[]),
        lambda answer, _: answer.update(commits=answer["commits"] + [commit(9)]),
        lambda answer, _: answer.update(commits=[commit(7), commit(8), commit(9)]),
        lambda answer, _: answer.update(total_commits=4),
        lambda answer, _: answer.update(total_commits=2),
        lambda answer, _: answer.update(total_commits=0, commits=[]),
        lambda answer, _: answer.update(total_commits=True),
        lambda answer, _: answer.update(total_commits="3"),
        lambda answer, _: answer.update(total_commits=-1),
        lambda answer, _: answer.update(total_commits=3.0),
        lambda answer, _: answer.update(merge_base_commit=commit(1)),
        lambda answer, _: answer.update(merge_base_commit=None),
        lambda answer, _: answer.update(status="identical"),
        lambda answer, _: answer.update(status="unheard-of"),
        lambda answer, _: answer.update(status=None),
        lambda answer, _: answer.update(base_commit=commit(5)),
        lambda answer, _: answer.pop("base_commit"),
        lambda answer, _: answer.pop("commits"),
        lambda answer, _: answer.update(commits=None),
        lambda answer, _: answer.update(commits={"sha": sha(3)}),
        lambda answer, _: answer.update(commits=[1, 2, 3]),
        lambda answer, _: answer["commits"][0].update(sha="main"),
        lambda answer, _: answer["commits"][0].update(sha=7),
        lambda answer, _: answer["commits"][0].update(author="bob"),
        lambda answer, _: answer["commits"][0].update(author={"login": ["bob"]}),
        lambda answer, _: answer["commits"][0].pop("author"),
        lambda answer, _: answer["commits"][0].update(commit=None),
        lambda answer, _: answer["commits"][0]["commit"].update(message=None),
        lambda answer, _: answer["commits"][0]["commit"].update(author={"email": 5}),
    ],
)
def test_an_answer_that_is_not_whole_denies(forge: Forge, change: Any) -> None:
    forge.change = change
    assert OK_BUT in refusal(forge).message


def test_a_total_that_grows_between_pages_denies(forge: Forge) -> None:
    forge.commits = [commit(number) for number in range(1, 151)]
    forge.change = lambda answer, request: answer.update(total_commits=149 + int(request.query["page"]))
    assert OK_BUT in refusal(forge, 0, 150).message


def test_another_commit_than_asked_for_denies(forge: Forge) -> None:
    forge.change = lambda answer, _: answer.update(sha=sha(2))
    assert OK_BUT in refusal(forge, None, 3).message


def test_more_commits_than_are_read_deny(forge: Forge) -> None:
    forge.change = lambda answer, _: answer.update(total_commits=10_001)
    assert "too many commits" in refusal(forge).message
    assert len(forge.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(forge: Forge, status: int) -> None:
    forge.faults = [lambda _: Reply(status, b"<html>Unicorn!</html>")]
    assert numbers(ask(forge, 0, 3)) == [1, 2, 3]
    assert len(forge.requests) == 2


def test_a_broken_connection_is_tried_again(forge: Forge) -> None:
    forge.faults = [lambda _: Reply(200, lambda wire: None, {"Content-Length": "500"})]
    assert numbers(ask(forge, 0, 3)) == [1, 2, 3]


@pytest.mark.parametrize("status", [429, 403])
def test_a_rate_limit_that_ends_soon_is_waited_for(forge: Forge, status: int) -> None:
    limited = Reply(status, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "1"})
    forge.faults = [lambda _: limited]
    start = time.monotonic()
    assert numbers(ask(forge, 0, 3)) == [1, 2, 3]
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, {}, {"Retry-After": "3600"}),
        Reply(429, {}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Reply(429, {}, {"Retry-After": "9" * 400}),
        Reply(429, {}),
        Reply(403, {"message": "API rate limit exceeded"}, {"X-RateLimit-Remaining": "0"}),
        Reply(403, {"message": "You have exceeded a secondary rate limit."}),
    ],
)
def test_a_rate_limit_that_lasts_denies_at_once(forge: Forge, reply: Reply) -> None:
    forge.faults = [lambda _: reply]
    assert "too many requests" in refusal(forge).message
    assert len(forge.requests) == 1


def test_a_server_that_stays_down_denies_in_bounded_time(forge: Forge) -> None:
    forge.faults = [lambda _: Reply(503, {})] * 100
    start = time.monotonic()
    assert refusal(forge, patience=2.0).actual == "HTTP 503"
    assert time.monotonic() - start < 20
    assert 2 <= len(forge.requests) <= 3


def test_nobody_listening_denies(forge: Forge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        forge.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "can't be reached" in refusal(forge, patience=1.0).message


def test_a_server_that_says_nothing_denies_in_bounded_time(forge: Forge) -> None:

    def silence(_: Request) -> Reply:
        time.sleep(3)
        return Reply(200, {})

    forge.faults = [silence] * 9
    assert "took too long to answer" in refusal(forge, timeouts=(0.3, 0.3), patience=1.5).message
    assert len(forge.requests) <= 2


def test_a_body_that_drips_denies_in_bounded_time(forge: Forge) -> None:
    """Each byte comes before its time-out, so that only the whole can be bounded."""

    def drip(wire: IO[bytes]) -> None:
        for _ in range(150):
            wire.write(b" ")
            wire.flush()
            time.sleep(0.1)

    forge.faults = [lambda _: Reply(200, drip, {"Content-Length": "400"})] * 9
    start = time.monotonic()
    assert "took too long" in refusal(forge, timeouts=(1.0, 1.0), patience=1.0).message
    assert time.monotonic() - start < 10


def test_a_huge_body_denies(forge: Forge) -> None:
    """Small on the wire; it is what it unpacks to that counts."""
    bomb = gzip.compress(b" " * (40 << 20))
    forge.faults = [lambda _: Reply(200, bomb, {"Content-Encoding": "gzip"})]
    assert "more than the gate reads" in refusal(forge).message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"<html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"commits":' + b"[" * 100_000,
        b"9" * 9999,
    ],
)
def test_what_is_no_json_object_denies(forge: Forge, body: bytes) -> None:
    forge.faults = [lambda _: Reply(200, body)]
    assert "JSON" in refusal(forge).message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses the token"),
        (403, "may not read"),
        (422, "422"),
        (204, "204"),
        (304, "304"),
    ],
)
def test_a_refusal_is_explained_and_not_repeated(forge: Forge, status: int, words: str) -> None:
    forge.faults = [lambda _: Reply(status, b"")]
    assert words in refusal(forge).message
    assert len(forge.requests) == 1


def test_a_repository_or_commit_that_is_not_there(forge: Forge) -> None:
    forge.faults = [lambda _: Reply(404, {"message": "Not Found"})]
    assert "no such repository or commit" in refusal(forge, 0, 77).message
    assert len(forge.requests) == 2
    assert "no such repository or commit" in refusal(forge, None, 77).message


@pytest.mark.parametrize("status", [401, 403, 404])
def test_without_a_token_the_hint_is_to_give_one(forge: Forge, status: int) -> None:
    forge.faults = [lambda _: Reply(status, {})] * 2
    assert "contents: read" in refusal(forge, token=None).hint


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_renamed_repository_is_followed(forge: Forge, status: int) -> None:
    location = f"/api/v3/repositories/1296269/compare/{sha(0)}...{sha(3)}?page=1"
    forge.faults = [lambda _: Reply(status, {}, {"Location": location})]
    assert numbers(ask(forge, 0, 3)) == [1, 2, 3]
    assert forge.requests[1].path.startswith("/api/v3/repositories/")
    assert forge.requests[1].query == {"per_page": "100", "page": "1"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_goes_to_no_other_host(forge: Forge, status: int) -> None:
    with serving(Forge()) as other:
        location = f"{other.url}/repos/acme/shop/compare/{sha(0)}...{sha(3)}"
        forge.faults = [lambda _: Reply(status, {}, {"Location": location})]
        assert "another host" in refusal(forge).message
        assert other.requests == []


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1/x", "//evil.example/x", "file:///etc/passwd", "http://[", "\x07"]
)
def test_a_strange_redirect_denies(forge: Forge, location: str) -> None:
    forge.faults = [lambda _: Reply(302, {}, {"Location": location})] * 9
    assert refusal(forge).message.isprintable()


def test_a_huge_body_of_a_redirect_denies(forge: Forge) -> None:
    bomb = gzip.compress(b" " * (40 << 20))
    forge.faults = [lambda _: Reply(302, bomb, {"Content-Encoding": "gzip", "Location": "/"})]
    assert "more than the gate reads" in refusal(forge).message


def test_redirects_without_end_deny(forge: Forge) -> None:
    forge.faults = [lambda request: Reply(302, {}, {"Location": request.path})] * 99
    refusal(forge)
    assert len(forge.requests) <= 5


def test_a_repository_that_can_t_be_at_github_is_not_asked_for(forge: Forge) -> None:
    with pytest.raises(Unattributed, match="not one at GitHub"):
        GitHub(forge.url, TOKEN).commits("group/sub/project", [sha(0)], sha(3))
    with pytest.raises(UsageError):
        GitHub(forge.url, TOKEN).commits("../shop", [sha(0)], sha(3))
    with pytest.raises(UsageError):
        GitHub(forge.url, TOKEN).commits("acme/shop", [sha(0)], "main")
    assert forge.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.github.com",
        "http://api.github.com",
        "ftp://127.0.0.1",
        "file:///etc",
        "https://",
        "https://user:secret@api.github.com",
        "https://api.github.com?x=1",
        "https://api.github.com#x",
        "https://api.github.com\n",
        "https://api.github.com:99999",
        "https://[api.github.com",
        "https://evil.example\\@api.github.com",
        "http://127.0.0.1.evil.example",
    ],
)
def test_a_url_that_no_token_may_be_sent_to(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        GitHub(url, TOKEN)
    assert "secret" not in caught.value.actual


@pytest.mark.parametrize("token", ["a\nb", "a b", "a\r\nX-Evil: 1", "tökén"])
def test_what_can_be_no_token(token: str) -> None:
    with pytest.raises(UsageError) as caught:
        GitHub("https://api.github.com", token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("url", ["https://api.github.com", "https://ghe.example.com/api/v3/", "http://localhost:8080"])
def test_urls_that_are_fine(url: str) -> None:
    GitHub(url, None)


class TestHolds:
    """Which of these commits the repository has."""

    def holds(self, forge: Forge, *numbers: int, repository: str = "acme/shop") -> str | None:
        github = GitHub(forge.url, TOKEN, timeouts=(2.0, 2.0), patience=10.0)
        return github.holds(repository, [sha(number) for number in numbers])

    def test_the_first_that_is_there(self, forge: Forge) -> None:
        assert self.holds(forge, 77, 2, 1) == sha(2)

    def test_none(self, forge: Forge) -> None:
        assert self.holds(forge, 77, 78) is None

    def test_a_repository_that_is_hidden_can_not_tell(self, forge: Forge) -> None:
        with pytest.raises(Unattributed, match="no such repository"):
            self.holds(forge, 77, repository="acme/hidden")

    def test_too_many_to_ask_about(self, forge: Forge) -> None:
        with pytest.raises(Unattributed, match="too many"):
            self.holds(forge, *range(50, 71))
        assert forge.requests == []

    def test_an_answer_about_another_commit(self, forge: Forge) -> None:
        forge.change = lambda answer, _: answer.update(sha=sha(9))
        with pytest.raises(Unattributed, match=OK_BUT):
            self.holds(forge, 2)
