"""The listener's settings: who may call, with what, and that a token shows nowhere."""

from __future__ import annotations

import pytest

from invoker import config
from invoker.errors import SettingsError
from tests.unit.test_config import GOOD

TOKEN = "correct-horse-battery-staple"


def refused(**changes: str) -> str:
    with pytest.raises(SettingsError) as caught:
        config.load({**GOOD, **changes})
    return str(caught.value)


def test_the_defaults_ask_nobody_for_anything() -> None:
    settings = config.load(GOOD)
    assert settings.tls_client_subjects == ()
    assert (settings.admin_token, settings.admin_token_file, settings.encryption_keys_file) == (None, None, None)
    assert (settings.metrics_host, settings.metrics_tls) == (None, True)
    assert settings.http_connections == 10_000
    assert settings.file_check_ns == 5_000_000_000


def test_subjects_need_their_authority() -> None:
    assert "TLS_CLIENT_SUBJECTS needs TLS_CLIENT_CA_FILE" in refused(TLS_CLIENT_SUBJECTS="controller")
    settings = config.load({**GOOD, "TLS_CLIENT_SUBJECTS": "a, b.example", "TLS_CLIENT_CA_FILE": "/ca.crt"})
    assert settings.tls_client_subjects == ("a", "b.example")


@pytest.mark.parametrize("token", ["short", "a token with some spaces", "é" * 20, "tab\t" * 5, "line\n" * 5])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    text = refused(ADMIN_TOKEN=token)
    assert "ADMIN_TOKEN: is no token: 16 or more printable ASCII characters without spaces" in text
    assert token not in text


def test_a_token_shows_nowhere() -> None:
    settings = config.load({**GOOD, "ADMIN_TOKEN": TOKEN})
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == TOKEN
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(config.describe(settings))


@pytest.mark.parametrize(("text", "value"), [("false", False), ("off", False), ("true", True), ("1", True)])
def test_the_metrics_listener_may_be_plain(text: str, value: bool) -> None:
    assert config.load({**GOOD, "METRICS_TLS": text, "METRICS_PORT": "9100"}).metrics_tls is value


def test_files_are_looked_at_at_most_ten_times_a_second() -> None:
    assert "FILE_CHECK: should be greater than or equal to 100000000" in refused(FILE_CHECK="1ms")
