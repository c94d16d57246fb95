"""PKCS#11, against a real SoftHSM: the token, the key, the PIN, and what happens when the module restarts."""

import hashlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate.errors import GateError, SignerError, UsageError
from gate.installation import install_command
from gate.keys import ALGORITHMS, Algorithm
from gate.signers import create_key, open_signer
from gate.signers.ecpoint import CURVES
from tests.pages import ROOT, Shell, blocks
from tests.signers.places import Hsm, Place


def is_clean(error: GateError, *secrets: str) -> None:
    text = f"{error} {error.hint} {error.expected} {error.actual}"
    assert not any(secret in text for secret in (Hsm.pin, *secrets)), text
    assert error.__suppress_context__ or error.__context__ is None
    assert error.hint
    assert "\n" not in text


def refusal(action: Callable[[], object], *secrets: str) -> SignerError:
    with pytest.raises(SignerError) as caught:
        action()
    is_clean(caught.value, *secrets)
    return caught.value


def made(hsm: Hsm, alg: Algorithm = "ES256", token: str = "gate") -> Place:
    place = hsm.place(token)
    create_key(place.uri, None, alg, place.pin)
    return place


def label(place: Place) -> str:
    (found,) = re.findall(r"object=([\w-]+)", place.uri)
    return str(found)


def objects(session: Any, name: str) -> list[Any]:
    import pkcs11

    return list(session.get_objects({pkcs11.Attribute.LABEL: name}))


def pair(session: Any, name: str, *, curve: bytes = CURVES["ES256"], ids: bytes = b"\1", sign: bool = True) -> Any:
    """A pair made by other software than ours: its public and its private object."""
    import pkcs11

    flags = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY if sign else pkcs11.MechanismFlag.DERIVE
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True)
    return parameters.generate_keypair(label=name, id=ids, store=True, capabilities=flags)


# New keys


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_new_private_key_never_leaves_the_token(hsm: Hsm, alg: Algorithm) -> None:
    import pkcs11

    name = label(made(hsm, alg))
    (private,) = [found for found in objects(hsm.session(), name) if isinstance(found, pkcs11.PrivateKey)]
    attribute = pkcs11.Attribute
    for always in (attribute.SENSITIVE, attribute.ALWAYS_SENSITIVE, attribute.NEVER_EXTRACTABLE, attribute.PRIVATE):
        assert private[always] is True
    assert private[attribute.EXTRACTABLE] is False
    with pytest.raises(pkcs11.AttributeSensitive):
        private[attribute.VALUE]
    for weaker in ({attribute.EXTRACTABLE: True}, {attribute.SENSITIVE: False}):
        with pytest.raises(pkcs11.PKCS11Error):
            private.copy(weaker)
    wrapping = hsm.session().generate_key(pkcs11.KeyType.AES, 256)
    with pytest.raises(pkcs11.KeyUnextractable):
        wrapping.wrap_key(private, mechanism=pkcs11.Mechanism.AES_KEY_WRAP_PAD)


def test_a_new_key_never_takes_anothers_name(hsm: Hsm) -> None:
    place = made(hsm)
    before = place.open().public_key.spki
    assert "is there already" in str(refusal(lambda: create_key(place.uri, None, "Ed25519", place.pin)))
    assert place.open().public_key.spki == before


def test_a_new_key_needs_a_label(hsm: Hsm) -> None:
    with pytest.raises(UsageError, match="no label"):
        create_key(f"pkcs11:token=gate;id=%07?module-path={hsm.module}", None, "ES256", lambda: hsm.pin)


def test_a_new_key_takes_the_id_that_the_uri_gives(hsm: Hsm) -> None:
    place = hsm.place()
    create_key(place.uri.replace("?", ";id=%FF%00%7f?"), None, "ES256", place.pin)
    by_id = f"pkcs11:token=gate;id=%ff%00%7F?module-path={hsm.module}"
    assert open_signer(by_id, None, place.pin).public_key.spki == place.open().public_key.spki


# Finding the key


def test_two_keys_of_one_label_are_told_apart_by_id(hsm: Hsm) -> None:
    place, session = hsm.place(), hsm.session()
    for ids in (b"\1\2", b"\1\3"):
        pair(session, label(place), ids=ids)
    error = refusal(place.open)
    assert str(error) == "The PKCS#11 token gate holds 2 private keys of that name."
    keys = [open_signer(place.uri.replace("?", f";id=%01%0{n}?"), None, place.pin).public_key.spki for n in (2, 3)]
    assert len(set(keys)) == 2


def test_without_its_key_it_says_so(hsm: Hsm) -> None:
    assert str(refusal(hsm.place().open)) == "The PKCS#11 token gate holds no private key of that name."


