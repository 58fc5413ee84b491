"""◆ The neighbours of a node of a cluster, each made from its settings.

`invoker serve` joins them; `invoker serve --check` only asks each how it is. Nothing here touches a neighbour yet.
"""

from __future__ import annotations

import importlib

from invoker.app.common import docker_settings, observer
from invoker.config import ServeSettings
from invoker.errors import SettingsError
from invoker.firewall.state import Guarded
from invoker.io.couchdb.couch import Couch
from invoker.io.couchdb.settings import database_settings, spool_settings
from invoker.io.docker.engine import DockerEngine
from invoker.io.firewall.reconciler import FirewallReconciler
from invoker.io.firewall.settings import FirewallSettings
from invoker.io.http.access import Guard, TokenSettings
from invoker.io.http.tls import ServerTls, TlsFiles
from invoker.io.kafka.consumer import KafkaConsumer
from invoker.io.kafka.health import HealthPings
from invoker.io.kafka.producer import KafkaProducer
from invoker.io.kafka.settings import DeliverySettings, KafkaSettings
from invoker.io.key_file import KeyFile
from invoker.io.kubernetes.settings import KubernetesSettings
from invoker.io.kubernetes.watch import ClusterWatch, Counted
from invoker.io.metrics import Metrics
from invoker.ports import TenantRules
from invoker.protocol.secrets import KeyRing

OWNER = "functions-invoker"
"""Marks the containers of `invoker serve`; whose of several on one daemon they are is told by the instance."""


class Neighbours:
    """All of them. `firewall`, `cluster` and `key_file` are None where the settings switch them off."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.settings = settings
        self.docker = docker_settings(settings, OWNER, settings.instance)
        self.engine = DockerEngine(self.docker, observe=observer(metrics))
        self.couch = Couch(database_settings(settings, settings.cluster_ca_file), spool_settings(settings), metrics)
        kafka = self.kafka = kafka_settings(settings)
        self.consumer = KafkaConsumer(kafka, metrics.kafka_trouble.labels("topic").inc)
        self.producer = KafkaProducer(kafka, metrics.kafka_trouble.labels("acknowledgements").inc)
        self.pings = HealthPings(self.producer, settings.instance, settings.user_memory_bytes)
        self.tls = ServerTls(
            TlsFiles(
                certificate=settings.tls_cert_file,
                key=settings.tls_key_file,
                client_ca=settings.tls_client_ca_file,
                look_every_s=settings.file_check_ns / 1e9,
            ),
            on_reload=metrics.reloaded,
            on_expiry=metrics.certificate_not_after.set,
        )
        self.guard = _guard(settings, metrics)
        fixed = {name: key.get_secret_value() for name, key in settings.encryption_keys.items()}
        self.keys = KeyRing(fixed)
        self.key_file = _key_file(settings, self.keys, fixed, metrics)
        self.firewall = None if settings.firewall == "off" else _firewall(settings, metrics)
        self.cluster = self._cluster(metrics)

    def _cluster(self, metrics: Metrics) -> ClusterWatch | None:
        """Only the firewall asks about the cluster."""
        settings, firewall = self.settings, self.firewall
        url = settings.kubernetes_url
        if url is None or firewall is None:
            return None
        namespace, _, service = settings.kubernetes_dns_service.partition("/")
        watched = KubernetesSettings(
            url=url,
            credentials_dir=settings.kubernetes_credentials_dir,
            dns_namespace=namespace,
            dns_service=service,
            open_timeout_s=settings.kubernetes_open_timeout_ns / 1e9,
            resync_s=settings.kubernetes_resync_ns / 1e9,
        )

        def changed() -> None:
            firewall.changed(cluster.state())

        cluster = ClusterWatch(watched, changed, observer=Counted(metrics))
        return cluster


def kafka_settings(settings: ServeSettings) -> KafkaSettings:
    """The brokers."""
    return KafkaSettings(
        hosts=settings.kafka_hosts,
        instance=settings.instance,
        tls=settings.kafka_security == "tls",
        tls_server_name=settings.kafka_tls_server_name,
        authority=settings.cluster_ca_file,
        client_certificate=settings.kafka_client_cert_file,
        client_key=settings.kafka_client_key_file,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password.get_secret_value(),
    )


def delivery_settings(settings: ServeSettings) -> DeliverySettings:
    """How messages are taken from the topic."""
    return DeliverySettings(
        delivery=settings.kafka_delivery,
        intake_limit=settings.intake_limit,
        uncommitted_limit=settings.kafka_uncommitted_limit,
        duplicates_window=settings.kafka_duplicates_window,
    )


def _guard(settings: ServeSettings, metrics: Metrics) -> Guard:
    token = settings.admin_token
    return Guard(
        TokenSettings(
            token=None if token is None else token.get_secret_value(),
            file=settings.admin_token_file,
            look_every_s=settings.file_check_ns / 1e9,
        ),
        on_refused=lambda reason: metrics.access_refused.labels(reason).inc(),
        on_reload=metrics.reloaded,
    )


def _key_file(settings: ServeSettings, ring: KeyRing, fixed: dict[str, bytes], metrics: Metrics) -> KeyFile | None:
    file = settings.encryption_keys_file
    if file is None:
        return None
    return KeyFile(ring, file, fixed, look_every_s=settings.file_check_ns / 1e9, on_reload=metrics.reloaded)


def _firewall(settings: ServeSettings, metrics: Metrics) -> FirewallReconciler:
    assert settings.firewall != "off"
    return FirewallReconciler(
        FirewallSettings(
            guarded=Guarded(
                bridge=settings.containers_bridge_name,
                subnet=str(settings.containers_subnet),
                resolvers=tuple(str(server) for server in settings.containers_dns_servers),
                rejected=tuple(str(network) for network in settings.firewall_reject),
            ),
            place=settings.firewall,
            backend=settings.firewall_backend,
            image=settings.firewall_image,
            interval_s=settings.firewall_interval_ns / 1e9,
            socket=str(settings.docker_socket),
            owner=OWNER,
            instance=settings.instance,
        ),
        count=lambda outcome: metrics.firewall_turns[outcome].inc(),
        observe=lambda operation, seconds: metrics.firewall_seconds[operation].observe(seconds),
    )


def tenant_rules(settings: ServeSettings) -> TenantRules | None:
    """What FIREWALL_TENANTS names. Raises SettingsError where it can't be had."""
    if not settings.firewall_tenants:
        return None
    module, _, name = settings.firewall_tenants.partition(":")
    try:
        rules = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"FIREWALL_TENANTS names {settings.firewall_tenants}, which can't be had: {error}"
        ) from error
    if not callable(getattr(rules, "rules_for", None)):
        raise SettingsError(
            f"FIREWALL_TENANTS names {settings.firewall_tenants}, which has no method rules_for(namespace) "
            "(invoker.ports.TenantRules)"
        )
    return rules
