"""What is wrong on the command line is told in a sentence, before anything is connected."""

from __future__ import annotations

import pytest

from invoker.commands.exit_codes import ExitCode
from loadtest.cli import main

ENVIRONMENT = {
    "KAFKA_HOSTS": "127.0.0.1:1",
    "KAFKA_SECURITY": "plaintext",
    "COUCH_URL": "http://127.0.0.1:1",
    "COUCH_USERNAME": "u",
    "COUCH_PASSWORD": "p",
    "CLUSTER_CA_FILE": "",
}
GOOD = "0=https://127.0.0.1:8443"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--invoker"),
        (["--invoker=nowhere"], "N=URL"),
        (["--invoker=0=ftp://x"], "N=URL"),
        ([f"--invoker={GOOD}", f"--invoker={GOOD}"], "two of number 0"),
        ([f"--invoker={GOOD},lots"], "no size"),
        ([f"--invoker={GOOD}", "--balancer=best"], "sharding"),
        ([f"--invoker={GOOD}", "--name=a/b"], "topic's name"),
    ],
)
def test_a_mistake_is_named(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["controller", *options]) in (ExitCode.USAGE, ExitCode.REFUSED)
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_missing_settings_are_named_all_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_HOSTS")
    assert main(["controller", f"--invoker={GOOD}"]) != 0
    assert "KAFKA_HOSTS" in capsys.readouterr().err


def test_a_kafka_that_is_away_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["controller", f"--invoker={GOOD}", "--port=0"]) == ExitCode.UNAVAILABLE
    told = capsys.readouterr().err
    assert "Kafka at 127.0.0.1:1 can't be used" in told
    assert "Traceback" not in told