def test_without_its_public_half_it_says_so(hsm: Hsm) -> None:
    place, session = hsm.place(), hsm.session()
    public, _ = pair(session, label(place))
    public.destroy()
    assert str(refusal(place.open)) == "The PKCS#11 token gate holds no public key of that name."


def test_a_key_of_another_kind_is_refused(hsm: Hsm) -> None:
    import pkcs11

    session = hsm.session()
    rsa, p384, mute = hsm.place(), hsm.place(), hsm.place()
    session.generate_keypair(pkcs11.KeyType.RSA, 2048, label=label(rsa), store=True)
    pair(session, label(p384), curve=bytes.fromhex("06052b81040022"))
    pair(session, label(mute), sign=False)
    for place in (rsa, p384):
        assert "is neither Ed25519 nor P-256" in str(refusal(place.open))
    assert "is not allowed to sign" in str(refusal(mute.open))


def test_a_public_key_that_is_not_the_private_ones_is_noticed(hsm: Hsm) -> None:
    place, session = hsm.place(), hsm.session()
    public, _ = pair(session, label(place), ids=b"\1")
    other_public, other_private = pair(session, label(place), ids=b"\2")
    public.destroy()
    other_private.destroy()
    signer = place.open()
    assert "is not its public key's" in str(refusal(lambda: signer.sign(b"data")))
    assert other_public


# Finding the token and the module


def test_a_token_is_found_by_each_of_its_attributes(hsm: Hsm) -> None:
    place = made(hsm)
    (token,) = [token for token in hsm.library().get_tokens() if token.label == "gate"]
    for found in (f"serial={token.serial.decode()}", "token=gate;manufacturer=SoftHSM%20project;model=SoftHSM%20v2"):
        uri = place.uri.replace("token=gate", found).replace(";object", ";type=private;object")
        assert open_signer(uri, None, place.pin).public_key.spki == place.open().public_key.spki


@pytest.mark.parametrize(("token", "words"), [("nobody", "is not there"), ("twin", "is there 2 times")])
def test_a_token_that_is_not_exactly_one_is_refused(hsm: Hsm, token: str, words: str) -> None:
    error = refusal(hsm.place(token).open)
    assert str(error) == f"The PKCS#11 token {token} {words}."
    assert "gate" in error.actual


def test_a_module_that_is_none_is_refused(hsm: Hsm, tmp_path: Path) -> None:
    (tmp_path / "module.so").write_text("not a library")
    for module, words in ((tmp_path / "no.so", "there is no such"), (tmp_path / "module.so", "can't be loaded")):
        uri = hsm.place().uri.replace(str(hsm.module), str(module))
        assert words in str(refusal(lambda uri=uri: open_signer(uri, None, lambda: hsm.pin)))


