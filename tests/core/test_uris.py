"""URIs: what is read from them, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.errors import UsageError
from gate.uris import parse_uri

BASE = Path("/policy")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:audit", "/policy/audit"),
        ("file:./a/b", "/policy/a/b"),
        ("sqlite:///var/lib/replay.db", "/var/lib/replay.db"),
        ("FILE:/var/lib/x", "/var/lib/x"),
        ("file:a%20b", "/policy/a b"),
        ("file:a:b", "/policy/a:b"),
    ],
)
def test_paths(text: str, path: str) -> None:
    assert parse_uri(text).path(BASE) == Path(path)
    assert parse_uri(text).scheme in {"file", "sqlite"}


def test_a_location_and_its_options() -> None:
    uri = parse_uri("s3://bucket/some/prefix?region=eu-west-1&endpoint=http://127.0.0.1:4566")
    assert uri.location("bucket") == ("bucket", "some/prefix")
    assert uri.query == {"region": "eu-west-1", "endpoint": "http://127.0.0.1:4566"}
    uri.only("region", "endpoint")
    with pytest.raises(UsageError, match="unknown option 'endpoint'"):
        uri.only("region")


@pytest.mark.parametrize(
    "text",
    ["", "audit", ":x", "1x:y", "fi le:x", "file:a b", "file:x#part", "file:x#", "s3://b/p?region=a&region=b",
     "file:a\nb", "file:a%0ab", "file:%00", "s3://b/%1b[31m", "s3://b/p?region=%0a", "s3://b/\u202ep", "\ud800:x"],
)  # fmt: skip
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(UsageError):
        parse_uri(text)


@pytest.mark.parametrize("text", ["file:", "file:/", "file:///", "file://host/path", "file:x?region=r"])
def test_what_names_no_path(text: str) -> None:
    with pytest.raises(UsageError):
        parse_uri(text).path(BASE)


def test_a_relative_path_needs_a_base() -> None:
    with pytest.raises(UsageError, match="relative"):
        parse_uri("file:audit").path(None)
    assert parse_uri("file:///audit").path(None) == Path("/audit")


@pytest.mark.parametrize("text", ["s3:", "s3:bucket", "s3://", "s3:///prefix"])
def test_what_names_no_bucket(text: str) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        parse_uri(text).location("bucket")


@pytest.mark.parametrize("text", ["dynamodb://[x", "s3://[::1/p", "redis://\u2177\u2100.example/"])
def test_what_the_standard_library_stumbles_over_is_no_traceback(text: str) -> None:
    assert parse_uri(text).location("host")


@given(st.text() | st.from_regex(r"(file|s3|dynamodb):(//)?[^ ]*", fullmatch=True))
def test_any_text_is_a_uri_or_a_usage_error(text: str) -> None:
    try:
        uri = parse_uri(text)
        assert str(uri.path(BASE)).isprintable()
    except UsageError:
        return
    assert text.lower().startswith(f"{uri.scheme}:")
