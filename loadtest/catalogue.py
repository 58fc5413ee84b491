"""◆ What a controller has in CouchDB: actions, which it keeps for its users, their records, and who its users are.

An action's document is remembered for a moment, for a load asks for the same one thousands of times a second; what is
put or deleted through this controller is forgotten at once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import time
from collections import OrderedDict
from urllib.parse import urlencode

import msgspec

from invoker.errors import ActionNotFound, CallerFault, PlatformFault
from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.client import Answer, CouchClient, segment, told
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.dev.documents import action_document
from loadtest.calls import ACTION, CODE
from loadtest.messages import Action, Identity, decode_document

OK, CREATED, ACCEPTED, NOT_FOUND, CONFLICT, TOO_LARGE = 200, 201, 202, 404, 409, 413
ACTIONS_REMEMBERED = 10_000
SUBJECTS_EVERY_S, UNKNOWN_EVERY_S = 60.0, 1.0
"""How old what is known of the subjects may be, where it is asked for a known one and for an unknown one."""
ROWS_MAX = 200


class Conflict(CallerFault):
    """Another one is there already, or was put meanwhile."""


class _Row(msgspec.Struct):
    doc: msgspec.Raw


class _Rows(msgspec.Struct):
    rows: list[_Row] = []


class _Namespace(msgspec.Struct):
    name: str = ""
    uuid: str = ""
    key: str = ""


class _Subject(msgspec.Struct):
    subject: str = ""
    namespaces: list[_Namespace] = []
    blocked: bool = False


class _Put(msgspec.Struct):
    rev: str


class Catalogue:
    """The three databases, over one client."""

    def __init__(self, client: CouchClient, settings: CouchDbSettings, action_ttl_s: float) -> None:
        self._client = client
        self._actions = segment(settings.actions_database)
        self._records = segment(settings.records_database)
        self._subjects = segment(settings.subjects_database)
        self._ttl_s = action_ttl_s
        self._known: OrderedDict[str, tuple[float, Action]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Action]] = {}
        self._identities: dict[str, Identity] = {}
        self._identities_s = -SUBJECTS_EVERY_S

    # --- actions ------------------------------------------------------------------------------------------------

    async def action(self, path: str, name: str) -> Action:
        """The action, perhaps as it was a moment ago. Raises ActionNotFound, PlatformFault."""
        full_name = f"{path}/{name}"
        known = self._known.get(full_name)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        reading = self._reading.get(full_name)
        if reading is None:  # those who ask at the same time share one read
            reading = asyncio.get_running_loop().create_task(self._read_action(path, name))
            self._reading[full_name] = reading
            reading.add_done_callback(lambda _: self._reading.pop(full_name, None))
        return await asyncio.shield(reading)

    async def _read_action(self, path: str, name: str) -> Action:
        found = decode_document(await self.document(path, name))
        self._known[f"{path}/{name}"] = (time.monotonic() + self._ttl_s, found)
        self._known.move_to_end(f"{path}/{name}")
        if len(self._known) > ACTIONS_REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def document(self, path: str, name: str) -> bytes:
        """The action's document as it is now. Raises ActionNotFound, PlatformFault."""
        answer = await self._client.read(f"{self._actions}/{segment(f'{path}/{name}')}")
        if answer.status == NOT_FOUND:
            raise ActionNotFound(f"there is no action {path}/{name}")
        _expect(answer, f"the question for action {path}/{name}", OK)
        return answer.body

    async def put(self, path: str, name: str, document: bytes, revision: str | None) -> str:
        """Keep the action, in the place of `revision` where one is given; its new revision. Raises Conflict."""
        query = urlencode({"rev": revision}) if revision else ""
        place = f"{self._actions}/{segment(f'{path}/{name}')}"
        answer = await self._client.once("PUT", place, query, body=document)
        self._known.pop(f"{path}/{name}", None)
        if answer.status == CONFLICT:
            raise Conflict(f"action {path}/{name} was put by somebody else meanwhile; read it and put it again")
        if answer.status == TOO_LARGE:
            raise CallerFault(f"action {path}/{name} is larger than CouchDB takes in one document")
        _expect(answer, f"putting action {path}/{name}", CREATED, ACCEPTED)
        return msgspec.json.decode(answer.body, type=_Put).rev

    async def delete(self, path: str, name: str, revision: str) -> None:
        """Delete it as it was read. Raises Conflict."""
        place = f"{self._actions}/{segment(f'{path}/{name}')}"
        answer = await self._client.once("DELETE", place, urlencode({"rev": revision}))
        self._known.pop(f"{path}/{name}", None)
        if answer.status == CONFLICT:
            raise Conflict(f"action {path}/{name} was changed meanwhile; read it and delete it again")
        _expect(answer, f"deleting action {path}/{name}", OK, ACCEPTED)

    async def actions(self, namespace: str, *, limit: int, skip: int) -> list[bytes]:
        """The documents of a namespace's actions, by name."""
        between = {"startkey": _text(f"{namespace}/"), "endkey": _text(f"{namespace}0")}  # "0" comes after "/"
        query = between | {"inclusive_end": "false", "include_docs": "true", "limit": limit, "skip": skip}
        answer = await self._client.read(f"{self._actions}/_all_docs", urlencode(query))
        _expect(answer, f"the question for the actions of {namespace}", OK)
        return [bytes(row.doc) for row in msgspec.json.decode(answer.body, type=_Rows).rows]

    # --- records ------------------------------------------------------------------------------------------------

    async def record(self, namespace: str, activation: str) -> bytes | None:
        """An activation's record, None where there is none. Raises PlatformFault."""
        answer = await self._client.read(f"{self._records}/{segment(f'{namespace}/{activation}')}")
        if answer.status == NOT_FOUND:
            return None
        _expect(answer, f"the question for activation {activation}", OK)
        return answer.body

    # --- users --------------------------------------------------------------------------------------------------

    async def user(self, authorization: str) -> Identity | None:
        """Who sends this header `Authorization`; None for nobody known. Raises PlatformFault."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            credentials = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            return None
        uuid, _, key = credentials.partition(":")
        age_s = time.monotonic() - self._identities_s
        if age_s >= (SUBJECTS_EVERY_S if uuid in self._identities else UNKNOWN_EVERY_S):
            await self._read_subjects()
        found = self._identities.get(uuid)
        known = found is not None and bool(key) and secrets.compare_digest(found.key.encode(), key.encode())
        return found if known else None

    async def _read_subjects(self) -> None:
        """All of them: a cluster of this size has few, and their database has no view for this."""
        answer = await self._client.read(f"{self._subjects}/_all_docs", "include_docs=true")
        _expect(answer, "the question for the subjects", OK)
        self._identities_s = time.monotonic()
        found: dict[str, Identity] = {}
        for row in msgspec.json.decode(answer.body, type=_Rows).rows:
            try:
                subject = msgspec.json.decode(row.doc, type=_Subject)
            except msgspec.MsgspecError:
                continue  # a design document, or limits
            if not subject.blocked:
                for each in subject.namespaces:
                    found[each.uuid] = Identity(subject.subject, each.name, each.uuid, each.key)
        self._identities = found


async def put_load(settings: CouchDbSettings, *, memory_mb: int, timeout_ms: int) -> tuple[str, str]:
    """Keep the function of the loads as guest/load, new or changed, and see that there is a guest.

    Returns (the guest's credentials, the function's revision). Raises PlatformFault, CallerFault.
    """
    made = await couch_admin.init(settings, "guest")
    client = CouchClient(settings)
    await client.open()
    try:
        catalogue = Catalogue(client, settings, 0)
        try:
            former: bytes | None = await catalogue.document("guest", ACTION)
        except ActionNotFound:
            former = None
        limits = {"memory": memory_mb, "timeout": timeout_ms}
        wanted = msgspec.json.encode({"exec": {"kind": "python:3", "code": CODE}, "limits": limits})
        now_ms = time.time_ns() // 1_000_000
        document = action_document("guest", ACTION, wanted, former, kinds=(), memory_mb_max=1 << 20, now_ms=now_ms)
        revision = decode_document(former).revision if former else None
        return made.credentials, await catalogue.put("guest", ACTION, document, revision)
    finally:
        await client.close()


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def _expect(answer: Answer, doing: str, *statuses: int) -> None:
    if answer.status not in statuses:
        raise PlatformFault(told(answer, doing))
