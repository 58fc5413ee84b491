"""How a real broker lets the invoker in: TLS by the server's name, client certificates. On both loops."""

from __future__ import annotations

import pytest

from invoker.errors import PlatformFault
from invoker.io.kafka.consumer import KafkaConsumer
from invoker.io.kafka.producer import KafkaProducer
from invoker.io.kafka.settings import KafkaSettings
from tests.support.kafka_certificates import SERVER_NAME, Certificates
from tests.support.kafka_peers import controller, secured
from tests.support.kafka_server import Broker

pytestmark = pytest.mark.docker
EACH_LOOP = True


async def check(settings: KafkaSettings) -> str:
    return await KafkaConsumer(settings).check()


@pytest.mark.contract("2", "5")
async def test_the_default_is_tls_with_the_servers_name(kafka_doors: Broker, kafka_certificates: Certificates) -> None:
    assert KafkaSettings(hosts=("k:1",)).tls_server_name == SERVER_NAME
    settings = secured(kafka_doors.ports.tls, kafka_certificates)
    assert "reachable" in await check(settings)
    async with controller(kafka_doors.bootstrap, settings) as peer:
        producer = KafkaProducer(settings)
        await producer.send(peer.name, b'{"response":"ab"}')
        await producer.close()
        await peer.until_answered("ab")


@pytest.mark.parametrize("name", ["kafka.elsewhere", ""])
async def test_another_name_is_not_let_pass(kafka_doors: Broker, kafka_certificates: Certificates, name: str) -> None:
    with pytest.raises(PlatformFault, match="KAFKA_TLS_SERVER_NAME"):
        await check(secured(kafka_doors.ports.tls, kafka_certificates, tls_server_name=name))


async def test_an_authority_of_strangers_is_not_let_pass(kafka_doors: Broker, kafka_certificates: Certificates) -> None:
    for authority in (kafka_certificates.stranger, None):
        with pytest.raises(PlatformFault, match="failed"):
            await check(secured(kafka_doors.ports.tls, kafka_certificates, authority=authority))


async def test_who_wants_a_certificate_gets_one(kafka_doors: Broker, kafka_certificates: Certificates) -> None:
    pair = {
        "client_certificate": kafka_certificates.client_certificate,
        "client_key": kafka_certificates.client_key,
    }
    assert "reachable" in await check(secured(kafka_doors.ports.mtls, kafka_certificates, **pair))
    with pytest.raises(PlatformFault, match="failed"):
        await check(secured(kafka_doors.ports.mtls, kafka_certificates))
