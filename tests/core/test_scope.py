"""The scope and the deployment: which names are taken, and in which form."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.deployment import Deployment
from gate.errors import UsageError
from gate.models import Stream
from gate.scope import Scope, parse_environment, parse_repository, parse_scope, parse_sha
from tests.core.mint import SCOPE, SHA

quickly = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("acme/shop", "acme/shop"),
        ("Acme/Shop", "acme/shop"),
        ("group/sub/sub-sub/x.y_z", "group/sub/sub-sub/x.y_z"),
        ("a/.github", "a/.github"),
        ("a/...", "a/..."),
        ("-/-", "-/-"),
    ],
)
def test_repositories(text: str, repository: str) -> None:
    assert parse_repository(text) == repository
    assert parse_scope(f"deploy:{text}:{SHA}") == Scope(repository, SHA)


@pytest.mark.parametrize(
    "text",
    ["", "acme", "/", "a/", "/a", "a//b", "./a", "a/.", "../a", "a/..", "a/../b", "a/./b", "a\\b", "a/b c", "a/b\n",
     "a/b\0", "a/*", "a/b:c", "a/\u0430", "a/\u212a", "a/%2e%2e", "~/a", f"a/{'b' * 254}", "https://a/b"],
)  # fmt: skip
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_repository(text)
    assert caught.value.actual.isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "main", SHA[:39], SHA + "0", SHA.upper(), SHA[:-1] + "g", SHA + "\n", " " + SHA, "\uff11" * 40, SHA[:7]],
)
def test_what_is_no_commit(text: str) -> None:
    with pytest.raises(UsageError, match="whole commit id"):
        parse_sha(text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a b", "a\n", "\u0440rod", "x" * 101, "a:b", "a\0"])
def test_what_is_no_environment(text: str) -> None:
    with pytest.raises(UsageError, match="environment's name"):
        parse_environment(text)


def test_a_scope_is_written_as_it_is_read() -> None:
    assert str(parse_scope(SCOPE)) == SCOPE
    assert str(parse_scope(f"deploy:Acme/SHOP:{SHA}")) == SCOPE


@quickly
@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9./-]{0,40}", fullmatch=True))
@pytest.mark.parametrize("parse", [parse_repository, parse_environment])
def test_no_name_is_a_dangerous_one(parse: Callable[[str], str], text: str) -> None:
    with suppress(UsageError):
        name = parse(text)
        assert name.isascii()
        assert not {"", ".", ".."} & set(name.split("/"))
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/")


@quickly
@given(st.sampled_from(["{}", "deploy:{}", "deploy:acme/shop:{}", f"deploy:{{}}:{SHA}"]), st.text(max_size=60))
def test_any_scope_is_read_or_refused(form: str, text: str) -> None:
    with suppress(UsageError):
        scope = parse_scope(form.format(text))
        assert parse_scope(str(scope)) == scope


@pytest.mark.parametrize("text", ["a/" * 5_000_000, "a" * 10_000_000, "." * 10_000_000, ("a" * 254 + "/") * 40_000])
def test_long_names_take_no_time(text: str) -> None:
    started = time.process_time()
    for parse in (parse_repository, parse_sha, parse_environment, parse_scope):
        with pytest.raises(UsageError):
            parse(text)
    assert time.process_time() - started < 2


def test_a_deployment_at_its_limits() -> None:
    assert Deployment("acme/shop", SHA, "p" * 100, actors=("a" * 254,) * 16, run_id="x" * 254)


def test_a_deployment_says_what_it_is() -> None:
    deployment = Deployment("Acme/Shop", SHA, "production", actors=("alice",), run_id="7")
    assert deployment.scope == parse_scope(SCOPE)
    assert deployment.stream == Stream("acme/shop", "production")
    assert deployment.as_json() == {
        "repository": "acme/shop", "sha": SHA, "environment": "production", "actors": ["alice"], "run_id": "7",
        "repository_id": "", "request_id": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"repository": "shop"}, {"sha": "main"}, {"environment": ""}, {"actors": ["alice"]}, {"actors": "alice"},
     {"actors": ("a\nb",)}, {"actors": (None,)}, {"run_id": None}, {"run_id": 7}, {"run_id": "x" * 255},
     {"run_id": "a\u202eb"}, {"repository_id": "\0"}, {"request_id": "\ud800"}, {"repository": None}, {"sha": b"x"},
     {"environment": ["production"]}, {"actors": ("a",) * 17}],
    ids=repr,
)  # fmt: skip
def test_a_deployment_that_is_none(changes: dict[str, Any]) -> None:
    members: dict[str, Any] = {"repository": "acme/shop", "sha": SHA, "environment": "production"}
    with pytest.raises(UsageError) as caught:
        Deployment(**(members | changes))
    assert f"{caught.value.message}{caught.value.actual}".isprintable()
