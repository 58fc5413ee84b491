"""◆ What all Kafka clients of the invoker share: how they are let in, and how trouble is told.

aiokafka checks a certificate against the host that it connects to. Brokers behind a bootstrap address bear one common
name instead (contract, section 2: the server name), so the context puts that name in the host's place.

While the brokers are away aiokafka logs each attempt of each client. Here trouble is told once when it begins and once
when it is over, and its own log is silent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError  # pyright: ignore[reportMissingTypeStubs]

from invoker.errors import PlatformFault, SettingsError
from invoker.io.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

FAILURES = (KafkaError, OSError, TimeoutError, ssl.SSLError, asyncio.TimeoutError)
"""What a call to a broker ends in when the broker, or the way to it, is not as it should be."""


class NamedContext(ssl.SSLContext):
    """A client's context that asks for the certificate of `server_name`, whatever host is connected to."""

    server_name: str = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the base class; asyncio and uvloop both begin a handshake with it."""
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name or server_hostname, session)


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """What each aiokafka client is made with. Raises SettingsError where a file can't be used."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.hosts),
        "client_id": settings.topic,
        "request_timeout_ms": settings.request_timeout_ms,
        "retry_backoff_ms": 100,
        "metadata_max_age_ms": 15_000,
        "security_protocol": f"SASL_{'SSL' if settings.tls else 'PLAINTEXT'}"
        if settings.sasl_mechanism
        else ("SSL" if settings.tls else "PLAINTEXT"),
    }
    if settings.tls:
        arguments["ssl_context"] = tls_context(settings)
    if settings.sasl_mechanism:
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = settings.sasl_password
    return arguments


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """TLS 1.2 and newer; the system's authorities and the given one. Raises SettingsError."""
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_name = settings.tls_server_name
    context.load_default_certs()
    if settings.authority is not None:
        try:
            context.load_verify_locations(settings.authority)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"the authority {settings.authority} can't be used for Kafka ({_reason(error)}); mend the file or "
                "CLUSTER_CA_FILE"
            ) from error
    certificate, key = settings.client_certificate, settings.client_key
    if certificate is not None and key is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            raise SettingsError(
                f"{certificate} and {key} can't be shown to Kafka ({_reason(error)}); mend the files, or "
                "KAFKA_CLIENT_CERT_FILE and KAFKA_CLIENT_KEY_FILE"
            ) from error
    return context


def _no_password() -> str:  # without it OpenSSL would ask on the terminal, and wait
    raise SettingsError("KAFKA_CLIENT_KEY_FILE is encrypted; store the key without a passphrase")


def _reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or str(error) or "no PEM data").lower()


def quiet_aiokafka() -> None:
    """Its log would tell each attempt; `Trouble` tells what there is to tell."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def foreign(error: BaseException) -> bool:
    """Whether it is another task's CancelledError: aiokafka lets those of its own tasks out into its callers."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


async def stop_client(client: Any, timeout_s: float) -> None:
    """End an aiokafka client, bounded, whatever it does. While brokers are away its `stop` waits for them, or dies of
    its own tasks' cancellation half way; then its connections are closed beneath it. Raises nothing of it."""
    inner = client.client if hasattr(client, "client") else client._client
    stopping = asyncio.get_running_loop().create_task(_stop(client.stop, inner.close, timeout_s))
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await asyncio.wait({stopping})
        raise


async def _stop(stop: Callable[[], Any], close: Callable[[], Any], timeout_s: float) -> None:
    for call in (stop, close):
        task = asyncio.get_running_loop().create_task(call())
        _, late = await asyncio.wait({task}, timeout=timeout_s)
        if late:
            task.cancel()
            await asyncio.wait({task}, timeout=timeout_s)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a Kafka client ended with %s", said(error))


def said(error: BaseException) -> str:
    """A failure in a few words: kind and text."""
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}" if text else name


def fault(what: str, settings: KafkaSettings, error: BaseException) -> PlatformFault:
    """What went wrong, and what to look at."""
    hint = "see that the brokers run and KAFKA_HOSTS names them"
    if settings.tls or settings.sasl_mechanism:
        hint += "; KAFKA_SECURITY, KAFKA_TLS_SERVER_NAME and the login have to fit them, too"
    return PlatformFault(f"{what} at Kafka ({settings.where}) failed: {said(error)}; {hint}")


class Trouble:
    """The bad time of one thing that is done: told when it begins, counted at each failure, told when it is over."""

    def __init__(self, what: str, where: str, count: Callable[[], object]) -> None:
        self._what = what
        self._where = where
        self._count = count
        self._since_s: float | None = None

    def __bool__(self) -> bool:
        """Whether there is trouble now."""
        return self._since_s is not None

    def met(self, error: BaseException) -> None:
        """It failed."""
        self._count()
        if self._since_s is None:
            self._since_s = time.monotonic()
            log.warning("Kafka (%s): %s fails; trying again until it works: %s", self._where, self._what, said(error))

    def over(self) -> None:
        """It works, perhaps again."""
        if self._since_s is not None:
            away_s = time.monotonic() - self._since_s
            log.info("Kafka (%s) is back after %.1f s: %s works again", self._where, away_s, self._what)
            self._since_s = None


class Backoff:
    """Waits that double up to a limit, each drawn between its half and the whole, so that nodes don't come at once."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._next_s = min_s

    def reset(self) -> None:
        """It worked."""
        self._next_s = self._min_s

    async def wait(self) -> None:
        """Wait before the next attempt."""
        wait_s, self._next_s = self._next_s, min(self._max_s, self._next_s * 2)
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
