"""What all AWS backends share: the client, and the words for its errors."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from gate.aws import client, code, explain
from tests.parts import Aws
from tests.replay.material import ROOT, at_once


def _query(aws: Aws) -> dict[str, str]:
    return {"region": aws.region, "endpoint": aws.endpoint}


def test_clients_are_made_by_many_threads_at_once(aws: Aws) -> None:
    services = ["dynamodb", "s3", "kms"] * 5
    clients = at_once([partial(client, service, _query(aws)) for service in services])
    assert [made.meta.service_model.service_name for made in clients] == services
    assert {made.meta.endpoint_url for made in clients} == {aws.endpoint}
    assert len(set(map(id, clients))) == len(clients)


@pytest.mark.parametrize("service", ["dynamodb", "s3", "kms"])
def test_the_endpoint_is_the_uris_or_that_of_aws(
    aws: Aws, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\nendpoint_url = http://evil.example\nservices = x\n[services x]\ns3 =\n  endpoint_url = http://evil.example\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
    for variable in ("AWS_ENDPOINT_URL", f"AWS_ENDPOINT_URL_{service.upper()}"):
        monkeypatch.setenv(variable, "http://evil.example")
    assert client(service, {"region": "eu-west-1"}).meta.endpoint_url == f"https://{service}.eu-west-1.amazonaws.com"
    assert client(service, _query(aws)).meta.endpoint_url == aws.endpoint


def test_service_models_of_others_are_not_loaded(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "dynamodb" / "2099-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text("{}")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert client("dynamodb", _query(aws)).meta.service_model.api_version == "2012-08-10"


def test_every_request_says_who_asks_and_tries_thrice_within_seconds(aws: Aws) -> None:
    config = client("dynamodb", _query(aws)).meta.config
    assert config.user_agent.endswith("deploy-gate")
    assert (config.connect_timeout, config.read_timeout) == (3, 5)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}


def test_the_sdk_is_not_loaded_before_a_client_is_made() -> None:
    script = (
        "import sys; from gate.replay import open_replay_store;"
        "open_replay_store('dynamodb://jti?region=eu-west-1', None); assert 'botocore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def _answered(error_code: str, operation: str = "PutItem") -> ClientError:
    message = "arn:aws:iam::123456789012:role/x"
    return ClientError({"Error": {"Code": error_code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NoCredentialsError(), "no usable AWS credentials"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), "no usable AWS credentials"),
        (exceptions.ProfileNotFound(profile="x"), "no usable AWS credentials"),
        (exceptions.CredentialRetrievalError(provider="x", error_msg="arn:aws:"), "no usable AWS credentials"),
        (exceptions.UnauthorizedSSOTokenError(), "no usable AWS credentials"),
        (_answered("ExpiredToken"), "does not accept these credentials (ExpiredToken)"),
        (_answered("AccessDenied", "AssumeRoleWithWebIdentity"), "does not accept these credentials (AccessDenied)"),
        (_answered("AccessDenied"), "AWS denies access (AccessDenied)"),
        (_answered("NoSuchBucket"), "does not exist in this region (NoSuchBucket)"),
        (_answered("SlowDown"), "is throttled by AWS, or too busy (SlowDown)"),
        (_answered("ValidationException"), "is not made as the gate needs it (ValidationException)"),
        (_answered("SignatureDoesNotMatch"), "does not accept the request's signature (SignatureDoesNotMatch)"),
        (_answered("PermanentRedirect"), "lies in another region (PermanentRedirect)"),
        (_answered("NotImplemented"), "is on a server that does not offer this (NotImplemented)"),
        (_answered("UnknownOperationException"), "does not offer this (UnknownOperationException)"),
        (_answered("InvalidAction"), "does not offer this (InvalidAction)"),
        (_answered("501"), "does not offer this (501)"),
        (_answered("SomethingNew"), "answered with an error (SomethingNew)"),
        (exceptions.EndpointConnectionError(endpoint_url="x"), "can't be reached"),
        (exceptions.ReadTimeoutError(endpoint_url="x"), "did not answer in time"),
        (exceptions.SSLError(endpoint_url="x", error=OSError()), "can't be reached"),
        (exceptions.ResponseStreamingError(error="x"), "did not answer in time"),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), "did not answer in time"),
        (ResponseParserError(), "gave no answer that makes sense"),
        (KeyError("arn:aws:"), "gave no answer that makes sense"),
        (_answered("arn:aws:iam::123456789012"), "gave no answer that makes sense"),
        (_answered(""), "gave no answer that makes sense"),
    ],
)
def test_each_error_is_one_clean_sentence_and_a_next_step(error: Exception, words: str) -> None:
    message, hint = explain(error, "The thing")
    assert message.startswith("The thing ")
    assert words in message
    assert message.count(".") == 1
    assert hint.endswith(".")
    assert "arn:" not in message + hint
    assert "123456789012" not in message + hint


def test_the_code_of_a_cancelled_transaction_is_that_of_its_first_failed_part() -> None:
    answer = {
        "Error": {"Code": "TransactionCanceledException"},
        "CancellationReasons": [{"Code": "None"}, {"Code": "X"}],
    }
    assert code(ClientError(answer, "TransactWriteItems")) == "X"  # type: ignore[arg-type]
    assert code(ValueError()) == ""
