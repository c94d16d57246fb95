"""Every scheme of signers with keys of every algorithm, so that one contract is tested over all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from gate.keys import ALGORITHMS, Algorithm
from gate.signers import create_key
from tests.parts import Aws, need
from tests.signers.gcp import Kms, running_kms
from tests.signers.places import Hsm, KmsKeys, Place, softhsm_module


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hsm]:
    """A SoftHSM of this process, with the tokens `gate`, `moody` and, twice, `twin`."""
    module = softhsm_module()
    need(find_spec("pkcs11") is not None, "python-pkcs11 (pip install python-pkcs11)")
    need(module is not None, "SoftHSM (apt install softhsm2)")
    assert module
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GATE_PKCS11_PIN", raising=False)
        server = Hsm(module, tmp_path_factory.mktemp("softhsm"))
        patch.setenv("SOFTHSM2_CONF", str(server.configuration))
        for token in ("gate", "moody", "twin", "twin"):
            server.add_token(token)
        yield server


@pytest.fixture(scope="session")
def kms(aws: Aws) -> KmsKeys:
    """A KMS to make keys in."""
    return KmsKeys(aws)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between the SDK's tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


Maker = Callable[[Algorithm], Place]


@pytest.fixture
def file(tmp_path: Path) -> Maker:
    def make(alg: Algorithm) -> Place:
        create_key("file:key.pem", tmp_path, alg)
        return Place("file:key.pem", tmp_path)

    return make


@pytest.fixture
def awskms(kms: KmsKeys) -> Maker:
    return lambda alg: Place(kms.uri(kms.new(alg)["KeyId"]))


@pytest.fixture
def pkcs11(hsm: Hsm) -> Maker:
    def make(alg: Algorithm) -> Place:
        place = hsm.place()
        create_key(place.uri, None, alg, place.pin)
        return place

    return make


@pytest.fixture
def gcpkms() -> Iterator[Maker]:
    with ExitStack() as servers:
        yield lambda alg: Place(servers.enter_context(running_kms(alg)).uri)


@pytest.fixture(params=ALGORITHMS)
def gcp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    """A Google Cloud KMS with a key of each algorithm, and signers that do not wait long before they ask again."""
    monkeypatch.setattr("gate.signers.gcpkms._PAUSE", 0.01)
    with running_kms(request.param) as server:
        yield server


_SCHEMES = ("file", "awskms", "pkcs11", "gcpkms")


@pytest.fixture(params=[(scheme, alg) for scheme in _SCHEMES for alg in ("Ed25519", "ES256")],
                ids="-".join)  # fmt: skip
def place(request: pytest.FixtureRequest) -> Place:
    """A key of each algorithm, where each scheme keeps it."""
    scheme, alg = request.param
    make: Maker = request.getfixturevalue(scheme)
    made = make(alg)
    return made._replace(alg=alg)
