"""How the invoker is let in by default is the original's way; what can't be meant is told before anything starts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoker import config
from invoker.errors import SettingsError
from invoker.io.kafka.link import Backoff, NamedContext, client_arguments, tls_context
from invoker.io.kafka.settings import DeliverySettings, KafkaSettings
from tests.unit.test_config import GOOD

CANARY = "a-secret-nobody-sees"


@pytest.mark.contract("2")
def test_the_default_is_what_the_reference_fixes_in_code() -> None:
    found = config.load(GOOD)
    assert (found.kafka_security, found.kafka_tls_server_name) == ("tls", "kafka.openwhisk.svc.cluster.local")
    assert (found.kafka_sasl_mechanism, found.kafka_client_cert_file) == ("", None)
    assert (found.kafka_delivery, found.kafka_pings) == ("at-most-once", False)
    settings = KafkaSettings(hosts=found.kafka_hosts)
    assert (settings.tls, settings.tls_server_name) == (True, found.kafka_tls_server_name)
    assert DeliverySettings().delivery == found.kafka_delivery
    assert DeliverySettings().uncommitted_limit == found.kafka_uncommitted_limit
    assert DeliverySettings().duplicates_window == found.kafka_duplicates_window


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"KAFKA_SECURITY": "ssl"}, "KAFKA_SECURITY"),
        ({"KAFKA_DELIVERY": "exactly-once"}, "KAFKA_DELIVERY"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_MECHANISM": "plain", "KAFKA_SASL_PASSWORD": CANARY}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_CLIENT_CERT_FILE": "/a"}, "only make sense together"),
        (
            {"KAFKA_CLIENT_CERT_FILE": "/a", "KAFKA_CLIENT_KEY_FILE": "/b", "KAFKA_SECURITY": "plaintext"},
            "over TLS only",
        ),
        ({"KAFKA_PINGS": "perhaps"}, "KAFKA_PINGS"),
    ],
)
def test_what_can_not_be_meant_is_told(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        config.load(GOOD | changes)
    assert CANARY not in str(caught.value)


def test_a_password_is_shown_nowhere() -> None:
    found = config.load(
        GOOD | {"KAFKA_SASL_MECHANISM": "scram-sha-512", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": CANARY}
    )
    assert found.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert CANARY not in repr(found) + str(config.describe(found))
    assert CANARY not in repr(KafkaSettings(hosts=("k:1",), sasl_password=CANARY))


@pytest.mark.parametrize(
    ("changes", "protocol"),
    [
        ({}, "SSL"),
        ({"tls": False}, "PLAINTEXT"),
        ({"sasl_mechanism": "PLAIN"}, "SASL_SSL"),
        ({"sasl_mechanism": "PLAIN", "tls": False}, "SASL_PLAINTEXT"),
    ],
)
def test_the_security_protocol_follows_from_tls_and_login(changes: dict[str, Any], protocol: str) -> None:
    arguments = client_arguments(msgspec.structs.replace(KafkaSettings(hosts=("k:1",)), **changes))
    assert arguments["security_protocol"] == protocol
    assert ("ssl_context" in arguments) == ("SSL" in protocol)


@pytest.mark.parametrize(("name", "asked"), [("the.name", "the.name"), ("", "10.0.0.1")])
def test_the_context_asks_for_the_set_name_in_the_hosts_place(name: str, asked: str) -> None:
    context = tls_context(KafkaSettings(hosts=("k:1",), tls_server_name=name))
    assert isinstance(context, NamedContext)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    handshake = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, "10.0.0.1")
    assert handshake.server_hostname == asked


def test_a_bad_file_is_told_with_its_setting(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for fields, named in (
        ({"authority": tmp_path / "none.pem"}, "CLUSTER_CA_FILE"),
        ({"authority": junk}, "CLUSTER_CA_FILE"),
        ({"client_certificate": junk, "client_key": junk}, "KAFKA_CLIENT_CERT_FILE"),
    ):
        given: dict[str, Any] = {"hosts": ("k:1",)} | fields
        with pytest.raises(SettingsError, match=named):
            tls_context(KafkaSettings(**given))


async def test_waits_double_up_to_the_limit_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr("invoker.io.kafka.link.asyncio.sleep", sleep)
    backoff = Backoff(0.1, 0.5)
    for _ in range(5):
        await backoff.wait()
    for wait_s, most_s in zip(waits, (0.1, 0.2, 0.4, 0.5, 0.5), strict=True):
        assert most_s / 2 <= wait_s <= most_s
    backoff.reset()
    await backoff.wait()
    assert waits[-1] <= 0.1
