"""◇ The settings of the listeners, who may call them, and what they need secrets for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from invoker.config.values import (
    Count,
    DurationNs,
    OptionalPath,
    Port,
    Settings,
    comma_list,
    none_if_empty,
    setting,
)

TOKEN_CHARACTERS_MIN = 16


def bearer_token(value: object) -> object:
    """A token that can stand in a header, or None for empty text. No text of it gets into an error."""
    if not isinstance(value, str) or not value:
        return None if value == "" else value
    if len(value) < TOKEN_CHARACTERS_MIN or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"is no token: {TOKEN_CHARACTERS_MIN} or more printable ASCII characters without spaces")
    return value


class ListenerSettings(Settings):
    """Where the invoker listens, with what certificates, and who may call."""

    http_host: str = setting("0.0.0.0", "HTTP_HOST", "Address to listen on")  # noqa: S104 - a node agent is called from outside
    http_port: Port = setting("8443", "HTTP_PORT", "Port to listen on")
    http_connections: Count = setting(
        "10000", "HTTP_CONNECTIONS", "Connections of a listener, handshakes included; more are refused"
    )
    metrics_port: Annotated[Port | None, BeforeValidator(none_if_empty)] = setting(
        "", "METRICS_PORT", "Port of /metrics and /debug; empty: the same port as /invoke", "9100"
    )
    metrics_host: Annotated[str | None, BeforeValidator(none_if_empty)] = setting(
        "", "METRICS_HOST", "Address that METRICS_PORT listens on; empty: that of HTTP_HOST", "127.0.0.1"
    )
    metrics_tls: bool = setting(
        "true", "METRICS_TLS", "Whether METRICS_PORT speaks TLS, with the same certificate; false: plain HTTP"
    )
    tls_cert_file: Path = setting(
        "/invokercerts/tls.crt", "TLS_CERT_FILE", "The listener's certificate, PEM; taken anew when it changes"
    )
    tls_key_file: Path = setting(
        "/invokercerts/tls.key", "TLS_KEY_FILE", "Its private key, PEM, without a passphrase; taken anew likewise"
    )
    tls_client_ca_file: OptionalPath = setting(
        "",
        "TLS_CLIENT_CA_FILE",
        "Authority, PEM, of whose certificates /invoke asks callers for one; empty: none is asked for",
        "/certs/clients.crt",
    )
    tls_client_subjects: Annotated[tuple[str, ...], BeforeValidator(comma_list)] = setting(
        "",
        "TLS_CLIENT_SUBJECTS",
        "Common or alternative names of which a caller's certificate has to bear one, comma-separated; "
        "empty: any certificate of TLS_CLIENT_CA_FILE will do",
        "controller,controller.openwhisk.svc.cluster.local",
    )
    admin_token: Annotated[SecretStr | None, BeforeValidator(bearer_token)] = setting(
        "",
        "ADMIN_TOKEN",
        "Bearer token of /debug and of enabling and disabling; empty, and no file: only callers on this machine",
        "<32-random-bytes-in-hex>",
        secret=True,
    )
    admin_token_file: OptionalPath = setting(
        "",
        "ADMIN_TOKEN_FILE",
        "File with such tokens, one a line, read again when it changes; empty: none",
        "/secrets/admin-tokens",
    )
    encryption_keys_file: OptionalPath = setting(
        "",
        "ENCRYPTION_KEYS_FILE",
        "File with more keys in the form of ENCRYPTION_KEYS, whose names win; read again when it changes; empty: none",
        "/secrets/encryption-keys.json",
    )
    file_check_ns: Annotated[DurationNs, Field(ge=100_000_000)] = setting(
        "5s", "FILE_CHECK", "How often certificates, tokens and keys in files are looked at for a change"
    )

    @model_validator(mode="after")
    def _subjects_have_their_authority(self) -> Self:
        if self.tls_client_subjects and self.tls_client_ca_file is None:
            raise ValueError("TLS_CLIENT_SUBJECTS needs TLS_CLIENT_CA_FILE, the authority that vouches for them")
        return self
