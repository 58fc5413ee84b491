"""◆ HTTP to the invokers: a request, its head, its body; and what each way to fail means for who has the activation.

The head is the receipt (contract, section 4): nothing runs before it is out, and from there on the activation runs to
its end. So what fails before the head was refused, whatever it was that failed, with one exception: where the
connection stands and no head comes, the invoker may still be about to accept it. What fails after the head is cut.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping

import aiohttp

from invoker.errors import PlatformFault, SettingsError
from loadtest.settings import ControllerSettings, InvokerAddress

INVOKE, PING = "/invoke", "/ping"
OK, BAD_REQUEST, UNAVAILABLE = 200, 400, 503
REFUSAL_BYTES_MAX = 4096
PIECE_BYTES = 1 << 16


class NotAccepted(PlatformFault):
    """Nothing runs, and another invoker may have it. `unfit`: nobody listens there, or it wants nothing now."""

    def __init__(self, text: str, *, unfit: bool) -> None:
        super().__init__(text)
        self.unfit = unfit


class Rejected(PlatformFault):
    """The message itself is at fault: no invoker would take it."""


class Unanswered(PlatformFault):
    """No head came in time: the invoker may accept it yet."""


class BodyCut(PlatformFault):
    """Accepted, and the answer broke off."""


class Links:
    """Connections to all invokers, as many as there are activations under way. `open` before use."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | None = None

    async def open(self) -> None:
        """Read the authority; nothing is connected yet. Raises SettingsError."""
        self._ssl = await asyncio.to_thread(_trust, self._settings.authority)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
        )

    async def close(self) -> None:
        """Hang up. Twice is once."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self,
        to: InvokerAddress,
        body: bytes,
        headers: Mapping[str, str],
        accepted: Callable[[], object] = lambda: None,
    ) -> bytes:
        """POST /invoke: calls `accepted` once the head has come, and returns the acknowledgement at the end.

        Raises NotAccepted, Rejected or Unanswered before `accepted`, BodyCut after it.
        """
        response = await self._head(to, body, headers)
        async with response:
            if response.status != OK:
                raise await _refusal(to, response)
            accepted()
            try:
                return await self._body(response)
            except (aiohttp.ClientError, OSError) as problem:
                raise BodyCut(
                    f"invoker{to.instance} accepted the activation, and its answer broke off: {_words(problem)}"
                ) from problem

    async def ping(self, to: InvokerAddress) -> bool:
        """GET /ping: whether it answered in time. Raises NotAccepted where nobody listens."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                async with self._opened.get(to.url + PING, server_hostname=self._name) as response:
                    return response.status == OK
        except aiohttp.ConnectionTimeoutError:
            return False
        except aiohttp.ClientConnectorError as problem:
            raise NotAccepted(
                f"invoker{to.instance} at {to.url} can't be reached: {_words(problem)}", unfit=True
            ) from (problem)
        except (aiohttp.ClientError, OSError):
            return False

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise PlatformFault("the controller is not open")
        return self._session

    @property
    def _name(self) -> str | None:
        return self._settings.tls_server_name or None

    async def _head(self, to: InvokerAddress, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        fields = {"Content-Type": "application/json", **headers}
        who = f"invoker{to.instance} at {to.url}"
        try:
            async with asyncio.timeout(self._settings.head_timeout_s):
                return await self._opened.post(to.url + INVOKE, data=body, headers=fields, server_hostname=self._name)
        except aiohttp.ConnectionTimeoutError as problem:
            raise NotAccepted(f"{who} can't be reached in time", unfit=True) from problem
        except TimeoutError as problem:
            raise Unanswered(f"{who} has not said within {self._settings.head_timeout_s:g} s whether it accepts") from (
                problem
            )
        except aiohttp.ClientConnectorError as problem:
            raise NotAccepted(f"{who} can't be reached: {_words(problem)}", unfit=True) from problem
        except (aiohttp.ClientError, OSError) as problem:
            raise NotAccepted(f"{who} hung up without a word: {_words(problem)}", unfit=False) from problem

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            body += piece
            if len(body) > self._settings.answer_limit_bytes:
                raise aiohttp.ClientPayloadError(f"it is longer than {self._settings.answer_limit_bytes} bytes")
        return bytes(body)


async def _refusal(to: InvokerAddress, response: aiohttp.ClientResponse) -> PlatformFault:
    """What another status than 200 means."""
    try:
        said = (await response.content.read(REFUSAL_BYTES_MAX)).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError):
        said = ""
    text = f"invoker{to.instance} answered {response.status}: {said}"
    if BAD_REQUEST <= response.status < 500:
        return Rejected(text)
    return NotAccepted(text, unfit=response.status == UNAVAILABLE)


def _trust(authority: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except OSError as problem:  # ssl.SSLError is one
            raise SettingsError(
                f"the authority of the invokers' certificates, {authority}, can't be read "
                f"({problem.strerror or 'no PEM data'}); mend the file or the setting"
            ) from problem
    return context


def _words(problem: BaseException) -> str:
    return str(problem) or type(problem).__name__
