"""◆ Actions in CouchDB: a document, and for large code an attachment beside it (contract, section 8).

The attachment is read at the revision of the document that names it, so code and limits of two revisions never meet.
A cache stands before this (`action_cache`): what is read here is read once for each revision.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from invoker.errors import ActionNotFound, PlatformFault
from invoker.io.couchdb.client import Answer, CouchClient, no_database, segment, told
from invoker.io.metrics import Metrics, Operation
from invoker.protocol.document import ActionDocument, AttachedCode, decode_action, with_attachment

OK = 200
NOT_FOUND = 404


class CouchActions:
    """An ActionStore: the actions of one database. `metrics` are those of the contract's section 15."""

    def __init__(self, client: CouchClient, database: str, metrics: Metrics) -> None:
        self._client = client
        self._database = segment(database)
        self._metrics = metrics

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """The action with its code, as ActionStore. Raises ActionNotFound where CouchDB says so of the document or of
        its attachment, PlatformFault for all else: no answer in 2 min, no JSON, too large."""
        place = f"{self._database}/{segment(f'{path}/{name}')}"
        with _measured(self._metrics.get_document):
            body = await self._read(place, revision, f"action {path}/{name}")
            document = decode_action(body)
        code = document.code
        if not isinstance(code, AttachedCode):
            return document
        with _measured(self._metrics.get_attachment):
            what = f"attachment {code.attachment} of action {path}/{name}"
            data = await self._read(f"{place}/{segment(code.attachment)}", revision or document.revision, what)
            return with_attachment(document, data)

    async def _read(self, place: str, revision: str | None, what: str) -> bytes:
        answer: Answer = await self._client.read(place, f"rev={segment(revision)}" if revision else "")
        if answer.status == OK:
            return answer.body
        at = f" at revision {revision}" if revision else ""
        if answer.status == NOT_FOUND and not no_database(answer):
            raise ActionNotFound(f"there is no {what}{at}")
        raise PlatformFault(told(answer, f"the question for {what}{at}"))


@contextmanager
def _measured(operation: Operation) -> Generator[None]:
    """Count a call and take its time; what CouchDB says is not there is an answer, no error."""
    operation.start.inc()
    began_s = time.perf_counter()
    try:
        yield
    except ActionNotFound:
        raise
    except BaseException:
        operation.error.inc()
        raise
    finally:
        operation.finish.observe(time.perf_counter() - began_s)
