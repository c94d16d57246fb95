"""Whether a token is an issuer's own: attacks on tokens, keys and metadata, and an issuer that is down."""

import base64
import hmac
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.bot.discovery import Issuer
from gate.bot.errors import NotProved, Unavailable
from gate.bot.web import status_of
from tests.bot.provider import Key, Provider, Reply, new_key, serving
from tests.parts import free_port

AUDIENCE = "https://gate.example.com"
METADATA = "/.well-known/openid-configuration"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Provider()) as running:
        yield running


class Clock:
    """A clock that only tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def raw(provider: Provider, payload: bytes, headers: dict[str, Any] | None = None) -> str:
    """A well signed token of any bytes."""
    key = provider.keys[0]
    return jwt.PyJWS().encode(payload, key.private, key.alg, {"kid": key.kid, **(headers or {})})


def verify(provider: Provider, token: str) -> dict[str, Any]:
    return Issuer(provider.url).verify(token, audience=AUDIENCE)


def refusal(provider: Provider, token: str) -> NotProved:
    with pytest.raises(NotProved) as caught:
        verify(provider, token)
    shown = " ".join((caught.value.message, caught.value.hint, caught.value.expected, caught.value.actual))
    assert token not in shown
    assert shown.isprintable()
    return caught.value


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_a_good_token(provider: Provider, alg: str) -> None:
    provider.rotate(alg=alg)
    assert verify(provider, provider.ci_token())["repository"] == "Acme/Shop"


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_joserfc_accepts_what_we_accept(provider: Provider, alg: str) -> None:
    joserfc_jwt = pytest.importorskip("joserfc.jwt")
    from joserfc.jwk import KeySet

    provider.rotate(keep_old=True, alg=alg)
    token = provider.ci_token()
    keys = KeySet.import_key_set({"keys": [key.jwk for key in provider.keys]})
    theirs = joserfc_jwt.decode(token, keys, algorithms=["RS256", "PS256", "ES256"])
    assert theirs.claims == verify(provider, token)


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_whatever_we_accept_joserfc_accepts_too(provider: Provider, alg: str) -> None:
    """Tokens with one character changed, left out or put in: most are nonsense, and both must say so."""
    joserfc_jwt = pytest.importorskip("joserfc.jwt")
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    provider.rotate(keep_old=True, alg=alg)
    token, issuer, dice = provider.ci_token(), Issuer(provider.url), random.Random(20261125)
    keys = KeySet.import_key_set({"keys": [key.jwk for key in provider.keys]})
    accepted = 0
    for _ in range(400):
        place, letter = dice.randrange(len(token)), dice.choice("abcXYZ019-_.=+/ ")
        mutant = token[:place] + dice.choice(["", letter, letter + token[place]]) + token[place + 1 :]
        try:
            claims = issuer.verify(mutant, audience=AUDIENCE)
        except NotProved:
            continue
        accepted += 1
        try:
            assert joserfc_jwt.decode(mutant, keys, algorithms=["RS256", "PS256", "ES256"]).claims == claims
        except (JoseError, ValueError) as error:
            pytest.fail(f"joserfc refuses it: {error!r}")
    assert accepted < 40  # a letter put for itself


def test_metadata_and_keys_are_fetched_once(provider: Provider) -> None:
    issuer = Issuer(provider.url)
    for _ in range(3):
        issuer.verify(provider.ci_token(), audience=AUDIENCE)
    assert [request.path for request in provider.requests] == [METADATA, "/jwks"]


def test_a_key_without_alg_or_use_will_do(provider: Provider) -> None:
    jwk = {name: value for name, value in provider.keys[0].jwk.items() if name not in ("alg", "use")}
    provider.faults["/jwks"] = lambda request: Reply(200, {"keys": [jwk]})
    assert verify(provider, provider.ci_token())


def test_a_token_without_kid_needs_there_to_be_one_key(provider: Provider) -> None:
    token = jwt.encode(provider.ci_claims(), provider.keys[0].private, "RS256")
    assert verify(provider, token)
    provider.keys.append(new_key())
    assert refusal(provider, token).actual == "no key id"


# Signatures and algorithms (RFC 8725 §2.1, §3.1)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "RS512", "EdDSA", None, 7, ["RS256"]])
def test_the_algorithm_is_ours_to_choose(provider: Provider, alg: Any) -> None:
    head = {"alg": alg, "kid": provider.keys[0].kid}
    for signature in ("", encoded(b"x" * 256)):
        found = refusal(provider, f"{encoded(head)}.{encoded(provider.ci_claims())}.{signature}")
        assert "way that is not accepted" in found.message


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_the_public_key_is_no_secret_to_hash_with(provider: Provider, form: str) -> None:
    public = provider.keys[0].private.public_key()
    encoding = serialization.Encoding.PEM if form == "pem" else serialization.Encoding.DER
    secret = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    if form == "jwk":
        secret = json.dumps(provider.keys[0].jwk).encode()
    body = f"{encoded({'alg': 'HS256', 'kid': provider.keys[0].kid})}.{encoded(provider.ci_claims())}"
    signature = hmac.digest(secret, body.encode(), "sha256")
    assert refusal(provider, f"{body}.{encoded(signature)}").actual == "HS256"


def test_a_symmetric_key_in_the_set_is_none(provider: Provider) -> None:
    secret = b"k" * 32
    oct_key = {"kty": "oct", "kid": "o", "k": encoded(secret)}
    provider.faults["/jwks"] = lambda request: Reply(200, {"keys": [oct_key, provider.keys[0].jwk]})
    refusal(provider, jwt.encode(provider.ci_claims(), secret, "HS256", {"kid": "o"}))


def test_an_algorithm_that_is_not_the_key_s(provider: Provider) -> None:
    key = provider.keys[0]
    as_pss = jwt.encode(provider.ci_claims(), key.private, "PS256", {"kid": key.kid})
    assert "not signed by a key" in refusal(provider, as_pss).message
    es256 = new_key("ES256")
    as_ec = provider.sign(provider.ci_claims(), {"kid": key.kid}, es256)
    assert "not signed by a key" in refusal(provider, as_ec).message


def test_another_key_under_a_listed_kid(provider: Provider) -> None:
    token = provider.sign(provider.ci_claims(), {"kid": provider.keys[0].kid}, new_key())
    assert "signature" in refusal(provider, token).message


def test_a_changed_claim(provider: Provider) -> None:
    head, _, signature = provider.ci_token().split(".")
    token = f"{head}.{encoded(provider.ci_claims(repository='acme/other'))}.{signature}"
    assert "signature" in refusal(provider, token).message


def test_a_key_that_is_too_short(provider: Provider) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    provider.keys = [Key("short", "RS256", rsa.generate_private_key(65537, 1024))]
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = provider.ci_token()
    refusal(provider, token)


@pytest.mark.parametrize(
    "change", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"d": "AQAB"}, {"kty": "oct"}, {"alg": "RS1"}]
)
def test_a_key_that_may_not_verify(provider: Provider, change: dict[str, Any]) -> None:
    provider.faults["/jwks"] = lambda request: Reply(200, {"keys": [{**provider.keys[0].jwk, **change}]})
    with pytest.raises(Unavailable, match="lists no key"):
        verify(provider, provider.ci_token())


@pytest.mark.parametrize(
    "change",
    [{"n": 7}, {"n": ""}, {"n": None}, {"n": ["AQAB"]}, {"n": "AQAB"}, {"e": "AA"}, {"e": "AQ"}, {"e": "A" * 9000},
     {"n": "\u00e4"}, {"oth": []}, {"p": "AQAB"}],
)  # fmt: skip
def test_a_key_that_is_none(provider: Provider, change: dict[str, Any]) -> None:
    jwk = {name: value for name, value in {**provider.keys[0].jwk, **change}.items() if value is not None}
    provider.faults["/jwks"] = lambda request: Reply(200, {"keys": [jwk]})
    if change not in ({"oth": []}, {"p": "AQAB"}):
        refusal(provider, provider.ci_token())
    else:
        assert verify(provider, provider.ci_token())


@pytest.mark.parametrize(
    "change", [{"x": "AQAB"}, {"x": None}, {"y": 7}, {"y": "A" * 43}, {"crv": "P-384"}, {"crv": []}]
)
def test_a_point_that_is_none(provider: Provider, change: dict[str, Any]) -> None:
    jwk = {name: value for name, value in {**provider.rotate(alg="ES256").jwk, **change}.items() if value is not None}
    provider.faults["/jwks"] = lambda request: Reply(200, {"keys": [jwk, new_key().jwk]})
    refusal(provider, provider.ci_token())


def test_two_keys_under_one_kid(provider: Provider) -> None:
    provider.keys.append(Key(provider.keys[0].kid, *new_key()[1:]))
    assert "not signed by a key" in refusal(provider, provider.ci_token()).message


@pytest.mark.parametrize("kid", ["../../../dev/null", "' OR 1=1 --", "x\u202ey", "\x00", "k" * 5000])
def test_a_kid_is_only_compared(provider: Provider, kid: str) -> None:
    refusal(provider, provider.sign(provider.ci_claims(), {"kid": kid}))


def test_a_kid_that_is_no_text(provider: Provider) -> None:
    head = {"alg": "RS256", "kid": {"a": 1}}
    assert (
        refusal(provider, f"{encoded(head)}.{encoded(provider.ci_claims())}.AAAA").message == "The token is malformed."
    )


def test_keys_that_a_header_brings_along_are_ignored(provider: Provider) -> None:
    own = new_key()
    with serving(Provider()) as evil:
        evil.keys = [own]
        header = {"kid": own.kid, "jwk": own.jwk, "jku": f"{evil.url}/jwks", "x5u": f"{evil.url}/x5u", "x5c": ["MIIB"]}
        refusal(provider, provider.sign(provider.ci_claims(), header, own))
        assert evil.requests == []
        assert verify(provider, provider.sign(provider.ci_claims(), {"jku": f"{evil.url}/jwks"}))
        assert evil.requests == []


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}])
def test_extensions_are_refused(provider: Provider, header: dict[str, Any]) -> None:
    head = {"alg": "RS256", "kid": provider.keys[0].kid, **header}
    refusal(provider, f"{encoded(head)}.{encoded(provider.ci_claims())}.AAAA")


# Claims


@pytest.mark.parametrize(
    "audience",
    ["https://gate.example.com/", "https://GATE.example.com", "gate", "", [], ["https://other.example"], {"a": 1}, 7,
     ["https://gate.example.com", 7]],
)  # fmt: skip
def test_another_audience(provider: Provider, audience: Any) -> None:
    refusal(provider, provider.ci_token(audience=audience))


def test_the_audience_is_shown(provider: Provider) -> None:
    found = refusal(provider, provider.ci_token(audience="https://other.example"))
    assert (found.expected, found.actual) == (AUDIENCE, "https://other.example")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"iat": int(time.time()) + 600}, "not valid yet"),
        ({"nbf": int(time.time()) + 600}, "not valid yet"),
        ({"exp": None}, "lacks a claim"),
        ({"iat": None}, "lacks a claim"),
        ({"exp": str(int(time.time()) + 60)}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": 2**60}, "malformed"),
        ({"exp": time.time() + 60}, "malformed"),
        ({"iat": -1}, "malformed"),
        ({"iss": None}, "another issuer"),
        ({"iss": "https://other.example"}, "another issuer"),
        ({"iss": ["x"]}, "another issuer"),
    ],
)
def test_claims_that_prove_nothing(provider: Provider, changes: dict[str, Any], message: str) -> None:
    claims = {**provider.ci_claims(), **changes}
    token = raw(provider, json.dumps({name: value for name, value in claims.items() if value is not None}).encode())
    assert message in refusal(provider, token).message


def test_clocks_may_differ_a_little(provider: Provider) -> None:
    now = int(time.time())
    assert verify(provider, provider.ci_token(iat=now + 20, nbf=now + 20))
    assert verify(provider, provider.ci_token(exp=now - 20))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ', "repository": "acme/other"}',
        lambda text: text[:-1] + ', "deep": {"a": 1, "a": 2}}',
        lambda text: text[:-1] + ', "n": NaN}',
        lambda text: "[" + text + "]",
        lambda text: text + "{}",
        lambda text: '"' + "[" * 5000,
        lambda text: text[:-1] + ', "x": "\\ud800"}',
    ],
)
def test_a_payload_that_may_be_read_in_two_ways(provider: Provider, change: Callable[[str], str]) -> None:
    token = raw(provider, change(json.dumps(provider.ci_claims())).encode())
    assert refusal(provider, token).message == "The token is malformed."


def test_a_header_with_a_member_twice(provider: Provider) -> None:
    head = f'{{"alg":"none","alg":"RS256","kid":"{provider.keys[0].kid}"}}'.encode()
    assert (
        refusal(provider, f"{encoded(head)}.{encoded(provider.ci_claims())}.AAAA").message == "The token is malformed."
    )


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c.d", "a.b.c", "a=.b=.c=", ".b.c", "a..c", "ä.b.c", "a.b.c\n"])
def test_what_is_no_token(provider: Provider, token: str) -> None:
    with pytest.raises(NotProved):
        verify(provider, token)
    assert provider.requests == []


@settings(deadline=None)
@given(st.text(max_size=60) | st.builds("{}.{}.{}".format, *[st.binary(max_size=40).map(encoded)] * 3))
def test_whatever_comes_is_refused(token: str) -> None:
    with pytest.raises(NotProved) as caught:
        Issuer("http://127.0.0.1:1").verify(token, audience=AUDIENCE)
    assert caught.value.message.isprintable()


def test_a_token_that_is_too_long(provider: Provider) -> None:
    assert "too long" in refusal(provider, provider.ci_token(padding="x" * 20_000)).message
    assert provider.requests == []


def test_stray_bits_and_padding(provider: Provider) -> None:
    token = provider.ci_token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(token[-1]) ^ 1]
    refusal(provider, token[:-1] + last)
    refusal(provider, token + "=")


# Metadata and keys


@pytest.mark.parametrize("change", ["/", "/x", "@evil.example", "%2f", "?x", "#x"])
def test_metadata_that_names_another_issuer(provider: Provider, change: str) -> None:
    provider.change_metadata = lambda metadata: metadata.update(issuer=provider.url + change)
    with pytest.raises(Unavailable, match="names another issuer"):
        verify(provider, provider.ci_token())
    assert provider.asked("/jwks") == 0


def test_an_issuer_with_a_path_and_a_slash(provider: Provider) -> None:
    """OpenID Connect Discovery §4: only the slash at the end is left out of the URL of the metadata."""
    issuer = Issuer(f"{provider.url}/tenant/")
    metadata = {**provider.metadata(), "issuer": issuer.url}
    provider.faults[f"/tenant{METADATA}"] = lambda request: Reply(200, metadata)
    assert issuer.verify(provider.ci_token(iss=issuer.url), audience=AUDIENCE)
    with pytest.raises(NotProved):
        issuer.verify(provider.ci_token(iss=issuer.url[:-1]), audience=AUDIENCE)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/keys", "ftp://127.0.0.1/", "file:///etc/passwd", "https://user@host/", "//x", 7,
            None, "https://host/keys#x", "http://127.0.0.1.evil.example/"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint"])
def test_endpoints_that_are_not_safe(provider: Provider, name: str, url: Any) -> None:
    provider.change_metadata = lambda metadata: metadata.update({name: url})
    with pytest.raises(Unavailable, match="names an endpoint"):
        verify(provider, provider.ci_token())
    assert len(provider.requests) == 1


def test_an_endpoint_may_have_a_query(provider: Provider) -> None:
    provider.change_metadata = lambda metadata: metadata.update(jwks_uri=f"{provider.url}/jwks?p=policy")
    assert verify(provider, provider.ci_token())


def test_https_does_not_lead_to_http() -> None:
    issuer = Issuer("https://sso.example.com")
    with pytest.raises(Unavailable, match="names an endpoint"):
        issuer._endpoint({"jwks_uri": "http://127.0.0.1/keys"}, "jwks_uri")


def test_nobody_waits_for_ever_while_another_looks(provider: Provider) -> None:
    issuer = Issuer(provider.url, patience=0.05)
    with issuer._lock, pytest.raises(Unavailable, match="too long"):
        issuer.metadata()


def test_an_issuer_without_keys(provider: Provider) -> None:
    provider.change_metadata = lambda metadata: metadata.pop("jwks_uri")
    with pytest.raises(Unavailable, match="names no keys"):
        verify(provider, provider.ci_token())


@pytest.mark.parametrize("path", [METADATA, "/jwks"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(provider: Provider, path: str, status: int) -> None:
    with serving(Provider()) as evil:
        evil.keys = provider.keys
        provider.faults[path] = lambda request: Reply(status, b"", {"Location": evil.url + path})
        with pytest.raises(Unavailable) as caught:
            verify(provider, provider.ci_token())
        assert caught.value.actual == f"HTTP {status}"
        assert evil.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, {"keys": []}),
        Reply(404),
        Reply(200, b"<html>"),
        Reply(200, b"\xff"),
        Reply(200, []),
        Reply(200, b'{"keys": [], "keys": []}'),
        Reply(200, b"["  * 100_000),
        Reply(200, {"keys": {}}),
        Reply(200, {"keys": [7, "x", None]}),
        Reply(200, b"{}" + b" " * (600 * 1024)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [METADATA, "/jwks"])
def test_answers_that_are_none(provider: Provider, path: str, reply: Reply) -> None:
    provider.faults[path] = lambda request: reply
    with pytest.raises(Unavailable) as caught:
        verify(provider, provider.ci_token())
    assert status_of(caught.value) == 503


def test_a_netrc_is_not_read(provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    verify(provider, provider.ci_token())
    assert not any("authorization" in request.headers for request in provider.requests)


def test_an_issuer_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="can't be reached"):
        Issuer(f"http://127.0.0.1:{free_port()}").metadata()


def test_an_answer_that_drips(provider: Provider) -> None:
    done = threading.Event()

    def drip(file: Any) -> None:
        while not done.wait(0.02):
            file.write(b" ")
            file.flush()

    provider.faults["/jwks"] = lambda request: Reply(200, drip)
    try:
        with pytest.raises(Unavailable, match="too long"):
            Issuer(provider.url, patience=0.3).metadata()
    finally:
        done.set()


# Rotation, and an issuer that comes and goes


def test_a_new_key_is_found_at_once(provider: Provider) -> None:
    issuer = Issuer(provider.url, clock=(clock := Clock()))
    old = provider.ci_token()
    assert issuer.verify(old, audience=AUDIENCE)
    clock.now += 31
    provider.rotate()
    assert issuer.verify(provider.ci_token(), audience=AUDIENCE)
    clock.now += 31
    with pytest.raises(NotProved):
        issuer.verify(old, audience=AUDIENCE)


def test_keys_live_for_an_hour(provider: Provider) -> None:
    issuer = Issuer(provider.url, clock=(clock := Clock()))
    token = provider.ci_token()
    issuer.verify(token, audience=AUDIENCE)
    provider.rotate()
    clock.now += 3599
    assert issuer.verify(token, audience=AUDIENCE)
    clock.now += 2
    with pytest.raises(NotProved):
        issuer.verify(token, audience=AUDIENCE)


def test_forged_kids_don_t_hammer_the_issuer(provider: Provider) -> None:
    issuer = Issuer(provider.url, clock=(clock := Clock()))
    forged = [provider.sign(provider.ci_claims(), {"kid": f"forged-{number}"}) for number in range(20)]

    def attack() -> None:
        for token in forged:
            with pytest.raises(NotProved):
                issuer.verify(token, audience=AUDIENCE)

    attack()
    assert provider.asked("/jwks") == 1  # fetched a moment ago
    clock.now += 31
    threads = [threading.Thread(target=attack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.asked("/jwks") == 2


def test_many_threads_fetch_once(provider: Provider) -> None:
    issuer, token = Issuer(provider.url), provider.ci_token()
    proved: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: proved.append(issuer.verify(token, audience=AUDIENCE))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(proved) == 8
    assert provider.asked("/jwks") == 1


def test_a_failure_is_remembered_for_some_seconds(provider: Provider) -> None:
    issuer = Issuer(provider.url, clock=(clock := Clock()))
    provider.faults["/jwks"] = lambda request: Reply(503)
    for _ in range(5):
        with pytest.raises(Unavailable):
            issuer.verify(provider.ci_token(), audience=AUDIENCE)
    assert provider.asked("/jwks") == 1
    provider.faults.clear()
    clock.now += 6
    assert issuer.verify(provider.ci_token(), audience=AUDIENCE)


def test_known_keys_work_while_the_issuer_is_down(provider: Provider) -> None:
    issuer = Issuer(provider.url, clock=(clock := Clock()))
    token = provider.ci_token()
    issuer.verify(token, audience=AUDIENCE)
    provider.faults["/jwks"] = lambda request: Reply(503)
    clock.now += 31
    with pytest.raises(Unavailable):
        issuer.verify(provider.sign(provider.ci_claims(), {"kid": "new"}), audience=AUDIENCE)
    assert issuer.verify(token, audience=AUDIENCE)
    clock.now += 3600
    with pytest.raises(Unavailable):
        issuer.verify(token, audience=AUDIENCE)
