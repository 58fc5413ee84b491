"""◇ The settings of the listeners, and who may call them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from invoker.config.values import OptionalPath, Port, Settings, none_if_empty, setting


class ListenerSettings(Settings):
    """Where the invoker listens, and with what certificates."""

    http_host: str = setting("0.0.0.0", "HTTP_HOST", "Address to listen on")  # noqa: S104 - a node agent is called from outside
    http_port: Port = setting("8443", "HTTP_PORT", "Port to listen on")
    metrics_port: Annotated[Port | None, BeforeValidator(none_if_empty)] = setting(
        "", "METRICS_PORT", "Port of /metrics and /debug; empty: the same port as /invoke", "9100"
    )
    tls_cert_file: Path = setting("/invokercerts/tls.crt", "TLS_CERT_FILE", "The listener's certificate, PEM")
    tls_key_file: Path = setting("/invokercerts/tls.key", "TLS_KEY_FILE", "Its private key, PEM, without a passphrase")
    tls_client_ca_file: OptionalPath = setting(
        "",
        "TLS_CLIENT_CA_FILE",
        "Authority whose certificate clients have to show; empty: none is asked for",
        "/certs/clients.crt",
    )
