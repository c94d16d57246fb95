"""The full check, without I/O, against the bare signature verification and against two JOSE libraries."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey

from gate.deployment import Deployment
from gate.gate import Gate
from gate.keys import PublicKey
from gate.models import Stream
from gate.replay.memory import MemoryStore
from gate.tokens import decode
from gate.verification import judge
from scripts.benchmarks.measure import Row, Sizes, interleaved
from tests.world import World

SECTION = "check without I/O"
_TARGET = 1.25


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Both algorithms."""
    for alg in ("Ed25519", "ES256"):
        (folder / alg).mkdir(parents=True)
        world = World(folder / alg, alg=alg, now=int(time.time()))
        tokens = [world.token() for _ in range(sizes.calls)]
        subjects = {
            "full": _full(world, tokens),
            "bare": _bare(world, tokens),
            "gate": _gate(world, sizes.calls * (sizes.rounds + 1)),
            "pyjwt": _pyjwt(world, tokens),
            "joserfc": _joserfc(world, tokens),
        }
        taken = interleaved({name: _times(subject, sizes.calls) for name, subject in subjects.items()}, sizes.rounds)
        each = {name: seconds / sizes.calls * 1e6 for name, seconds in taken.items()}
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "bare signature", each["bare"], _TARGET)
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "PyJWT decode", each["pyjwt"], 1.0)
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "joserfc decode", each["joserfc"], 1.0)
        yield Row(SECTION, f"{alg}: Gate.check, stores in memory", each["gate"], "µs", "bare signature", each["bare"])


class _Subject(NamedTuple):
    """What is called, and with what, one after the other."""

    call: Callable[[Any], object]
    inputs: Iterator[Any]


def _times(subject: _Subject, calls: int) -> Callable[[], None]:
    def run() -> None:
        for value in islice(subject.inputs, calls):
            subject.call(value)

    return run


def _full(world: World, tokens: Sequence[str]) -> _Subject:
    """Every step that is a pure function."""
    policy, deployment, now = world.loaded().policy, world.deployment(), int(world.now)
    return _Subject(lambda token: judge([token], deployment, policy, now), cycle(tokens))


def _bare(world: World, tokens: Sequence[str]) -> _Subject:
    """What nobody can do without: the signature over these bytes, by a loaded key, in the form its library takes."""
    approvals = [decode(token) for token in tokens]
    key: Any = load_der_public_key(world.signer.public_key.spki)
    if world.alg == "Ed25519":
        pairs = [(approval.signature, approval.signing_input) for approval in approvals]
        return _Subject(lambda pair: key.verify(*pair), cycle(pairs))
    algorithm = ECDSA(SHA256())
    triples = [(_der(approval.signature), approval.signing_input, algorithm) for approval in approvals]
    return _Subject(lambda triple: key.verify(*triple), cycle(triples))


def _der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _gate(world: World, count: int) -> _Subject:
    """A whole decision, JTI and record included; each token works once, so there are `count` of them."""
    gate, deployment = world.gate(replay=MemoryStore(), audit=_MemoryLog()), world.deployment()
    return _Subject(lambda token: _allowed(gate, token, deployment), iter([world.token() for _ in range(count)]))


def _allowed(gate: Gate, token: str, deployment: Deployment) -> None:
    if not gate.check([token], deployment).allowed:
        raise SystemExit("bench: the gate denied what it must allow")


class _MemoryLog:
    """The part of an audit log that a decision needs, without a disk."""

    def __init__(self) -> None:
        self._records: dict[tuple[Stream, int], bytes] = {}

    def put(self, stream: Stream, seq: int, record: bytes) -> str:
        self._records[stream, seq] = record
        return self.uri(stream, seq)

    def get(self, stream: Stream, seq: int) -> bytes | None:
        return self._records.get((stream, seq))

    def uri(self, stream: Stream, seq: int) -> str:
        return f"memory:{stream.path}/{seq}"


def _pyjwt(world: World, tokens: Sequence[str]) -> _Subject:
    """PyJWT, which calls Ed25519 EdDSA, checks the signature, exp, iat and aud."""
    alg = {"Ed25519": "EdDSA", "ES256": "ES256"}[world.alg]
    key: Any = load_der_public_key(world.signer.public_key.spki)
    renamed = [_signed_as(alg, world, decode(token).claims) for token in tokens]
    return _Subject(lambda token: jwt.decode(token, key, algorithms=[alg], audience="deploy-gate"), cycle(renamed))


def _joserfc(world: World, tokens: Sequence[str]) -> _Subject:
    """joserfc checks the signature in decode, and exp, iat and aud in a registry of its own."""
    public, algorithms = pem(world.signer.public_key), [world.alg]
    key = OKPKey.import_key(public) if world.alg == "Ed25519" else ECKey.import_key(public)
    claims = joserfc_jwt.JWTClaimsRegistry(aud={"essential": True, "value": "deploy-gate"})
    return _Subject(
        lambda token: claims.validate(joserfc_jwt.decode(token, key, algorithms=algorithms).claims), cycle(tokens)
    )


def pem(key: PublicKey) -> bytes:
    """A public key as others read it."""
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(key.spki) + b"-----END PUBLIC KEY-----\n"


def _signed_as(alg: str, world: World, claims: Mapping[str, Any]) -> str:
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": alg, "typ": "JWT"}, claims)]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return f"{text}.{base64.urlsafe_b64encode(world.signer.sign(text.encode())).rstrip(b'=').decode()}"
