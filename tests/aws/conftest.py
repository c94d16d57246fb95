"""An account that knows GitHub already, since the stand-in's CloudFormation can't make an identity provider."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gate.cli import main
from tests.audit.command import Done
from tests.aws.stack import Deployed, know_github
from tests.parts import Aws

ACCOUNT = "111122223333"  # the stand-in takes an access key of twelve digits for an account

Run = Callable[..., Done]


@pytest.fixture
def account(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    return aws


@pytest.fixture
def stack(account: Aws) -> Deployed:
    """One that is not deployed yet, in an account that has the provider."""
    know_github(account)
    return Deployed.fresh(account)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `gate` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["gate", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run
