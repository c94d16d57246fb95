"""The Google Cloud KMS signer, against a local server that speaks the real protocol and answers wrongly on demand."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gate.errors import GateError, SignerError, UsageError
from gate.issuer import Issuer
from gate.keys import ALGORITHMS
from gate.signers import create_key, gcpclient, gcpkms, open_signer
from tests.core.decide import DEPLOYMENT, decide
from tests.core.mint import KEYS, KIDS, NOW, STRANGER, spki
from tests.parts import free_port
from tests.signers.gcp import NAME, Kms, pem, running_kms, sdk

SECRETS = ("acme-secret-id", "raw text", "127.0.0.", "dns:", "secret-account", "invalid_grant")
DATA = b"header.claims"


@pytest.fixture(params=ALGORITHMS)
def kms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    """A key of each algorithm, and a signer that does not wait long before it asks again."""
    monkeypatch.setattr(gcpkms, "_PAUSE", 0.01)
    with running_kms(request.param) as server:
        yield server


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that knows no Google account, and is not Google's."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def plain(error: GateError) -> None:
    """The error, once it is known to be one sentence with a next step, and to tell nothing of the account."""
    assert error.hint
    for text in (error.message, error.hint, error.expected, error.actual):
        assert text.isprintable()
        assert not any(secret in text for secret in SECRETS)


def refusal(act: Callable[[], object]) -> SignerError:
    with pytest.raises(SignerError) as caught:
        act()
    plain(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value


def misuse(uri: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_signer(uri, None)
    plain(caught.value)
    return caught.value


# --- it signs --------------------------------------------------------------------------------------------------------


def test_the_gate_accepts_what_it_signs_one_round_trip_each(kms: Kms) -> None:
    signer = open_signer(kms.uri, None)
    alg = signer.public_key.alg
    assert signer.public_key.spki == spki(KEYS[alg])
    issuer = Issuer(signer, kid=KIDS[alg])
    for _ in range(20):  # an ECDSA number is short now and then
        token = issuer.issue(DEPLOYMENT, "alice@example.com", now=NOW, ttl=600)
        assert decide(token)[0].approver == "alice@example.com"
    assert kms.calls == ["GetPublicKey"] + ["AsymmetricSign"] * 20
    assert {call["x-goog-request-params"] for call in kms.metadata} == {f"name={NAME}"}
    assert not any("authorization" in call for call in kms.metadata)


def test_threads_may_share_it(kms: Kms) -> None:
    signer = open_signer(kms.uri, None)
    messages = [b"%d" % number for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(signer.sign, messages))
    assert all(map(signer.public_key.verify, signatures, messages))


def test_what_is_too_long_is_refused_before_the_key_is_asked(kms: Kms) -> None:
    signer = open_signer(kms.uri, None)
    assert signer.public_key.verify(signer.sign(b"x" * 4096), b"x" * 4096)
    del kms.calls[:]
    refusal(lambda: signer.sign(b"x" * 4097))
    assert kms.calls == []


# --- damaged answers -------------------------------------------------------------------------------------------------


def put(field: str, value: Any) -> Callable[[Any], None]:
    return lambda answer: setattr(answer, field, value)


def put_pem(text: Callable[[], str]) -> Callable[[Any], None]:
    """Another PEM with the right checksum."""

    def spoil(answer: Any) -> None:
        answer.pem = text()
        answer.pem_crc32c = sdk().crc32c(answer.pem.encode())

    return spoil


def put_signature(signature: Callable[[bytes], bytes]) -> Callable[[Any], None]:
    """Another signature with the right checksum."""

    def spoil(answer: Any) -> None:
        answer.signature = signature(answer.signature)
        answer.signature_crc32c = sdk().crc32c(answer.signature)

    return spoil


def flip_signature(answer: Any) -> None:
    answer.signature = answer.signature[:-1] + bytes([answer.signature[-1] ^ 1])


def change_pem(answer: Any) -> None:
    answer.pem = answer.pem.replace("\n", "\r\n")  # the same key, other bytes


P384 = ec.generate_private_key(ec.SECP384R1())
OTHER = NAME.removesuffix("1") + "2"
DAMAGED_KEYS = {
    "another version": put("name", OTHER),
    "no name": put("name", ""),
    "other PEM": change_pem,
    "no checksum": put("pem_crc32c", None),
    "a wrong checksum": put("pem_crc32c", 1),
    "no PEM": put_pem(str),
    "a garbled PEM": put_pem(lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    "a key of another curve": put_pem(lambda: pem(P384)),
}


@pytest.mark.parametrize("damage", DAMAGED_KEYS)
def test_a_damaged_public_key_is_discarded(kms: Kms, damage: str) -> None:
    kms.spoil = DAMAGED_KEYS[damage]
    assert "answered wrongly twice" in str(refusal(lambda: open_signer(kms.uri, None)))
    assert kms.calls == ["GetPublicKey"] * 2
    kms.times = 1
    assert open_signer(kms.uri, None).public_key.spki == spki(kms.key)


def test_a_public_key_that_is_not_of_its_algorithm_is_discarded(kms: Kms) -> None:
    other = next(key for key in KEYS.values() if key is not kms.key)
    kms.spoil = put_pem(lambda: pem(other))
    assert "not of its algorithm" in str(refusal(lambda: open_signer(kms.uri, None)))


DAMAGED_SIGNATURES = {
    "another version": put("name", OTHER),
    "no name": put("name", ""),
    "changed bytes": flip_signature,
    "no checksum": put("signature_crc32c", None),
    "a wrong checksum": put("signature_crc32c", 0),
}


def check_discarded(kms: Kms, spoil: Callable[[Any], None]) -> None:
    signer = open_signer(kms.uri, None)
    del kms.calls[:]
    kms.spoil = spoil
    assert "answered wrongly twice" in str(refusal(lambda: signer.sign(DATA)))
    assert kms.calls == ["AsymmetricSign"] * 2
    kms.times = 1
    assert signer.public_key.verify(signer.sign(DATA), DATA)


@pytest.mark.parametrize("damage", DAMAGED_SIGNATURES)
def test_a_damaged_signature_is_discarded(kms: Kms, damage: str) -> None:
    check_discarded(kms, DAMAGED_SIGNATURES[damage])


def test_a_request_that_google_did_not_check_is_discarded(kms: Kms) -> None:
    def spoil(answer: Any) -> None:  # only the flag of what this key signs; the other one proves nothing
        ed25519 = kms.algorithm == "EC_SIGN_ED25519"
        answer.verified_data_crc32c, answer.verified_digest_crc32c = not ed25519, ed25519

    check_discarded(kms, spoil)


@pytest.mark.parametrize("garbage", [b"", b"\x30\x00", b"x" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x01"])
def test_what_is_no_ecdsa_signature_is_discarded(monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
    monkeypatch.setattr(gcpkms, "_PAUSE", 0.01)
    with running_kms("ES256") as kms:
        check_discarded(kms, put_signature(lambda _: garbage))


def test_a_signature_that_is_not_this_key_s_is_never_returned(kms: Kms) -> None:
    signer = open_signer(kms.uri, None)
    another = STRANGER if kms.algorithm == "EC_SIGN_ED25519" else ec.generate_private_key(ec.SECP256R1())
    kms.signing_key = another
    assert "not its public key's" in str(refusal(lambda: signer.sign(DATA)))
    kms.signing_key = kms.key
    assert signer.public_key.verify(signer.sign(DATA), DATA)


def test_an_ed25519_signature_of_another_length_is_never_returned() -> None:
    with running_kms("Ed25519") as kms:
        signer = open_signer(kms.uri, None)
        kms.spoil = put_signature(lambda signature: signature + b"\x00")
        refusal(lambda: signer.sign(DATA))


@pytest.mark.parametrize("algorithm", ["EC_SIGN_P384_SHA384", "RSA_SIGN_PSS_2048_SHA256", "EC_SIGN_SECP256K1_SHA256"])
def test_a_key_of_another_algorithm_is_refused_when_it_is_opened(kms: Kms, algorithm: str) -> None:
    kms.algorithm = algorithm
    error = refusal(lambda: open_signer(kms.uri, None))
    assert error.actual == algorithm
    assert kms.calls == ["GetPublicKey"]


def test_a_key_of_an_algorithm_that_the_library_does_not_know_is_refused(kms: Kms) -> None:
    def spoil(answer: Any) -> None:
        type(answer).pb(answer).algorithm = 9_999

    kms.spoil = spoil
    assert refusal(lambda: open_signer(kms.uri, None)).actual == "9999"


# --- errors ----------------------------------------------------------------------------------------------------------

STATUSES = {
    "PERMISSION_DENIED": "denies access",
    "NOT_FOUND": "does not exist",
    "FAILED_PRECONDITION": "disabled, destroyed",
    "INVALID_ARGUMENT": "no key for such signatures",
    "RESOURCE_EXHAUSTED": "quota",
    "UNAUTHENTICATED": "does not accept these credentials",
    "UNAVAILABLE": "can't be reached",
    "DEADLINE_EXCEEDED": "did not answer in time",
    "INTERNAL": "answered with an error",
    "UNKNOWN": "answered with an error",
    "UNIMPLEMENTED": "answered with an error",
    "ABORTED": "answered with an error",
    "CANCELLED": "answered with an error",
    "DATA_LOSS": "answered with an error",
    "OUT_OF_RANGE": "answered with an error",
    "ALREADY_EXISTS": "answered with an error",
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_is_told_in_words(kms: Kms, status: str, capfd: pytest.CaptureFixture[str]) -> None:
    signer = open_signer(kms.uri, None)
    kms.status = status
    for act in (lambda: open_signer(kms.uri, None), lambda: signer.sign(DATA)):
        del kms.calls[:]
        error = refusal(act)
        assert STATUSES[status] in str(error)
        assert f"({status})" in str(error)
        assert len(kms.calls) == (2 if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else 1)
    assert capfd.readouterr() == ("", "")


def test_another_version_is_not_found(kms: Kms) -> None:
    assert "does not exist" in str(refusal(lambda: open_signer(kms.uri.replace("Versions/1", "Versions/2"), None)))


def test_a_slow_service_is_given_up_in_bounded_time(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = open_signer(kms.uri, None)
    monkeypatch.setattr(gcpclient, "ANSWER_SECONDS", 0.2)
    kms.delay = 0.4
    began = time.monotonic()
    assert "(DEADLINE_EXCEEDED)" in str(refusal(lambda: signer.sign(DATA)))
    assert time.monotonic() - began < 2
    assert kms.calls.count("AsymmetricSign") == 2


def test_a_server_that_is_down_is_told_and_one_that_comes_back_is_used(capfd: pytest.CaptureFixture[str]) -> None:
    with running_kms("Ed25519") as kms:
        signer = open_signer(kms.uri, None)
    assert "(UNAVAILABLE)" in str(refusal(lambda: signer.sign(DATA)))
    with ThreadPoolExecutor(1) as pool:
        signing = pool.submit(signer.sign, DATA)
        time.sleep(0.2)
        assert not signing.done()
        with running_kms("Ed25519", address=kms.address) as again:
            assert signer.public_key.verify(signing.result(), DATA)
            assert again.calls == ["AsymmetricSign"]
    assert capfd.readouterr() == ("", "")


def test_no_proxy_stands_before_this_very_machine(kms: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert open_signer(kms.uri, None).public_key.spki == spki(kms.key)


def test_what_answers_but_is_no_key_service(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    sdk()
    monkeypatch.setattr(gcpkms, "_PAUSE", 0.01)
    with http_server(lambda: (200, {})) as port:
        refusal(lambda: open_signer(f"gcpkms://{NAME}?endpoint=127.0.0.1:{port}", None))
    assert capfd.readouterr() == ("", "")


# --- the URI ---------------------------------------------------------------------------------------------------------


def test_a_key_without_its_version_is_refused() -> None:
    error = misuse("gcpkms://" + NAME.rpartition("/cryptoKeyVersions")[0])
    assert "without its version" in str(error)
    assert "/cryptoKeyVersions/1" in error.hint


@pytest.mark.parametrize(
    "uri",
    [
        "gcpkms:",
        "gcpkms://",
        f"gcpkms:{NAME}",
        f"gcpkms:///{NAME}",
        f"gcpkms://{NAME}/",
        f"gcpkms://{NAME}0x",
        f"gcpkms://{NAME.removesuffix('1')}",
        f"gcpkms://{NAME.removesuffix('1')}0",
        f"gcpkms://{NAME.removesuffix('1')}latest",
        f"gcpkms://{NAME.replace('gate', '..')}",
        f"gcpkms://{NAME.replace('gate', 'g%2Fate')}",
        f"gcpkms://{NAME.replace('gate', '')}",
        f"gcpkms://{NAME.replace('projects', 'folders')}",
        f"gcpkms://{NAME}?region=x",
        *(f"gcpkms://{NAME}?endpoint={text}" for text in ("x", "x:", ":1", "x:0", "x:65536", "http://x:1", "u@x:1")),
    ],
)
def test_what_names_no_key_version_is_refused(uri: str) -> None:
    misuse(uri)


def test_a_new_key_is_made_with_the_command_that_it_says() -> None:
    for alg, kind in (("Ed25519", "ec-sign-ed25519"), ("ES256", "ec-sign-p256-sha256")):
        for version in ("", "/cryptoKeyVersions/1"):
            with pytest.raises(UsageError) as caught:
                create_key(f"gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k{version}", None, alg)
            assert caught.value.hint == (
                "gcloud kms keys create k --project p --location global --keyring r"
                f" --purpose asymmetric-signing --default-algorithm {kind} --protection-level hsm"
            )


@pytest.mark.parametrize("library", ["grpc", "google.cloud.kms_v1.types", "google_crc32c"])
def test_a_missing_library_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    sdk()
    monkeypatch.setattr(gcpclient, "_sdk", gcpclient._sdk.__wrapped__)
    monkeypatch.setitem(sys.modules, library, None)
    assert misuse(f"gcpkms://{NAME}").hint == "pip install 'deploy-gate[gcpkms]'"


# --- credentials and TLS, at 127.0.0.2: this machine, but not by one of the names that need neither -------------------


def account(folder: Path, token_port: int) -> Path:
    """A service account's key file, whose tokens come from a local server."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    path = folder / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "secret-account@acme-secret-id.example",
                "private_key": private,
                "token_uri": f"http://127.0.0.1:{token_port}/token",
            }
        )
    )
    return path


