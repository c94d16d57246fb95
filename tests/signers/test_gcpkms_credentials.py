"""Google's credentials, and TLS, on the way to Google Cloud KMS.

The server is at 127.0.0.2: this machine, but not by one of the names that need neither.
"""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gate.signers import gcpclient, open_signer
from tests.parts import free_port
from tests.sabotage import HTTP_WITHOUT_END, ends, relay
from tests.signers.gcp import NAME, refusal, running_kms, sdk
from tests.signers.web import http_server


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that knows no Google account, and is not Google's."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


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
        http_server(200, {"access_token": "secret-token", "expires_in": 3600}) as port,
        running_kms("Ed25519", "127.0.0.2:0", tls) as gcp,
    ):
        credentials = account(tmp_path, port)
        done = show(gcp.uri, GOOGLE_APPLICATION_CREDENTIALS=credentials, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=roots)
        assert (done.returncode, done.stderr) == (0, "")
        assert "alg: Ed25519" in done.stdout
        assert gcp.metadata[0]["authorization"] == "Bearer secret-token"
        done = show(f"{gcp.uri}&ca={roots}", GOOGLE_APPLICATION_CREDENTIALS=credentials)
        assert (done.returncode, done.stderr) == (0, "")


@needs_second_loopback
@pytest.mark.parametrize("served", ["a certificate of nobody known", "no TLS"])
def test_another_machine_that_does_not_prove_its_name_is_not_asked(tmp_path: Path, served: str) -> None:
    sdk()
    _, tls = certificate(tmp_path)
    with (
        http_server(200, {"access_token": "secret-token", "expires_in": 3600}) as port,
        running_kms("Ed25519", "127.0.0.2:0", tls if "certificate" in served else None) as gcp,
    ):
        done = show(gcp.uri, GOOGLE_APPLICATION_CREDENTIALS=account(tmp_path, port))
        assert (done.returncode, done.stdout, gcp.calls) == (2, "", [])
        named = "is not trusted here (" if "certificate" in served else "can't be reached"
        assert named in done.stderr
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
    with http_server(400, {"error": "invalid_grant", "error_description": "acme-secret-id"}) as port:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account(tmp_path, port)))
        assert "does not accept these credentials" in str(refusal(lambda: open_signer(f"gcpkms://{NAME}", None)))


@pytest.mark.usefixtures("no_credentials")
def test_a_token_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account(tmp_path, free_port())))
    error = refusal(lambda: open_signer(f"gcpkms://{NAME}", None))
    assert "access tokens can't be reached" in str(error)


@pytest.mark.usefixtures("no_credentials")
def test_a_token_that_never_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk()
    monkeypatch.setattr(gcpclient, "TOKEN_SECONDS", 0.3)
    with http_server(200, {}) as server, relay(server, HTTP_WITHOUT_END["a dripping body"]) as port:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account(tmp_path, port)))
        error = ends(lambda: refusal(lambda: open_signer(f"gcpkms://{NAME}", None)))
    assert "access tokens can't be reached" in str(error)
