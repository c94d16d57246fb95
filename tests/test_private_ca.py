"""A server whose certificate a private authority issued: named as such, not asked again, and believed where a reviewed
place names that authority, whatever variables say."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gate import aws
from gate.audit import open_audit_log
from gate.authorities import distrust
from gate.bot.notices import Undelivered
from gate.bot.notices.slack import Slack
from gate.bot.secret import Secret
from gate.deployment import Deployment
from gate.errors import AuditUnavailable, BotUnavailable, GateError, UsageError
from gate.forge import Unattributed
from gate.forge.api import Api
from gate.forge.github import GitHub
from gate.forge.rest import Refused, Rest
from gate.models import Stream
from gate.replay import open_replay_store
from gate.requester import Requester, github_id_token
from gate.signers import open_signer
from gate.wiring import load_policy
from tests.bot.news import notice
from tests.ci import fakebot
from tests.ci.fakebot import API_TOKEN, REQUEST_TOKEN, FakeBot
from tests.ci.test_asking import ABOUT, CREDENTIAL, approves
from tests.forge.api import TOKEN, Forge, serving, sha
from tests.parts import Aws
from tests.replay.material import use
from tests.test_cli import gate
from tests.tlsfront import Front, over_tls
from tests.world import SHA, World

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "*"}
NAMED = "shows a certificate that is not trusted here (unable to get local issuer certificate)"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def front(aws: Aws, tmp_path: Path) -> Iterator[Front]:
    """AWS behind a private certificate."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    with over_tls(urlsplit(aws.endpoint).port or 80, folder) as front:
        yield front


def dynamodb(aws: Aws, options: str) -> Any:
    return open_replay_store(f"dynamodb://{aws.table()}?{options}", None).consume([use("jti-1", "mine")])


def s3(aws: Aws, options: str) -> Any:
    return open_audit_log(f"s3://{aws.bucket()}/x?{options}", None).put(Stream("acme/shop", "production"), 1, b"{}")


def policy_in_s3(aws: Aws, options: str) -> Any:
    bucket = aws.bucket()
    aws.client("s3").put_object(Bucket=bucket, Key="gate.yaml", Body=b"version: 9\n")
    try:
        return load_policy(f"s3://{bucket}/gate.yaml?{options}")
    except GateError as error:
        if "version 9" not in error.message:
            raise


def kms(aws: Aws, options: str) -> Any:
    key = aws.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    return open_signer(f"awskms:///{key}?{options}", None).public_key


CALLS = [dynamodb, s3, policy_in_s3, kms]