class http_server:  # noqa: N801 (a context manager)
    """Answers every request with what `answer` returns: a status, and an object as JSON."""

    def __init__(self, answer: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, body = answer()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> int:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def certificate(folder: Path) -> tuple[Path, tuple[bytes, bytes]]:
    """A certificate of 127.0.0.2 as a file of roots, and what a server needs of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.2"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    roots = folder / "roots.pem"
    roots.write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return roots, (private, roots.read_bytes())


def show(uri: str, **environment: Path | str) -> subprocess.CompletedProcess[str]:
    """`gate keys show` in a process of its own, which reads the roots that it trusts when it starts."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "GRPC_"))}
    return subprocess.run(
        [sys.executable, "-m", "gate", "keys", "show", uri],
        env=inherited | {"NO_GCE_CHECK": "true"} | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


needs_second_loopback = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine only on Linux")


@needs_second_loopback
def test_another_machine_is_asked_over_tls_with_a_token(tmp_path: Path) -> None:
    sdk()
    roots, tls = certificate(tmp_path)
    with (
        http_server(lambda: (200, {"access_token": "secret-token", "expires_in": 3600})) as port,
        running_kms("Ed25519", "127.0.0.2:0", tls) as kms,
    ):
        credentials = account(tmp_path, port)
        done = show(kms.uri, GOOGLE_APPLICATION_CREDENTIALS=credentials, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=roots)
        assert (done.returncode, done.stderr) == (0, "")
        assert "alg: Ed25519" in done.stdout
        assert kms.metadata[0]["authorization"] == "Bearer secret-token"


@needs_second_loopback
@pytest.mark.parametrize("served", ["a certificate of nobody known", "no TLS"])
def test_another_machine_that_does_not_prove_its_name_is_not_asked(tmp_path: Path, served: str) -> None:
    sdk()
    _, tls = certificate(tmp_path)
    with (
        http_server(lambda: (200, {"access_token": "secret-token", "expires_in": 3600})) as port,
        running_kms("Ed25519", "127.0.0.2:0", tls if "certificate" in served else None) as kms,
    ):
        done = show(kms.uri, GOOGLE_APPLICATION_CREDENTIALS=account(tmp_path, port))
        assert (done.returncode, done.stdout, kms.calls) == (2, "", [])
        assert "can't be reached" in done.stderr
        assert "secret-token" not in done.stderr
        assert not any(noise in done.stderr for noise in ("ssl", "SSL", "grpc", "WARNING", "E0000", "Traceback"))


@pytest.mark.usefixtures("no_credentials")
def test_no_credentials() -> None:
    sdk()
    assert "no usable Google credentials" in str(refusal(lambda: open_signer(f"gcpkms://{NAME}", None)))


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("content", [None, "", "{}", '{"type": "service_account"}', "[]"])
def test_credentials_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    sdk()
    path = tmp_path / "secret-account.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    assert "Google" in str(refusal(lambda: open_signer(f"gcpkms://{NAME}", None)))
    assert caplog.records == []


@pytest.mark.usefixtures("no_credentials")
def test_credentials_that_google_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk()
    with http_server(lambda: (400, {"error": "invalid_grant", "error_description": "acme-secret-id"})) as port:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account(tmp_path, port)))
        assert "does not accept these credentials" in str(refusal(lambda: open_signer(f"gcpkms://{NAME}", None)))


@pytest.mark.usefixtures("no_credentials")
def test_a_token_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account(tmp_path, free_port())))
    error = refusal(lambda: open_signer(f"gcpkms://{NAME}", None))
    assert "access tokens can't be reached" in str(error)
