"""◆ `loadtest controller`: the reference controller behind a door."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import Parameter

from invoker.commands.exit_codes import ExitCode
from invoker.errors import CallerFault

if TYPE_CHECKING:
    from loadtest.controller import Controller
    from loadtest.settings import ControllerSettings, InvokerAddress


def controller(
    *,
    invoker: Annotated[list[str], Parameter(show_default=False)],
    name: str = "0",
    controllers: int = 1,
    balancer: str = "sharding",
    host: str = "127.0.0.1",
    port: int = 3233,
    invoker_ca: Path | None = None,
    invoker_name: str = "",
    kind: list[str] | None = None,
) -> int:
    """Place, send and answer until SIGTERM or Ctrl-C.

    Parameters
    ----------
    invoker
        N=URL or N=URL,MEMORY, such as 0=https://10.0.0.7:8443,4GB; once for each invoker of the cluster. Without MEMORY
        the invoker has to tell it by pings (KAFKA_PINGS=true).
    name
        Suffix of the topic that acknowledgements come by, completedNAME; another for each controller.
    controllers
        How many controllers share the invokers, this one included.
    balancer
        Who places: sharding as OpenWhisk does, or another of docs/balancing.md.
    host
        Address that the door listens on.
    port
        Its port, 0 for any free one.
    invoker_ca
        Authority (PEM) of the invokers' certificates, beside the system's.
    invoker_name
        Name that their certificates bear; default: the one in the URL.
    kind
        A kind of action that the invokers can run; may be repeated. Default: any may be put.
    """
    import asyncio

    settings = _settings(invoker, name, controllers, balancer, invoker_ca, invoker_name)
    asyncio.run(_serve(settings, host, port, tuple(kind or ())))
    return ExitCode.OK


async def _serve(settings: ControllerSettings, host: str, port: int, kinds: tuple[str, ...]) -> None:
    import asyncio
    import logging
    import signal

    from loadtest.controller import Controller
    from loadtest.door import Door

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Controller(settings) as made:
        door = Door(made, kinds=kinds)
        await door.open(host, port)
        try:
            _say(f"controller {settings.name} serves http://{host}:{door.port}/api/v1")
            watching = asyncio.create_task(_tell(made))
            await stopped.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        finally:
            await door.close()


async def _tell(controller: Controller) -> None:
    """A line whenever an invoker's health changes."""
    import asyncio

    former: dict[int, Any] = {}
    while True:
        healths = controller.fleet.healths()
        for instance, health in healths.items():
            if former.get(instance) is not health:
                _say(f"invoker{instance} is {health.value}")
        former = healths
        await asyncio.sleep(0.2)


def _settings(
    invokers: list[str], name: str, controllers: int, balancer: str, authority: Path | None, server_name: str
) -> ControllerSettings:
    import msgspec

    from invoker import config
    from invoker.config.cluster import ClusterSettings
    from invoker.config.couchdb import CouchSettings
    from invoker.config.kafka import KafkaSettings as KafkaEnvironment
    from invoker.io.couchdb.settings import database_settings
    from invoker.io.kafka.settings import KafkaSettings
    from invoker.policy.balancing import AnyBalancer
    from loadtest.settings import ControllerSettings

    tags = sorted(str(each.__struct_config__.tag) for each in get_args(AnyBalancer))
    if balancer not in tags:
        raise CallerFault(f"--balancer: there is no {balancer!r}; there are {', '.join(tags)}")
    if not name or not name.replace("-", "").isalnum():
        raise CallerFault(f"--name: letters, digits and - make a topic's name, not {name!r}")
    authority_file = config.load_part(ClusterSettings, os.environ).cluster_ca_file
    kafka = config.load_part(KafkaEnvironment, os.environ)
    return ControllerSettings(
        kafka=KafkaSettings(
            hosts=kafka.kafka_hosts,
            tls=kafka.kafka_security == "tls",
            tls_server_name=kafka.kafka_tls_server_name,
            authority=authority_file,
            client_certificate=kafka.kafka_client_cert_file,
            client_key=kafka.kafka_client_key_file,
            sasl_mechanism=kafka.kafka_sasl_mechanism,
            sasl_username=kafka.kafka_sasl_username,
            sasl_password=kafka.kafka_sasl_password.get_secret_value(),
        ),
        couch=database_settings(config.load_part(CouchSettings, os.environ), authority_file),
        invokers=_addresses(invokers),
        name=name,
        controllers=controllers,
        balancer=msgspec.convert({"type": balancer}, AnyBalancer),
        authority=None if authority is None else str(authority),
        tls_server_name=server_name,
    )


def _addresses(given: list[str]) -> tuple[InvokerAddress, ...]:
    """`N=URL[,MEMORY]` each. Raises CallerFault."""
    from urllib.parse import urlsplit

    from invoker.protocol.sizes import parse_size
    from loadtest.settings import MIB, InvokerAddress

    found: dict[int, InvokerAddress] = {}
    for text in given:
        number, _, rest = text.partition("=")
        url, _, memory = rest.partition(",")
        parts = urlsplit(url)
        if not number.isdecimal() or parts.scheme not in ("http", "https") or not parts.hostname:
            raise CallerFault(f"--invoker is N=URL or N=URL,MEMORY, such as 0=https://10.0.0.7:8443,4GB, not {text!r}")
        if int(number) in found:
            raise CallerFault(f"--invoker: there are two of number {number}")
        try:
            memory_mb = parse_size(memory) // MIB if memory else 0
        except ValueError as problem:
            raise CallerFault(f"--invoker {text}: {memory!r} is no size such as 4GB: {problem}") from problem
        found[int(number)] = InvokerAddress(int(number), url.rstrip("/"), memory_mb)
    return tuple(found.values())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
