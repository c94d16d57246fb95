"""What goes wrong at Google Cloud KMS is told in words, within seconds, and without a name of the account."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gate.signers import gcpclient, gcpkms, open_signer
from tests.core.mint import spki
from tests.parts import free_port
from tests.signers.gcp import NAME, Kms, refusal, running_kms, sdk
from tests.signers.web import http_server

DATA = b"header.claims"


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
def test_each_status_is_told_in_words(gcp: Kms, status: str, capfd: pytest.CaptureFixture[str]) -> None:
    signer = open_signer(gcp.uri, None)
    gcp.status = status
    for act in (lambda: open_signer(gcp.uri, None), lambda: signer.sign(DATA)):
        del gcp.calls[:]
        error = refusal(act)
        assert STATUSES[status] in str(error)
        assert f"({status})" in str(error)
        assert len(gcp.calls) == (2 if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else 1)
    assert capfd.readouterr() == ("", "")


def test_another_version_is_not_found(gcp: Kms) -> None:
    assert "does not exist" in str(refusal(lambda: open_signer(gcp.uri.replace("Versions/1", "Versions/2"), None)))


def test_a_slow_service_is_given_up_in_bounded_time(gcp: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = open_signer(gcp.uri, None)
    monkeypatch.setattr(gcpclient, "ANSWER_SECONDS", 0.2)
    gcp.delay = 0.4
    assert "(DEADLINE_EXCEEDED)" in str(refusal(lambda: signer.sign(DATA)))
    assert gcp.calls.count("AsymmetricSign") == 2


def test_a_server_that_is_down_is_told_and_one_that_comes_back_is_used(capfd: pytest.CaptureFixture[str]) -> None:
    with running_kms("Ed25519") as gcp:
        signer = open_signer(gcp.uri, None)
    assert "(UNAVAILABLE)" in str(refusal(lambda: signer.sign(DATA)))
    with ThreadPoolExecutor(1) as pool:
        signing = pool.submit(signer.sign, DATA)
        time.sleep(0.2)
        assert not signing.done()
        with running_kms("Ed25519", address=gcp.address) as again:
            assert signer.public_key.verify(signing.result(), DATA)
            assert again.calls == ["AsymmetricSign"]
    assert capfd.readouterr() == ("", "")


def test_no_proxy_stands_before_this_very_machine(gcp: Kms, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert open_signer(gcp.uri, None).public_key.spki == spki(gcp.key)


def test_what_answers_but_is_no_key_service(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    sdk()
    monkeypatch.setattr(gcpkms, "_PAUSE", 0.01)
    with http_server(200, {}) as port:
        refusal(lambda: open_signer(f"gcpkms://{NAME}?endpoint=127.0.0.1:{port}", None))
    assert capfd.readouterr() == ("", "")