def test_without_the_library_the_install_line_is_told(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(UsageError) as caught:
        hsm.place().open()
    assert caught.value.hint == install_command("pkcs11")


# The PIN


def test_a_wrong_pin_is_tried_once(hsm: Hsm) -> None:
    place, tries = made(hsm, token="moody"), []

    def wrong() -> str:
        tries.append(1)
        return "no such pin"

    hsm.library().finalize()  # nobody is logged in any more
    error = refusal(place._replace(pin=wrong).open, "no such pin")
    assert str(error) == "The PKCS#11 token moody refuses the PIN (PinIncorrect)."
    assert tries == [1]


def test_a_pin_that_changed_is_tried_once(hsm: Hsm) -> None:
    place, tries = made(hsm, token="moody"), []

    def pin() -> str:
        tries.append(1)
        return hsm.pin

    signer = place._replace(pin=pin).open()
    session = hsm.session("moody")
    session.set_pin(hsm.pin, "another pin")
    hsm.library().finalize()
    try:
        assert "refuses the PIN" in str(refusal(lambda: signer.sign(b"data")))
        assert "refused the PIN before" in str(refusal(lambda: signer.sign(b"data")))
        assert len(tries) == 2
    finally:
        (token,) = [token for token in hsm.library().get_tokens() if token.label == "moody"]
        token.open(rw=True, user_pin="another pin").set_pin("another pin", hsm.pin)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_pin_from_a_file(hsm: Hsm, tmp_path: Path, end: str) -> None:
    place = made(hsm)
    (tmp_path / "the pin").write_bytes(f"{hsm.pin}{end}".encode())
    (tmp_path / "the pin").chmod(0o600)
    hsm.library().finalize()
    for source in ("the%20pin", f"{tmp_path}/the%20pin", f"//{tmp_path}/the%20pin"):
        signer = open_signer(f"{place.uri}&pin-source=file:{source}", tmp_path)
        assert signer.public_key.verify(signer.sign(b"data"), b"data")


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"topsecret", 0o644, "others may read or write this PIN"),
        (b"topsecret", 0o620, "others may read or write this PIN"),
        (b"", 0o600, "needs a PIN"),
        (b"\n", 0o600, "needs a PIN"),
        (b"\xfftopsecret", 0o600, "holds no PIN in UTF-8"),
        (None, 0, "can't be read (No such file or directory)"),
    ],
)
def test_a_pin_file_that_will_not_do(hsm: Hsm, tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    if content is not None:
        (tmp_path / "pin").write_bytes(content)
        (tmp_path / "pin").chmod(mode)
    uri = hsm.uri("any", pin_source="file:pin")
    assert words in str(refusal(lambda: open_signer(uri, tmp_path, lambda: "not asked"), "topsecret"))
    with pytest.raises(UsageError, match="is relative"):
        open_signer(uri, None)


def test_without_a_pin_it_says_how_to_give_one(hsm: Hsm) -> None:
    error = refusal(hsm.place()._replace(pin=None).open)
    assert "GATE_PKCS11_PIN" in error.hint


# Restarts


def _finalize(hsm: Hsm) -> None:
    hsm.library().finalize()


def _reinitialize(hsm: Hsm) -> None:
    hsm.library().reinitialize()


def _log_out(hsm: Hsm) -> None:
    (token,) = [token for token in hsm.library().get_tokens() if token.label == "gate"]
    hsm.library().reinitialize()
    token.open(user_pin=hsm.pin).close()


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("restart", [_finalize, _reinitialize, _log_out])
def test_it_outlives_a_restart_of_the_module(hsm: Hsm, alg: Algorithm, restart: Callable[[Hsm], None]) -> None:
    place = made(hsm, alg)
    first, second = place.open(), place.open()
    for _ in range(2):
        restart(hsm)
        for signer in (first, second):
            assert signer.public_key.verify(signer.sign(b"data"), b"data")


def test_a_key_that_is_gone_after_a_restart_is_an_error(hsm: Hsm) -> None:
    place = made(hsm)
    signer = place.open()
    for found in objects(hsm.session(), label(place)):
        found.destroy()
    hsm.library().reinitialize()
    assert "holds no private key" in str(refusal(lambda: signer.sign(b"data")))


def test_a_key_that_was_exchanged_is_never_signed_with(hsm: Hsm) -> None:
    place = made(hsm)
    signer = place.open()
    before = signer.public_key
    for found in objects(hsm.session(), label(place)):
        found.destroy()
    create_key(place.uri, None, "ES256", place.pin)
    hsm.library().reinitialize()
    assert "is another one since its token was restarted" in str(refusal(lambda: signer.sign(b"data")))
    assert signer.public_key is before


def test_a_key_that_fails_again_after_a_new_session_says_why(hsm: Hsm) -> None:
    import pkcs11
    from pkcs11.attributes import AttributeMapper

    place, mapper, allowed = hsm.place(), AttributeMapper(), pkcs11.Attribute.ALLOWED_MECHANISMS
    mapper.register_handler(allowed, lambda mechanism: mechanism.to_bytes(8, sys.byteorder), bytes)
    parameters = hsm.session(attribute_mapper=mapper).create_domain_parameters(
        pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: CURVES["ES256"]}, local=True
    )
    parameters.generate_keypair(
        label=label(place),
        store=True,
        capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
        private_template={allowed: pkcs11.Mechanism.EDDSA},
    )
    signer = place.open()
    assert "can't do what this key needs (MechanismInvalid)" in str(refusal(lambda: signer.sign(b"data")))


FORKED = """
import os, sys
from gate.signers import open_signer
signer = open_signer(sys.argv[1], None, lambda: sys.argv[2])
assert signer.sign(b"before")
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert signer.public_key.verify(signer.sign(b"data"), b"data")
print("signed", flush=True)
os._exit(0)
"""


def test_a_fork_of_the_process_signs_too(hsm: Hsm) -> None:
    place = made(hsm)
    configuration = hsm.configured("forks.conf", "library.reset_on_fork = true")
    assert _python(FORKED, place.uri, hsm.pin, SOFTHSM2_CONF=str(configuration)) == (0, "signed\n", "")


