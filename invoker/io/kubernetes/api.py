"""◆ The Kubernetes API server over HTTP: pages of a list, lines of a watch. Each answer is bounded, each failure ours.

The credentials are a pod's: a token that the kubelet replaces about every hour, and the cluster's authority. Both are
looked at for each request, so a new one is used as soon as it lies there. Redirects are not followed and proxies of the
environment are not used: the token goes to one server alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import msgspec

from invoker.errors import PlatformFault
from invoker.io.kubernetes.objects import Status
from invoker.io.kubernetes.settings import KubernetesSettings

TOKEN_LIMIT_BYTES = 64 * 1024
STATUS_LIMIT_BYTES = 64 * 1024
REASON_LIMIT_CHARACTERS = 300
RETRY_AFTER_MAX_S = 120.0
CONNECTIONS_MAX = 16
"""Of one client: a watch for each resource, and as many lists beside."""

_status = msgspec.json.Decoder(Status)


class ApiFault(PlatformFault):
    """A request failed. `status` is the HTTP status, None where no whole answer came.

    `retry_after_s`: how long the server asked to be left alone, 0 where it did not.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Silence(ApiFault):
    """Nothing was said on a watch for so long that the server may be gone."""


class Credentials:
    """A service account's directory, with `token` and `ca.crt`; both may be replaced at any time."""

    def __init__(self, directory: str) -> None:
        self._token = Path(directory) / "token"
        self._authority = Path(directory) / "ca.crt"
        self._context: ssl.SSLContext | None = None
        self._authority_seen: bytes | None = None

    def bearer(self) -> str:
        """The token of this moment. Raises ApiFault."""
        token = _read(self._token, "the service account's token").decode("ascii", "replace").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise ApiFault(f"{self._token} holds no token; see that the pod's service account is mounted there")
        return token

    def tls(self) -> ssl.SSLContext:
        """A context that trusts the authority of this moment, and nothing else. Raises ApiFault."""
        text = _read(self._authority, "the cluster's authority")
        if self._context is None or text != self._authority_seen:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                context.load_verify_locations(cadata=text.decode("ascii", "replace"))
            except ssl.SSLError as error:
                raise ApiFault(
                    f"{self._authority} holds no certificate authority in PEM ({error.reason or 'no PEM data'})"
                ) from error
            self._context, self._authority_seen = context, text
        return self._context


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:  # on the kubelet's tmpfs: no disk is waited for
            return file.read(TOKEN_LIMIT_BYTES)
    except OSError as error:
        raise ApiFault(
            f"{what}, {path}, can't be read: {(error.strerror or str(error)).lower()}; let the pod mount its service "
            "account (automountServiceAccountToken), or set KUBERNETES=off where there is no cluster"
        ) from error


class KubernetesApi:
    """One API server. `get` and `lines` raise ApiFault. A closed one opens again with the next request."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._credentials = Credentials(settings.credentials_dir)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, parameters: Mapping[str, str], what: str) -> bytes:
        """The body of a whole answer, at most `page_limit_bytes`. `what` names the request for people."""
        settings = self._settings
        limit_bytes, body = settings.page_limit_bytes, bytearray()
        async with self._answer(path, parameters, what, settings.request_timeout_s, None) as response:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise ApiFault(f"{what}: the answer is longer than {limit_bytes} bytes")
        return bytes(body)

    @asynccontextmanager
    async def lines(
        self, path: str, parameters: Mapping[str, str], what: str, limit_s: float
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, each at most `event_limit_bytes`, for at most `limit_s`.

        The iteration ends where the server ends the answer; a last line without its end is half an event, and dropped.
        Raises Silence where nothing comes for `silence_s`.
        """
        answered = False
        try:
            async with self._answer(path, parameters, what, limit_s, self._settings.silence_s) as response:
                answered = True
                yield _lines(response.content, self._settings.event_limit_bytes, what)
        except Silence as silence:
            if answered:
                raise
            raise ApiFault(str(silence)) from silence

    async def close(self) -> None:
        """Free the connections. Twice is once."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _answer(
        self, path: str, parameters: Mapping[str, str], what: str, limit_s: float, silence_s: float | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A good answer, its body still to be read; the faults of reading it are mapped as well."""
        url = self._url + path
        headers = {"Authorization": f"Bearer {self._credentials.bearer()}", "Accept": "application/json"}
        context = self._credentials.tls() if url.startswith("https:") else True
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s, sock_read=silence_s)
        with _ours(f"{what} at {self._url}", limit_s, silence_s):
            async with (
                asyncio.timeout(limit_s),
                self._opened().get(
                    url, params=parameters, headers=headers, ssl=context, timeout=timeout, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise await _refusal(response, what)
                yield response

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


async def _lines(content: aiohttp.StreamReader, limit_bytes: int, what: str) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in content.iter_any():
        *whole, begun = chunk.split(b"\n")
        for part in whole:
            rest += part
            if len(rest) > limit_bytes:
                break
            if rest:
                yield bytes(rest)
            rest.clear()
        else:
            rest += begun
        if len(rest) > limit_bytes:
            raise ApiFault(f"{what}: an event is longer than {limit_bytes} bytes")


@contextmanager
def _ours(what: str, limit_s: float, silence_s: float | None) -> Generator[None]:
    """Turns what aiohttp and the machine raise into ApiFault."""
    try:
        yield
    except aiohttp.SocketTimeoutError as error:
        raise Silence(f"{what}: nothing came for {silence_s} s") from error
    except aiohttp.ServerTimeoutError as error:
        raise ApiFault(f"{what}: no connection in time; is the address right, and the way open?") from error
    except TimeoutError as error:
        raise ApiFault(f"{what}: not done within {limit_s:g} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise ApiFault(
            f"{what}: its certificate is not of the cluster's authority ({error.certificate_error}); see ca.crt"
        ) from error
    except aiohttp.ClientPayloadError as error:
        raise ApiFault(f"{what}: the connection broke off in the middle of an answer") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ApiFault(f"{what}: {error or type(error).__name__}") from error


async def _refusal(response: aiohttp.ClientResponse, what: str) -> ApiFault:
    body = await response.content.read(STATUS_LIMIT_BYTES)
    try:
        said = _status.decode(body)
    except msgspec.MsgspecError:
        said = Status(body.decode("utf-8", "replace"))
    header = response.headers.get("Retry-After", "")
    retry_after_s = float(header) if header.isascii() and header.isdecimal() else 0.0
    if said.details is not None:
        retry_after_s = max(retry_after_s, float(said.details.retry_after_seconds))
    reason = said.message[:REASON_LIMIT_CHARACTERS] or response.reason or ""
    return ApiFault(f"{what}: {response.status}, {reason}", response.status, min(retry_after_s, RETRY_AFTER_MAX_S))