class TestAws:
    @pytest.mark.parametrize("call", CALLS)
    def test_it_is_named_and_not_asked_again(self, aws: Aws, front: Front, call: Callable[[Aws, str], Any]) -> None:
        with pytest.raises(GateError) as caught:
            call(aws, f"region={aws.region}&endpoint={front.url}")
        assert NAMED in caught.value.message
        assert "private authority" in caught.value.hint
        assert front.tries == 1

    @pytest.mark.parametrize("call", CALLS)
    def test_its_authority_is_named_in_the_uri(
        self, aws: Aws, front: Front, call: Callable[[Aws, str], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(front.other))
        call(aws, f"region={aws.region}&endpoint={front.url}&ca={front.ca}")

    @pytest.mark.parametrize("call", CALLS)
    def test_no_variable_goes_before_it(
        self, aws: Aws, front: Front, call: Callable[[Aws, str], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(front.ca))
        with pytest.raises(GateError, match="is not trusted here"):
            call(aws, f"region={aws.region}&endpoint={front.url}&ca={front.other}")

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize(("text", "why"), [(None, "No such file"), ("x", "not PEM"), ("", "not PEM")])
    def test_a_file_that_is_none(
        self, aws: Aws, tmp_path: Path, call: Callable[[Aws, str], Any], text: str | None, why: str
    ) -> None:
        if text is not None:
            (tmp_path / "ca.pem").write_text(text)
        with pytest.raises(GateError, match=f"The CA file .* can't be read \\({why}"):
            call(aws, f"region={aws.region}&endpoint={aws.endpoint}&ca={tmp_path}/ca.pem")


class TestPolicy:
    @pytest.fixture
    def world(self, aws: Aws, front: Front, tmp_path: Path) -> World:
        options = f"region={aws.region}&endpoint={front.url}"
        replay, audit = f"dynamodb://{aws.table()}?{options}", f"s3://{aws.bucket()}/prod?{options}"
        return World(tmp_path, replay=replay, audit=audit, now=time.time())

    @pytest.mark.parametrize("written", ["certificates/ca.pem", "{front.ca}"], ids=["relative", "absolute"])
    def test_its_ca_is_that_of_its_stores(self, world: World, front: Front, written: str) -> None:
        world.path.write_text(world.text + f"ca: {written.format(front=front)}\n")
        decided = gate(world.folder, "verify", *ABOUT, "--approval", self.token(world), env=CREDENTIALS)
        assert decided.returncode == 0, decided.stdout

    def test_an_option_goes_before_it(self, world: World, front: Front) -> None:
        world.path.write_text(world.text + f"ca: {front.other}\n")
        verify = ["verify", *ABOUT, "--approval", self.token(world), "--ca-file", str(front.ca)]
        assert gate(world.folder, *verify, env=CREDENTIALS).returncode == 0
        with pytest.raises(AuditUnavailable, match="is not trusted here"):
            load_policy(str(world.path)).audit_log().get(Stream("acme/shop", "production"), 1)

    def test_a_uris_own_goes_before_both(self, aws: Aws, front: Front, world: World) -> None:
        world.audit += f"&ca={front.ca}"
        world.path.write_text(world.text + f"ca: {front.other}\n")
        log = load_policy(str(world.path), ca_file=front.other).audit_log()
        assert log.get(Stream("acme/shop", "production"), 1) is None

    def token(self, world: World) -> str:
        return world.token(sha=ABOUT[3])


class TestDeployBot:
    @pytest.fixture
    def bot(self) -> Iterator[FakeBot]:
        with fakebot.running_bot() as bot:
            yield bot

    @pytest.fixture
    def front(self, bot: FakeBot, tmp_path: Path) -> Iterator[Front]:
        folder = tmp_path / "certificates"
        folder.mkdir()
        with over_tls(urlsplit(bot.url).port or 80, folder) as front:
            bot.url = front.url
            yield front

    @pytest.mark.parametrize("who", ["the bot", "GitHub's token service"])
    def test_it_is_named_and_not_asked_again(self, front: Front, who: str) -> None:
        def never(_: float) -> None:
            raise AssertionError

        with pytest.raises(BotUnavailable) as caught:
            if who == "the bot":
                Requester(front.url, API_TOKEN, sleep=never).ask(Deployment("acme/shop", SHA, "production"))
            else:
                github_id_token(f"{front.url}/github-id-token?", REQUEST_TOKEN, front.url, sleep=never)
        assert NAMED in caught.value.message
        assert "private authority" in caught.value.hint
        assert front.tries == 1

    @pytest.mark.parametrize("named_by", ["--ca-file", "policy"])
    def test_its_authority_is_named_by_the_option_or_the_policy(
        self, bot: FakeBot, front: Front, tmp_path: Path, named_by: str
    ) -> None:
        world = World(tmp_path, now=time.time())
        bot.on_ask = approves(world, "alice@example.com")
        option = ["--ca-file", str(front.ca)] if named_by == "--ca-file" else []
        if named_by == "policy":
            world.path.write_text(world.text + f"ca: {front.ca}\n")
        # What an earlier step left has no say.
        environ = {**CREDENTIAL, "NO_PROXY": "*", "REQUESTS_CA_BUNDLE": str(front.other)}
        verify = ["verify", *ABOUT, "--run-id", "7", "--deploy-bot", front.url, "--json", *option]
        done = gate(world.folder, *verify, env=environ)
        assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "allowed"), done.stdout

    def test_asking_alone_takes_the_option_too(self, bot: FakeBot, front: Front, tmp_path: Path) -> None:
        world = World(tmp_path, now=time.time())
        bot.on_ask = approves(world, "alice@example.com")
        request = ["request", *ABOUT, "--run-id", "7", "--deploy-bot", front.url]
        environ = {**CREDENTIAL, "NO_PROXY": "*"}
        assert gate(world.folder, *request, "--ca-file", str(front.ca), env=environ).returncode == 0
        began = time.monotonic()
        done = gate(world.folder, *request, env=environ)
        assert (done.returncode, time.monotonic() - began < 20) == (3, True)
        assert NAMED in done.stderr
        assert gate(world.folder, *request, "--ca-file", "nowhere", env=environ).returncode == 2


class TestForge:
    @pytest.fixture
    def front(self, tmp_path: Path) -> Iterator[tuple[Front, str]]:
        with serving(Forge()) as forge, over_tls(urlsplit(forge.url).port or 80, tmp_path) as front:
            yield front, f"{front.url}{urlsplit(forge.url).path}"

    def test_it_is_named_and_not_asked_again(self, front: tuple[Front, str]) -> None:
        with pytest.raises(Unattributed) as caught:
            GitHub(front[1], TOKEN).commits("acme/shop", [sha(0)], sha(3))
        assert NAMED in caught.value.message
        assert "private authority" in caught.value.hint
        assert front[0].tries == 1

    def test_its_authority_can_be_named(self, front: tuple[Front, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(front[0].other))
        assert len(GitHub(front[1], TOKEN, ca=front[0].ca).commits("acme/shop", [sha(0)], sha(3))) == 3

    def test_no_notice_is_tried_again(self, front: tuple[Front, str]) -> None:
        with Api(front[1], TOKEN, (2.0, 2.0), 5.0).connect() as connection, pytest.raises(Refused) as caught:
            Rest(connection).get("repos/acme/shop")
        assert caught.value.is_final
        assert NAMED in caught.value.message


def test_slack_is_named_and_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with over_tls(9, tmp_path) as front:
        monkeypatch.setenv("SLACK", f"{front.url}/services/secret")
        with pytest.raises(Undelivered) as caught:
            Slack(Secret("env:SLACK", None)).deliver(notice())
    assert NAMED in caught.value.message
    assert caught.value.final
    assert "secret" not in f"{caught.value} {caught.value.hint}"


FAILED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
MISMATCH = "Hostname mismatch, certificate is not valid for 'gate.example.com'"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"{FAILED}: certificate has expired (_ssl.c:1006)", "(certificate has expired)"),
        (f"{FAILED}: {MISMATCH}. (_ssl.c:1006)", f"({MISMATCH})"),
        ("OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self signed certificate", "(self signed certificate)"),
        ("CERTIFICATE_VERIFY_FAILED", "is not trusted here"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", ""),
    ],
)
def test_why_it_is_not_believed(said: str, told: str | None) -> None:
    assert distrust(said).endswith(told)
    assert bool(distrust(said)) == bool(told)


def test_a_file_of_authorities_may_be_of_any_policy_but_has_to_be_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    for wrong in ("nowhere.pem", "gate.yaml", "."):
        world.path.write_text(world.text + f"ca: {wrong}\n")
        with pytest.raises(GateError, match="The policy's ca: "):
            load_policy(str(world.path))
    with pytest.raises(UsageError):
        load_policy(str(world.path), ca_file=tmp_path / "nowhere")


def test_the_sdk_s_own_configuration_names_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier step of the same user can write it."""
    config = tmp_path / "config"
    config.write_text(f"[default]\nca_bundle = {tmp_path}/planted.pem\n")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("AWS_CONFIG_FILE", str(config)), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(name, value)
    made = aws.client("s3", {"region": "eu-west-1"})
    assert made._endpoint.http_session._session._verify is True