# Other modules than this one


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("show", "can't sign with Ed25519: it has no mechanism CKM_EDDSA"),
        ("new", "can't make an Ed25519 key: it has no mechanism CKM_EC_EDWARDS_KEY_PAIR_GEN"),
    ],
)
def test_a_token_that_lacks_a_mechanism_says_so(hsm: Hsm, verb: str, words: str) -> None:
    place = made(hsm, "Ed25519") if verb == "show" else hsm.place()
    configuration = hsm.configured("poor.conf", "slots.mechanisms = CKM_ECDSA,CKM_EC_KEY_PAIR_GEN")
    environment = {"GATE_PKCS11_PIN": hsm.pin, "SOFTHSM2_CONF": str(configuration)}
    code, _, complaint = _gate("keys", verb, place.uri, **environment)
    assert code == 2
    assert f"The PKCS#11 token gate {words}." in complaint
    assert "--alg ES256" in complaint
    assert _gate("keys", "new", hsm.place().uri, "--alg", "ES256", **environment)[0] == 0


def test_a_module_that_does_not_start_says_so(hsm: Hsm, tmp_path: Path) -> None:
    code, _, complaint = _gate("keys", "show", hsm.uri("x"), GATE_PKCS11_PIN="1234", SOFTHSM2_CONF=str(tmp_path / "no"))
    assert code == 2
    assert "can't be loaded as a PKCS#11 module, or does not start" in complaint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PinLocked", "is locked, after too many wrong PINs"),
        ("PinExpired", "wants a new PIN"),
        ("DeviceRemoved", "is not there any more"),
        ("DeviceMemory", "is full"),
        ("TokenWriteProtected", "can't be written to"),
        ("TemplateInconsistent", "makes no such keys"),
        ("GeneralError", "failed"),
    ],
)
def test_what_softhsm_never_answers_has_its_words_too(hsm: Hsm, name: str, words: str) -> None:
    import pkcs11

    from gate.signers.pkcs11token import Token, parse_key_uri
    from gate.uris import parse_uri

    token = Token(parse_key_uri(parse_uri(hsm.uri("any"))), lambda: hsm.pin)
    error = refusal(lambda: token.fail(getattr(pkcs11, name)()))
    assert str(error) == f"The PKCS#11 token gate {words} ({name})." or words in str(error)


# The commands


def _gate(*arguments: str, **environment: str) -> tuple[int, str, str]:
    return _run([sys.executable, "-m", "gate", *arguments], environment)


def _python(program: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    return _run([sys.executable, "-c", program, *arguments], environment)


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
        timeout=60,
        start_new_session=True,  # without a terminal
    )
    return done.returncode, done.stdout, done.stderr


def test_the_pin_comes_from_the_environment(hsm: Hsm) -> None:
    uri = hsm.place().uri
    code, entry, complaint = _gate("keys", "new", uri, "--alg", "ES256", GATE_PKCS11_PIN=hsm.pin)
    assert (code, complaint) == (0, "")
    assert "alg: ES256" in entry
    assert _gate("keys", "show", uri, GATE_PKCS11_PIN=hsm.pin) == (0, entry, "")
    code, _, complaint = _gate("keys", "show", uri, GATE_PKCS11_PIN="no such pin")
    assert code == 2
    assert "refuses the PIN" in complaint
    assert "no such pin" not in complaint


def test_the_pin_is_asked_for_on_a_terminal_and_not_shown(hsm: Hsm) -> None:
    place = made(hsm)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gate", "keys", "show", place.uri],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        os.close(theirs)
        assert process.stderr
        assert process.stdout
        prompt = process.stderr.read(len("PIN of the token: "))
        terminal.write(f"{hsm.pin}\n".encode())
        entry, complaint = process.stdout.read(), process.stderr.read()
    assert (process.returncode, prompt, complaint.strip()) == (0, b"PIN of the token: ", b"")
    assert entry.startswith(b"  - kid: ")
    assert hsm.pin.encode() not in entry


def test_without_a_terminal_the_pin_is_not_asked_for(hsm: Hsm) -> None:
    code, printed, complaint = _gate("keys", "show", hsm.uri("any"))
    assert (code, printed) == (2, "")
    assert "GATE_PKCS11_PIN" in complaint


def test_the_commands_of_the_documentation_work(hsm: Hsm, tmp_path: Path) -> None:
    (block,) = [block for block in blocks(ROOT / "docs/keys.md") if "softhsm2-util" in block.text]
    code, printed = Shell(tmp_path, {}).run(block.text.replace("/usr/lib/softhsm/libsofthsm2.so", str(hsm.module)))
    assert code == 0, printed
    assert "alg: ES256" in printed
    assert re.search(r"^eyJ[\w.-]+$", printed, re.M)


def test_the_signature_is_over_a_hash_that_is_made_here(hsm: Hsm) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    signer = made(hsm).open()
    raw = signer.sign(b"data")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key = load_der_public_key(signer.public_key.spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    prehashed = ec.ECDSA(utils.Prehashed(SHA256()))
    key.verify(utils.encode_dss_signature(r, s), hashlib.sha256(b"data").digest(), prehashed)
