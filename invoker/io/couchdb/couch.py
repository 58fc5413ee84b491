"""◆ CouchDB as the invoker's neighbour: actions, records and blocked namespaces over one client.

A CouchDB that is away keeps nothing from starting: records wait in the spool, blocked namespaces come later, and only
what needs an action that is not in the cache fails meanwhile. One that answers and refuses the user, or lacks its
databases, does: that is a mistake of who set it up, and the message names what mends it.
"""

from __future__ import annotations

import logging

from invoker.errors import PlatformFault
from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.actions import CouchActions
from invoker.io.couchdb.blocked import BlockedNamespaces
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.pace import Pace
from invoker.io.couchdb.records import CLOSE_LIMIT_S, CouchRecords
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SpoolSettings

log = logging.getLogger(__name__)


class Couch:
    """`actions` is an ActionStore, `records` a RecordSink; `namespace in blocked` asks whether one may run nothing."""

    def __init__(
        self, settings: CouchDbSettings, spool: SpoolSettings, metrics: Metrics, *, pace: Pace | None = None
    ) -> None:
        self._settings = settings
        self._client = CouchClient(settings, pace)
        self.actions = CouchActions(self._client, settings.actions_database, metrics)
        self.records = CouchRecords(self._client, settings, spool, metrics, pace=pace)
        self.blocked = BlockedNamespaces(self._client, settings, metrics, pace)

    async def open(self) -> None:
        """Open the spool, look at the databases, read who is blocked. Bounded by the time of one request.

        Raises PlatformFault where the spool can't be used or a database is missing, SettingsError for certificates.
        """
        await self._client.open()
        try:
            found = await couch_admin.examine(self._settings)
        except couch_admin.UserRefused:
            raise
        except PlatformFault as problem:
            log.warning("%s; the start goes on, and CouchDB is tried again", problem)
        else:
            if found.missing:
                raise couch_admin.complain(self._settings, found.missing)
        await self.records.open()
        await self.blocked.open()

    async def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Send what records can be sent within `limit_s`, then end. Twice is once."""
        await self.blocked.close()
        await self.records.close(limit_s)
        await self._client.close()

    async def check(self) -> str:
        """A short text for people, when all is well; needs no `open`. Raises PlatformFault."""
        found = await couch_admin.examine(self._settings)
        if found.missing:
            raise couch_admin.complain(self._settings, found.missing)
        return f"reachable, version {found.version}; databases and views stand"
