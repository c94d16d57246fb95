"""The full check, without I/O, against the bare signature verification and against two JOSE libraries."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey

from gate.gate import Gate
from gate.keys import PublicKey
from gate.models import Stream
from gate.replay.memory import MemoryStore
from gate.tokens import decode
from gate.verification import check_age, verify
from scripts.benchmarks.measure import Row, Sizes, interleaved
from tests.world import World

SECTION = "check without I/O"
_TARGET = 1.25


def rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Both algorithms."""
    for alg in ("Ed25519", "ES256"):
        (folder / alg).mkdir(parents=True)
        world = World(folder / alg, alg=alg, now=int(time.time()))
        subjects = {
            "full": _full(world, sizes),
            "bare": _bare(world),
            "gate": _gate(world, sizes),
            "pyjwt": _pyjwt(world),
            "joserfc": _joserfc(world),
        }
        taken = interleaved({name: _times(call, sizes.calls) for name, call in subjects.items()}, sizes.rounds)
        each = {name: seconds / sizes.calls * 1e6 for name, seconds in taken.items()}
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "bare signature", each["bare"], _TARGET)
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "PyJWT decode", each["pyjwt"], 1.0)
        yield Row(SECTION, f"{alg}: full check", each["full"], "µs", "joserfc decode", each["joserfc"], 1.0)
        yield Row(SECTION, f"{alg}: Gate.check, stores in memory", each["gate"], "µs", "bare signature", each["bare"])


def _times(call: Callable[[], object], calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            call()

    return run


def _full(world: World, sizes: Sizes) -> Callable[[], object]:
    """Every step that is a pure function, on one token after the other."""
    policy, deployment, now = world.loaded().policy, world.deployment(), int(world.now)
    environment = policy.environments[deployment.environment]
    tokens = cycle([world.token() for _ in range(sizes.calls)])
    return lambda: check_age(verify([next(tokens)], deployment, policy, now), environment)


def _bare(world: World) -> Callable[[], object]:
    """What nobody can do without: one signature by a key that is loaded, in the form its library takes."""
    approval = decode(world.token())
    key: Any = load_der_public_key(world.signer.public_key.spki)
    if world.alg == "Ed25519":
        return lambda: key.verify(approval.signature, approval.signing_input)
    r, s = (int.from_bytes(half, "big") for half in (approval.signature[:32], approval.signature[32:]))
    signature, algorithm = encode_dss_signature(r, s), ECDSA(SHA256())
    return lambda: key.verify(signature, approval.signing_input, algorithm)


def _gate(world: World, sizes: Sizes) -> Callable[[], object]:
    """A whole decision, JTI and record included; each token works once, so there are enough of them."""
    gate, deployment = world.gate(replay=MemoryStore(), audit=_MemoryLog()), world.deployment()
    tokens = iter([world.token() for _ in range(sizes.calls * (sizes.rounds + 1))])
    return lambda: _allowed(gate, next(tokens), deployment)


def _allowed(gate: Gate, token: str, deployment: Any) -> None:
    if not gate.check([token], deployment).allowed:
        raise SystemExit("bench: the gate denied what it must allow")


class _MemoryLog:
    """The part of an audit log that a decision needs, without a disk."""

    def __init__(self) -> None:
        self._records: dict[tuple[Stream, int], bytes] = {}

    def put(self, stream: Stream, seq: int, record: bytes) -> str:
        self._records[stream, seq] = record
        return self.uri(stream, seq)

    def uri(self, stream: Stream, seq: int) -> str:
        return f"memory:{stream.path}/{seq}"


def _pyjwt(world: World) -> Callable[[], object]:
    """PyJWT, which calls Ed25519 EdDSA, checks the signature, exp, iat and aud."""
    approval, alg = decode(world.token()), {"Ed25519": "EdDSA", "ES256": "ES256"}[world.alg]
    token = _resigned(world, alg, approval.claims)
    key: Any = load_der_public_key(world.signer.public_key.spki)
    return lambda: jwt.decode(token, key, algorithms=[alg], audience="deploy-gate")


def _joserfc(world: World) -> Callable[[], object]:
    """joserfc checks the signature in decode, and exp, iat and aud in a registry of its own."""
    token = world.token()
    public = pem(world.signer.public_key)
    key = OKPKey.import_key(public) if world.alg == "Ed25519" else ECKey.import_key(public)
    registry = joserfc_jwt.JWTClaimsRegistry(aud={"essential": True, "value": "deploy-gate"})
    return lambda: registry.validate(joserfc_jwt.decode(token, key, algorithms=[world.alg]).claims)


def pem(key: PublicKey) -> bytes:
    """A public key as others read it."""
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(key.spki) + b"-----END PUBLIC KEY-----\n"


def _resigned(world: World, alg: str, claims: Any) -> str:
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": alg, "typ": "JWT"}, claims)]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return f"{text}.{base64.urlsafe_b64encode(world.signer.sign(text.encode())).rstrip(b'=').decode()}"
