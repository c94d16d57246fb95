"""`pkcs11:` URIs and elliptic points: what is read, what is refused, and that no PIN ever stands in a message."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gate.cli import cli
from gate.errors import UsageError
from gate.signers import create_key, open_signer
from gate.signers.ecpoint import CURVES, public_key
from gate.signers.pkcs11uri import KeyUri, parse_key_uri
from gate.uris import parse_uri
from tests.core.mint import ED25519, ES256, spki

MODULE = "module-path=/usr/lib/p11.so"


def parsed(text: str) -> KeyUri:
    return parse_key_uri(parse_uri(text))


def test_every_part_is_read() -> None:
    uri = parsed(
        "pkcs11:token=My%20token;serial=0%2f1;model=a%3db;manufacturer=A%26B;object=deploy%3Bk%C3%A9y;id=%00%FF%3d;type=private"
        "?module-path=/opt/c++/lib%20x.so&pin-source=file:/run/my%20pin"
    )
    assert uri == KeyUri(
        Path("/opt/c++/lib x.so"),
        {"token": "My token", "serial": "0/1", "model": "a=b", "manufacturer": "A&B"},
        "deploy;kéy",
        b"\0\xff=",
        Path("/run/my pin"),
    )
    assert uri.place == "The PKCS#11 token My token, 0/1, a=b, A&B"
    assert uri.key == "The PKCS#11 key deploy;kéy"
    assert parsed(f"pkcs11:token=t;id=%01%ab?{MODULE}").key == "The PKCS#11 key 01ab"


@pytest.mark.parametrize(
    ("source", "path"),
    [("file:/run/pin", "/run/pin"), ("file:///run/pin", "/run/pin"), ("file:pin", "pin"), ("file:a/pin", "a/pin")],
)
def test_where_the_pin_is(source: str, path: str) -> None:
    assert parsed(f"pkcs11:token=t;object=k?{MODULE}&pin-source={source}").pin_file == Path(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pkcs11:", "names no token, or no key"),
        (f"pkcs11:?{MODULE}", "names no token, or no key"),
        (f"pkcs11:token=t?{MODULE}", "names no token, or no key"),
        (f"pkcs11:object=k?{MODULE}", "names no token, or no key"),
        (f"pkcs11:object=k;type=private?{MODULE}", "names no token, or no key"),
        ("pkcs11:token=t;object=k", "names no module by its absolute path"),
        ("pkcs11:token=t;object=k?module-path=lib.so", "names no module by its absolute path"),
        ("pkcs11:token=t;object=k?module-path=", "module-path is empty"),
        (f"pkcs11:token=t;object=k;type=public?{MODULE}", "type is not private"),
        (f"pkcs11:token=t;token=u;object=k?{MODULE}", "token is there twice"),
        (f"pkcs11:token=t;object=k?{MODULE}&{MODULE}", "twice"),
        (f"pkcs11:token=t;object=k;?{MODULE}", "a part of it is no attribute"),
        (f"pkcs11://token=t;object=k?{MODULE}", "a part of it is no attribute"),
        (f"pkcs11:token=t;object=k;slot-id=1?{MODULE}", "'slot-id' is no attribute that is of use here"),
        (f"pkcs11:token=t;object=k;x-mine=1?{MODULE}", "'x-mine' is no attribute that is of use here"),
        (f"pkcs11:token=t;object=k?{MODULE}&module-name=p11", "'module-name' is no attribute"),
        (f"pkcs11:token=t;object=k?{MODULE}&object=k", "'object' is no attribute"),
        (f"pkcs11:token=t;object=k;module-path=/x?{MODULE}", "'module-path' is no attribute"),
        (f"pkcs11:token=;object=k?{MODULE}", "token is empty"),
        (f"pkcs11:token;object=k?{MODULE}", "token is empty"),
        (f"pkcs11:token=t;object=100%?{MODULE}", "object is empty, or not percent-encoded"),
        (f"pkcs11:token=t;object=%zz?{MODULE}", "object is empty, or not percent-encoded"),
        (f"pkcs11:token=t;object=é?{MODULE}", "object is empty, or not percent-encoded"),
        (f"pkcs11:token=t;object=%ff?{MODULE}", "object is not printable text"),
        (f"pkcs11:token=t;object=%0a?{MODULE}", "object is not printable text"),
        (f"pkcs11:token=%1b[31m;object=k?{MODULE}", "token is not printable text"),
        ("pkcs11:token=t;object=k?module-path=/x%00.so", "module-path is not printable text"),
        (f"pkcs11:token=t;object=k?{MODULE}&pin-source=|cat%20/run/pin", "pin-source is not a file: URI"),
        (f"pkcs11:token=t;object=k?{MODULE}&pin-source=/run/pin", "pin-source is not a file: URI"),
        (f"pkcs11:token=t;object=k?{MODULE}&pin-source=file:", "pin-source is not a file: URI"),
        (f"pkcs11:token=t;object=k?{MODULE}&pin-source=file://host/pin", "pin-source is not a file: URI"),
    ],
)
def test_what_is_no_key(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parsed(text)


@pytest.mark.parametrize(
    "text",
    [
        f"pkcs11:token=t;object=k?{MODULE}&pin-value=314159",
        f"pkcs11:token=t;object=k?{MODULE}&pin-value=314159&pin-value=314159",
        f"pkcs11:token=t;object=k?{MODULE}&PIN-VALUE=314159",
        f"pkcs11:token=t;object=k;pin-value=314159?{MODULE}",
        "pkcs11:pin-value=314159#",
        "pkcs11: pin-value=314159",
        "pkcs12:pin-value=314159",
        f"pkcs11:token=t;object=k?{MODULE}&pin=314159",
        f"pkcs11:token=t;object=k?{MODULE}&314159",
        f"pkcs11:token=t;object=k?{MODULE}&pin-source=314159",
        f"pkcs11:token=t;object=k;314159?{MODULE}",
        f"pkcs11:token=t;object=k?{MODULE}&pin=314159&pin=314159",
        f"pkcs11:token=t;object=k?{MODULE}&pin-source=314159#",
        f"PKCS11:token=t;object=k?{MODULE}&pin=3 314159",
    ],
)
def test_a_pin_in_a_uri_is_refused_and_not_repeated(text: str) -> None:
    for action in (lambda: open_signer(text, None), lambda: create_key(text, None, "ES256")):
        with pytest.raises(UsageError) as caught:
            action()
        error = caught.value
        assert "314159" not in f"{error} {error.hint} {error.expected} {error.actual}"
        assert error.hint
    for command in ("show", "new"):
        result = CliRunner().invoke(cli, ["keys", command, text])
        assert result.exit_code != 0
        assert "314159" not in result.output


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_key_or_a_usage_error(path: str, query: str) -> None:
    try:
        uri = parsed(f"pkcs11:{path}?{query}&{MODULE}")
    except UsageError as error:
        assert str(error).isprintable()
        return
    assert uri.token
    assert uri.label or uri.id


# Points


ED_POINT, P256_POINT = spki(ED25519)[12:], spki(ES256)[26:]


@pytest.mark.parametrize(
    ("params", "point", "key"),
    [
        (CURVES["Ed25519"], b"\x04\x20" + ED_POINT, ED25519),
        (CURVES["Ed25519"], ED_POINT, ED25519),
        (b"\x13\x0cedwards25519", b"\x04\x20" + ED_POINT, ED25519),
        (CURVES["ES256"], b"\x04\x41" + P256_POINT, ES256),
        (CURVES["ES256"], P256_POINT, ES256),
    ],
)
def test_points_as_tokens_write_them(params: bytes, point: bytes, key: object) -> None:
    assert public_key(params, point).spki == spki(ED25519 if key is ED25519 else ES256)


@pytest.mark.parametrize(
    ("params", "point"),
    [
        (CURVES["Ed25519"], b""),
        (CURVES["Ed25519"], ED_POINT[:-1]),
        (CURVES["Ed25519"], b"\x03\x20" + ED_POINT),
        (CURVES["Ed25519"], b"\x04\x1f" + ED_POINT),
        (CURVES["Ed25519"], b"\x04\x20" + ED_POINT + b"\0"),
        (CURVES["Ed25519"], b"\x04\x20" + bytes(32)),
        (CURVES["Ed25519"], P256_POINT),
        (CURVES["ES256"], ED_POINT),
        (CURVES["ES256"], b"\x04\x21\x02" + P256_POINT[1:33]),
        (CURVES["ES256"], b"\x02" + P256_POINT[1:33]),
        (CURVES["ES256"], P256_POINT[:-1] + bytes([P256_POINT[-1] ^ 1])),
        (CURVES["ES256"], b"\x04" + bytes(64)),
        (b"\x13\x0cedwards25519", P256_POINT),
        (bytes.fromhex("06052b81040022"), b"\x04\x61\x04" + bytes(96)),
        (b"", ED_POINT),
    ],
)
def test_what_is_no_point_of_these_curves(params: bytes, point: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        public_key(params, point)
