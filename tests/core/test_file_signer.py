"""The file signer: which key files it takes, and how it writes new ones."""

import os
import resource
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gate.errors import SignerError, UsageError
from gate.keys import ALGORITHMS, Algorithm, PublicKey
from gate.signers import create_key, open_signer
from tests.core.mint import ED25519, ES256, KEYS, spki


def pem(key: Any, format_: PrivateFormat = PrivateFormat.PKCS8, password: bytes = b"") -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, format_, protection)
    return data


def written(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "key.pem"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refusal(folder: Path, uri: str = "file:key.pem") -> SignerError:
    with pytest.raises(SignerError) as caught:
        open_signer(uri, folder)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("alg", KEYS)
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_it_signs_with_a_private_key_of_its_owner_alone(tmp_path: Path, alg: str, mode: int) -> None:
    written(tmp_path, pem(KEYS[alg]), mode)
    signer = open_signer("file:key.pem", tmp_path)
    assert signer.public_key.spki == spki(KEYS[alg])
    assert signer.public_key.alg == alg
    for number in range(20):  # an ECDSA number is short now and then
        assert PublicKey(spki(KEYS[alg])).verify(signer.sign(b"%d" % number), b"%d" % number)


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o666, 0o604, 0o620, 0o601, 0o777], ids=oct)
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, pem(ED25519), mode)
    error = refusal(tmp_path)
    assert error.actual == f"mode {mode:04o}"
    assert f"chmod 600 {path}" in error.hint


def test_a_symlink_is_as_good_as_what_it_points_to(tmp_path: Path) -> None:
    path = written(tmp_path, pem(ED25519))
    (tmp_path / "link").symlink_to(path)
    assert open_signer("file:link", tmp_path).public_key.spki == spki(ED25519)
    path.chmod(0o644)
    assert "others may read" in str(refusal(tmp_path, "file:link"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    assert "directory" in str(refusal(tmp_path, "file:folder")).lower()
    assert "is not a file" in str(refusal(tmp_path, "file:///dev/zero"))
    assert "No such file" in str(refusal(tmp_path, "file:nowhere"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in str(refusal(tmp_path, "file:loop"))
    assert "too long" in str(refusal(tmp_path, f"file:{'x' * 300}"))


@pytest.mark.timeout(10)
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "is not a file" in str(refusal(tmp_path, "file:fifo"))


def test_nothing_stays_open_after_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    written(tmp_path, b"garbage")
    before = os.dup(0)
    for _ in range(5):
        refusal(tmp_path)
        refusal(tmp_path, "file:folder")
    after = os.dup(0)
    os.close(before)
    os.close(after)
    assert after == before + 1


UNUSABLE = {
    "empty": b"",
    "garbage": b"\x00\xff" * 100,
    "text": b"not a key\n",
    "cut short": pem(ED25519)[:-40],
    "header alone": b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    "a public key": ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "der": ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "openssh": pem(ED25519, PrivateFormat.OpenSSH),
    "with a password": pem(ED25519, password=b"secret"),
    "old style with a password": pem(ES256, PrivateFormat.TraditionalOpenSSL, b"secret"),
    "huge": b"x" * 50_000_000,
    "a key after much else": b"\n" * 20_000 + pem(ED25519),
}
OTHER_KEYS = {
    "rsa": pem(rsa.generate_private_key(65537, 2048)),
    "p-384": pem(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": pem(ec.generate_private_key(ec.SECP256K1())),
    "ed448": pem(ed448.Ed448PrivateKey.generate()),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in UNUSABLE.items()])
def test_what_is_no_private_key_in_pem_is_refused(tmp_path: Path, data: bytes) -> None:
    written(tmp_path, data)
    assert "holds no private key" in str(refusal(tmp_path))


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in OTHER_KEYS.items()])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, data: bytes) -> None:
    written(tmp_path, data)
    assert "neither Ed25519 nor P-256" in str(refusal(tmp_path))


def test_no_refusal_repeats_what_is_in_the_file(tmp_path: Path) -> None:
    written(tmp_path, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    error = refusal(tmp_path)
    assert "c2VjcmV0" not in f"{error} {error.hint} {error.expected} {error.actual}"
    assert error.__suppress_context__


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_a_new_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path, alg: Algorithm, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = create_key("file:key.pem", tmp_path, alg)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert made.public_key.alg == alg
    assert open_signer("file:key.pem", tmp_path).public_key.spki == made.public_key.spki


def test_a_new_key_makes_its_folder_private(tmp_path: Path) -> None:
    create_key("file:a/b/key.pem", tmp_path, "Ed25519")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_new_key_never_overwrites(tmp_path: Path) -> None:
    for name in ("file", "folder/x", "dangling"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "dangling"):
        with pytest.raises(SignerError, match="is there already"):
            create_key(f"file:{name}", tmp_path, "Ed25519")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_new_key_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SignerError, match="can't be written"):
        create_key("file:file/key.pem", tmp_path, "Ed25519")
    assert (tmp_path / "file").exists()


def test_a_new_key_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        with pytest.raises(SignerError, match="can't be written"):
            create_key("file:key.pem", tmp_path, "Ed25519")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "key.pem").exists()


def test_two_new_keys_are_two(tmp_path: Path) -> None:
    first, second = (create_key(f"file:{name}", tmp_path, "Ed25519") for name in "ab")
    assert first.public_key.spki != second.public_key.spki


@pytest.mark.parametrize("uri", ["file:", "file:key?x=1", "file://host/key", "key.pem", "awskms:///alias/x"])
def test_a_uri_of_no_key_file_is_misuse(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UsageError):
        open_signer(uri, tmp_path)
