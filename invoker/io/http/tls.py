"""◆ The server's side of TLS. A wrong file is told with its path and what to do, before anything listens.

Certificates are renewed without a restart. Loading the new pair into the context that serves is not safe: OpenSSL takes
the certificate first, drops the key that doesn't fit it, and only then is given the new key. A mismatched pair so ends
every later handshake, and one that comes in between, from the loop while a thread loads, fails. So a new context is
made and proved in a thread, and takes the old one's place in one assignment, for the connections to come. Those that
are open keep the context that they began with.
"""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from invoker.errors import SettingsError
from invoker.io.watched import LOOK_EVERY_S, Watched, WatchedFile

X509_V_FLAG_NO_CHECK_TIME = 0x200000
"""OpenSSL's, which the module `ssl` has no name for."""

SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files. With `client_ca`, clients may show a certificate of that authority; `access` says who has to."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    look_every_s: float = LOOK_EVERY_S


class Loaded(msgspec.Struct, frozen=True):
    """A context that can serve, and the end of its certificate's life (Unix seconds)."""

    context: ssl.SSLContext
    subject: str
    not_after_s: float


class ServerTls(Watched[Loaded]):
    """The certificate of a listener, which is given `current`; `open` before it starts.

    `on_reload("tls", taken)` is told of each change, `on_expiry(not_after_s)` of the end of each certificate's life.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        on_reload: Callable[[str, bool], None] = lambda _what, _taken: None,
        on_expiry: Callable[[float], None] = lambda _not_after_s: None,
    ) -> None:
        self._pem = files
        self._current: ssl.SSLContext | None = None
        self._on_expiry = on_expiry
        super().__init__(
            "tls",
            watched_files(files.certificate, files.key, files.client_ca),
            self._load,
            self._serve,
            every_s=files.look_every_s,
            on_reload=on_reload,
        )

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        if self._current is None:
            raise RuntimeError("current: open first")
        return self._current

    async def check(self) -> str:
        """What would be served. Raises PlatformFault."""
        loaded = await self.tried()
        until = datetime.datetime.fromtimestamp(loaded.not_after_s, datetime.UTC)
        clients = "" if self._pem.client_ca is None else f", client certificates of {self._pem.client_ca}"
        state = "EXPIRED at" if until < datetime.datetime.now(datetime.UTC) else "valid until"
        return f"certificate of {loaded.subject}, {state} {until:%Y-%m-%d %H:%M} UTC{clients}"

    def _load(self, _contents: tuple[bytes, ...]) -> Loaded:
        files = self._pem
        context = server_context(files.certificate, files.key, files.client_ca)
        return Loaded(context, *_life(context, files.certificate))

    def _serve(self, loaded: Loaded) -> None:
        self._current = loaded.context
        self._on_expiry(loaded.not_after_s)


def watched_files(certificate: Path, key: Path, client_ca: Path | None) -> tuple[WatchedFile, ...]:
    """The files, with what they are and the settings that name them."""
    files = (
        WatchedFile(certificate, "the server's certificate", "TLS_CERT_FILE"),
        WatchedFile(key, "the server's private key", "TLS_KEY_FILE"),
    )
    if client_ca is None:
        return files
    return (*files, WatchedFile(client_ca, "the authority of client certificates", "TLS_CLIENT_CA_FILE"))


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer with the PEM files given (contract, section 4).

    With `client_ca` a client is asked for a certificate of that authority: one that it shows has to be good, or the
    handshake fails. One that shows none is let through, for probes have none; `access.Clients` refuses it where a
    certificate is needed. HTTP/1.1 is offered by ALPN, clients of HTTP/2 fall back to it. Sessions are not resumed:
    connections are kept anyway, and a resumed one would be taken without looking at the client's certificate again.
    Raises SettingsError.
    """
    for file in watched_files(certificate, key, client_ca):
        file.read()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load_chain(context, certificate, key)
    if client_ca is not None:
        _trust_clients(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load the pair into a context that serves nobody yet. Raises SettingsError; the context is then of no use."""

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
    except OSError as error:  # it was there a moment ago
        raise SettingsError(f"{certificate} and {key} can't be read: {error.strerror}") from error


def _trust_clients(context: ssl.SSLContext, client_ca: Path) -> None:
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise SettingsError(
            f"{client_ca} holds no certificate authority in PEM ({error.reason or 'no PEM data'}); give one"
        ) from error
    except OSError as error:
        raise SettingsError(f"{client_ca} can't be read: {error.strerror}") from error


def _life(context: ssl.SSLContext, path: Path) -> tuple[str, float]:
    """Subject and end of the certificate that a server's context shows.

    Only a peer gets to see a certificate's fields, so the context shakes hands, in memory, with a client that trusts
    nothing else and doesn't mind the time. (A library of certificates would take 7 MB for two fields.)
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME
    try:
        client.load_verify_locations(path)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server_side = context.wrap_bio(to_server, to_client, server_side=True)
        client_side = client.wrap_bio(to_client, to_server)
        for side in (client_side, server_side, client_side):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        shown = client_side.getpeercert() or {}
    except ssl.SSLError as error:
        raise SettingsError(f"{path} holds no certificate that can serve ({error.reason or 'no PEM data'})") from error
    names = cast("tuple[tuple[tuple[str, str], ...], ...]", shown.get("subject", ()))
    subject = ", ".join(f"{SHORT.get(name, name)}={value}" for part in names for name, value in part)
    return subject or "no subject", float(ssl.cert_time_to_seconds(str(shown["notAfter"])))
