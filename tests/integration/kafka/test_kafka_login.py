"""Logins that a real broker takes and refuses."""

from __future__ import annotations

import pytest

from invoker.errors import PlatformFault
from invoker.io.kafka.consumer import KafkaConsumer
from tests.support.kafka_certificates import Certificates
from tests.support.kafka_peers import secured
from tests.support.kafka_server import PASSWORD, USER, Broker

pytestmark = pytest.mark.docker

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture(scope="module")
def scram_user(kafka_doors: Broker) -> None:
    kafka_doors.add_scram_user()


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_login_is_taken_and_a_wrong_one_refused(
    kafka_doors: Broker, kafka_certificates: Certificates, scram_user: None, mechanism: str
) -> None:
    login = {"sasl_mechanism": mechanism, "sasl_username": USER}
    settings = secured(kafka_doors.ports.sasl, kafka_certificates, **login, sasl_password=PASSWORD)
    assert "reachable" in await KafkaConsumer(settings).check()
    assert PASSWORD not in repr(settings)
    with pytest.raises(PlatformFault) as caught:
        await KafkaConsumer(
            secured(kafka_doors.ports.sasl, kafka_certificates, **login, sasl_password="wrong-one")
        ).check()
    assert "wrong-one" not in str(caught.value)
