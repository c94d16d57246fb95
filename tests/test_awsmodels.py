"""The SDK's models, read faster: the same models, and nobody else's."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader

from gate.awsmodels import ShippedModels


@pytest.mark.parametrize("service", ["dynamodb", "s3", "kms", "sts", "sso-oidc"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_models_are_those_of_the_sdk(service: str, kind: str) -> None:
    theirs = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    assert ShippedModels().load_service_model(service, kind) == theirs.load_service_model(service, kind)


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration"])
def test_data_is_that_of_the_sdk(name: str) -> None:
    assert ShippedModels().load_data(name) == Loader().load_data(name)


def test_models_of_the_user_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "s3" / "2999-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({"metadata": {"endpointPrefix": "elsewhere"}}))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    assert ShippedModels().list_api_versions("s3", "service-2") == ["2006-03-01"]


def test_a_service_that_is_none_is_an_error() -> None:
    with pytest.raises(UnknownServiceError):
        ShippedModels().load_service_model("no-such-service", "service-2")
