"""What a signature takes, wherever its key lies: in a file, in a SoftHSM, in the stand-in for AWS KMS."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gate.keys import ALGORITHMS, Algorithm
from gate.signers import create_key
from scripts.benchmarks.measure import Row, Sizes, at_hand, interleaved
from tests.parts import Aws
from tests.signers.places import Hsm, KmsKeys, Place, softhsm_module

SECTION = "signers"
_DATA = b"." * 600  # as long as what an approval signs
_SDK: dict[Algorithm, dict[str, Any]] = {
    "Ed25519": {"Message": _DATA, "MessageType": "RAW", "SigningAlgorithm": "ED25519_SHA_512"},
    "ES256": {"Message": bytes(32), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"},
}


def rows(folder: Path, sizes: Sizes, aws: Aws) -> Iterator[Row]:
    """Both algorithms: one signature after the other, by a signer that is open."""
    folder.mkdir()
    hsm = _softhsm(folder / "softhsm")
    for alg in ALGORITHMS:
        key_id = KmsKeys(aws).new(alg)["KeyId"]
        signers = {"file": _file(folder, alg), "awskms": _sign(Place(KmsKeys(aws).uri(key_id)))}
        if hsm:
            signers["pkcs11 (SoftHSM)"] = _sign(_pair(hsm, alg))
        yield from _rows(alg, signers, _sdk(aws, key_id, alg), sizes)


def _rows(
    alg: Algorithm, signers: dict[str, Callable[[], object]], sdk: Callable[[], object], sizes: Sizes
) -> Iterator[Row]:
    subjects = {name: _several(sign, sizes.signatures) for name, sign in {**signers, "sdk": sdk}.items()}
    taken = interleaved(subjects, sizes.rounds)
    ms = {name: seconds / sizes.signatures * 1e3 for name, seconds in taken.items()}
    for name in signers:
        baseline = {"file": ("", 0.0), "awskms": ("the SDK's bare call", ms["sdk"])}.get(name, ("file", ms["file"]))
        yield Row(SECTION, f"{alg}, {name}: a signature", ms[name], "ms", *baseline)
        yield Row(SECTION, f"{alg}, {name}: signatures", 1e3 / ms[name], "/s")


def _several(sign: Callable[[], object], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            sign()

    return run


def _sign(place: Place) -> Callable[[], object]:
    signer = place.open()
    return lambda: signer.sign(_DATA)


def _file(folder: Path, alg: Algorithm) -> Callable[[], object]:
    create_key(f"file:{alg}.pem", folder, alg)
    return _sign(Place(f"file:{alg}.pem", folder))


def _pair(hsm: Hsm, alg: Algorithm) -> Place:
    place = hsm.place()
    create_key(place.uri, None, alg, place.pin)
    return place


def _sdk(aws: Aws, key_id: str, alg: Algorithm) -> Callable[[], object]:
    """The one call that nobody can do without; the gate also checks the signature that it gets."""
    client = aws.client("kms")
    return lambda: client.sign(KeyId=key_id, **_SDK[alg])


def _softhsm(folder: Path) -> Hsm | None:
    module = softhsm_module()
    if not at_hand("SoftHSM, or no python-pkcs11", module, find_spec("pkcs11")) or module is None:
        return None
    folder.mkdir()
    hsm = Hsm(module, folder)
    os.environ["SOFTHSM2_CONF"] = str(hsm.configuration)  # the module reads it when it is loaded
    hsm.add_token("gate")
    return hsm
