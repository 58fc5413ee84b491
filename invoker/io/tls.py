"""◆ The server's side of TLS. A wrong file is told with its path and what to do, before anything listens."""

from __future__ import annotations

import ssl
from pathlib import Path

from invoker.errors import SettingsError


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer with the PEM files given (contract, section 4).

    With `client_ca` a client has to show a certificate of that authority. HTTP/1.1 is offered by ALPN, clients of
    HTTP/2 fall back to it. Sessions are not resumed: connections are kept anyway, and a resumed one would be taken
    without looking at the client's certificate again. Raises SettingsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    load_chain(context, certificate, key)
    if client_ca is not None:
        _require_clients(context, client_ca)
    return context


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Take the certificate and its key into use, also into a context that serves already: new handshakes get them.

    Raises SettingsError; the context is then as it was.
    """
    _readable(certificate, "the server's certificate", "TLS_CERT_FILE")
    _readable(key, "the server's private key", "TLS_KEY_FILE")

    def no_password() -> str:  # without it OpenSSL would ask on the terminal, and wait
        raise SettingsError(
            f"{key} is encrypted; store the private key without a passphrase, readable by the invoker alone"
        )

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{key} is not the key of the certificate {certificate}; give the pair") from error
        raise SettingsError(
            f"{certificate} and {key} can't be used ({error.reason or 'no PEM data'}); "
            "both have to be PEM, the certificate first in its chain"
        ) from error


def _require_clients(context: ssl.SSLContext, client_ca: Path) -> None:
    _readable(client_ca, "the authority of client certificates", "TLS_CLIENT_CA_FILE")
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise SettingsError(
            f"{client_ca} holds no certificate authority in PEM ({error.reason or 'no PEM data'}); give one"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _readable(path: Path, what: str, variable: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{what}, {path}, can't be read: {reason}; mend the file or {variable}") from error
