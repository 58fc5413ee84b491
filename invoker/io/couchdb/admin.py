"""◆ What CouchDB has to hold before an invoker can work with it: looked at, and made by `invoker couchdb init`.

By aiocouch: this is rare, small, and about databases and design documents, which it knows. Its errors, and those of the
transport below it, end here.
"""

from __future__ import annotations

import asyncio
import secrets
import string
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiocouch
import aiohttp

from invoker.errors import PlatformFault
from invoker.io.couchdb.blocked import DESIGN, VIEW
from invoker.io.couchdb.client import authorization, trust
from invoker.io.couchdb.settings import CouchDbSettings

COMMAND = "invoker couchdb init"
CONNECTIONS_MAX = 4
CALL_TIMEOUT_S = 10.0
KEY_CHARACTERS = 64

BLOCKED_MAP = """\
function (doc) {
  var end = '/limits', id = doc._id;
  if (id.length > end.length && id.slice(-end.length) === end) {
    if (doc.concurrentInvocations === 0 || doc.invocationsPerMinute === 0) {
      emit(id.slice(0, -end.length), 1);
    }
  } else if (doc.blocked && doc.subject && doc.namespaces) {
    doc.namespaces.forEach(function (namespace) { emit(namespace.name, 1); });
  }
}"""
"""A namespace is blocked where its limits allow it nothing, or where a subject that owns it is."""


class UserRefused(PlatformFault):
    """CouchDB answers, and knows no such user or password, or doesn't let him do that."""


class Examined(NamedTuple):
    """What was found: the server's version, and what is missing, each in a word or two."""

    version: str
    missing: list[str]


class Initialised(NamedTuple):
    """What `init` made, and the subject's credentials, `uuid:key`."""

    made: list[str]
    subject: str
    credentials: str


async def examine(settings: CouchDbSettings) -> Examined:
    """Look whether the databases and the view are there. Raises PlatformFault where CouchDB doesn't answer."""
    async with _server(settings) as server:
        version = str((await server.info()).get("version", "unknown"))
        missing = [f"database {name}" for name in _databases(settings) if await _database(server, name) is None]
        subjects = await _database(server, settings.subjects_database)
        if subjects is None or not await _answers(subjects):
            missing.append(f"view {DESIGN}/{VIEW} in {settings.subjects_database}")
        return Examined(version, missing)


def complain(settings: CouchDbSettings, missing: list[str]) -> PlatformFault:
    """The one message about all that is missing, with the command that makes it."""
    return PlatformFault(f"CouchDB at {settings.url} lacks {', '.join(missing)}; make it with `{COMMAND}`")


async def init(settings: CouchDbSettings, subject: str) -> Initialised:
    """Make what is missing: databases, design document, and a subject with a namespace of the same name.

    What is there stays as it is, the subject's credentials too, so it may be called any number of times. Raises
    PlatformFault.
    """
    made: list[str] = []
    async with _server(settings) as server:
        for name in _databases(settings):
            if await _database(server, name) is None:
                await server.create(name, exists_ok=True)  # two may begin at once
                made.append(f"database {name}")
        subjects = await server[settings.subjects_database]
        design = await subjects.design_doc(DESIGN, exists_ok=True)
        views = dict(_views(design))
        if VIEW not in views:
            views |= {VIEW: {"map": BLOCKED_MAP, "reduce": "_sum"}}
            # aiocouch leaves `_design/` out of the id in the body, and not every server takes the one in the path
            design.update({"_id": f"_design/{DESIGN}", "language": "javascript", "views": views})
            await design.save()
            made.append(f"view {DESIGN}/{VIEW}")
        document = await subjects.create(subject, exists_ok=True)
        if not document.get("namespaces"):
            document["subject"] = subject
            document["namespaces"] = [{"name": subject, "uuid": str(uuid.uuid4()), "key": _fresh_key()}]
            await document.save()
            made.append(f"subject {subject}")
        return Initialised(made, subject, _credentials(subject, document["namespaces"]))


def _databases(settings: CouchDbSettings) -> tuple[str, str, str]:
    return settings.actions_database, settings.records_database, settings.subjects_database


async def _database(server: aiocouch.CouchDB, name: str) -> aiocouch.Database | None:
    try:
        return await server[name]
    except aiocouch.NotFoundError:
        return None


async def _answers(subjects: aiocouch.Database) -> bool:
    """Whether the view can be read: what the invoker will do, however the view came there."""
    try:
        await subjects.view(DESIGN, VIEW).get(reduce=False, limit=0)
    except aiocouch.NotFoundError:
        return False
    return True


def _views(design: aiocouch.Document) -> dict[str, Any]:
    return design.get("views") or {}


@asynccontextmanager
async def _server(settings: CouchDbSettings) -> AsyncGenerator[aiocouch.CouchDB]:
    """The server, with what goes wrong inside as ours."""
    context = await asyncio.to_thread(trust, settings)
    server = aiocouch.CouchDB(
        settings.url,
        timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, sock_connect=settings.connect_timeout_s),
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=True if context is None else context),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # aiocouch takes no headers; its transport deprecates its way to log in, and a server that isn't asked for JSON may
    # call its JSON plain text
    headers = server._server._http_session.headers  # pyright: ignore[reportPrivateUsage]
    headers.update({"Authorization": authorization(settings), "Accept": "application/json"})
    try:
        yield server
    except PermissionError as problem:  # aiocouch's, of 401 and 403
        raise UserRefused(
            f"CouchDB at {settings.url} refuses the user {settings.username!r}: {problem}; "
            "see COUCH_USERNAME and COUCH_PASSWORD"
        ) from problem
    except aiohttp.ClientResponseError as problem:
        raise PlatformFault(f"CouchDB at {settings.url} answered {problem.status} {problem.message}") from problem
    except (aiohttp.ClientError, OSError) as problem:
        words = "no answer in time" if isinstance(problem, TimeoutError) else str(problem)
        raise PlatformFault(f"CouchDB at {settings.url} can't be reached: {words}; see COUCH_URL") from problem
    except (KeyError, ValueError) as problem:  # aiocouch's, of every other status
        raise PlatformFault(f"CouchDB at {settings.url}: {problem.args[0] if problem.args else problem}") from problem
    finally:
        await server.close()


def _credentials(subject: str, namespaces: list[dict[str, Any]]) -> str:
    for namespace in namespaces:
        if namespace.get("uuid") and namespace.get("key"):
            return f"{namespace['uuid']}:{namespace['key']}"
    raise PlatformFault(
        f"the subject {subject} is there, but has no namespace with a uuid and a key; mend its document"
    )


def _fresh_key() -> str:
    characters = string.ascii_letters + string.digits
    return "".join(secrets.choice(characters) for _ in range(KEY_CHARACTERS))
