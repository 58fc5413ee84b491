"""◆ A copy of one kind of the cluster's objects, kept up to date: list, then watch from the list's version on.

The server may forget (410), err, hang, cut an event in half, close at once or be away; each of these leads back to the
same two steps. What matters is where the watch may go on: after a broken connection or an overloaded server from the
last version seen, after everything else from a new list, for then what was missed is not known. A round that was short
is followed by a wait, whatever ended it, so nothing can make this loop spin.

Versions are opaque: handed back, never compared.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol

import msgspec

from invoker.io.kubernetes.api import ApiFault, KubernetesApi, Silence
from invoker.io.kubernetes.objects import GONE, Event, Item, KubernetesObject, Page, Resource, Status
from invoker.io.kubernetes.settings import KubernetesSettings

log = logging.getLogger(__name__)

WATCH_GRACE_S = 15.0
"""After the time at which the server was to end a watch."""

VERSION_STILL_GOOD = frozenset({401, 408, 429, 500, 502, 503, 504})
"""Refusals of a watch that say nothing of the version it was to begin from."""

_event = msgspec.json.Decoder(Event)
_status = msgspec.json.Decoder(Status)
_bookmark = msgspec.json.Decoder(KubernetesObject)


class Unknown(ApiFault):
    """What the server has done since the last version can't be learnt by watching: list anew."""


class Observer(Protocol):
    """Who wants to know how it goes, for metrics; `resource` is the Resource's name."""

    def listed(self, resource: str) -> None:
        """A complete list was taken."""
        ...

    def watching(self, resource: str, up: bool) -> None:
        """Whether changes arrive now."""
        ...

    def failed(self, resource: str) -> None:
        """A round ended in a fault."""
        ...


class Unobserved:
    """Nobody wants to know."""

    def listed(self, resource: str) -> None: ...
    def watching(self, resource: str, up: bool) -> None: ...
    def failed(self, resource: str) -> None: ...


class Pace(msgspec.Struct, frozen=True):
    """Time and chance. `chance` is even between 0 and 1."""

    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic_s: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def stretched(self, span_s: float) -> float:
        """Between once and twice as long, so that the nodes of a cluster don't ask all at once."""
        return span_s * (1.0 + self.chance())


class Reflector(Generic[Item]):
    """Keeps `objects` (by `KubernetesObject.key`) like the server's, once `synced` is set.

    `changed` is called after each change, on the loop; it has to be quick. `fault` is the last one, None while all is
    well.
    """

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource[Item],
        settings: KubernetesSettings,
        changed: Callable[[], None],
        observer: Observer,
        pace: Pace,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self.fault: ApiFault | None = None
        self._api = api
        self._settings = settings
        self._changed = changed
        self._observer = observer
        self._pace = pace
        self._page = msgspec.json.Decoder(Page[resource.item])
        self._item = msgspec.json.Decoder(resource.item)
        self._objects: dict[str, Item] = {}
        self._version: str | None = None
        self._list_due_s = 0.0
        self._short_rounds = 0

    @property
    def objects(self) -> Mapping[str, Item]:
        """The copy. Only `changed` tells that it is another one now."""
        return self._objects

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            begun_s = self._pace.monotonic_s()
            fault = await self._round()
            steady = self._pace.monotonic_s() - begun_s >= self._settings.steady_s
            self._short_rounds = 0 if steady else self._short_rounds + 1
            if fault is not None:
                self._note(fault)
            delay_s = self._delay_s(0.0 if fault is None else fault.retry_after_s)
            if delay_s > 0.0:
                await self._pace.wait(delay_s)

    async def probe(self, api: KubernetesApi) -> str | None:
        """Ask for the list's first object. What is wrong with that, and what to do, or None."""
        resource, what = self.resource, f"listing {self.resource.name}"
        try:
            self._page.decode(await api.get(resource.path, {**resource.selector, "limit": "1"}, what))
        except ApiFault as fault:
            if fault.status not in (401, 403):
                return str(fault)
            remedy = f"grant the service account list and watch on {resource.grant} (deploy/kubernetes/rbac.yaml)"
            return f"{fault}; {remedy}"
        except msgspec.MsgspecError as error:
            return f"{what}: the answer can't be read: {error}"
        return None

    async def _round(self) -> ApiFault | None:
        """List where it is needed, then one watch to its end, however it ends. Returns what went wrong."""
        try:
            if self._version is None or self._pace.monotonic_s() >= self._list_due_s:
                await self._list()
            await self._watch()
        except Silence as silence:  # no fault of anybody's: a quiet cluster is silent as well
            log.debug("%s", silence)
        except ApiFault as fault:
            if isinstance(fault, Unknown) or fault.status not in {None, *VERSION_STILL_GOOD}:
                self._version = None
            return fault
        except Exception as error:  # a defect of ours: it is told, and the copy is made anew
            log.error("watching %s failed", self.resource.name, exc_info=error)
            self._version = None
            return ApiFault(f"watching {self.resource.name}: {error!r}")
        finally:
            self._observer.watching(self.resource.name, False)
        return None

    def _delay_s(self, retry_after_s: float) -> float:
        """How long to wait before the next round: not at all after a steady one, else longer each time."""
        settings = self._settings
        if self._short_rounds == 0:
            return retry_after_s
        doublings = min(self._short_rounds - 1, 30)
        delay_s = min(settings.backoff_first_s * 2.0**doublings, settings.backoff_max_s)
        return max(retry_after_s, delay_s * (0.5 + 0.5 * self._pace.chance()))

    def _note(self, fault: ApiFault) -> None:
        """Count every fault, and tell the first of each spell of trouble."""
        self._observer.failed(self.resource.name)
        if fault.status == GONE:  # an ordinary thing in the life of a watch
            log.debug("%s", fault)
            return
        log.log(logging.WARNING if self.fault is None else logging.DEBUG, "%s; trying again", fault)
        self.fault = fault

    def _well(self) -> None:
        if self.fault is not None:
            log.info("%s are watched again", self.resource.name)
            self.fault = None

    async def _list(self) -> None:
        """Take everything anew; the copy is replaced once the last page is there, and stays as it was until then."""
        try:
            found, version = await self._pages(self._settings.page_objects)
        except ApiFault as fault:
            if fault.status != GONE:
                raise
            # The pages' version was forgotten while they were read. In one piece, a list can't be overtaken.
            found, version = await self._pages(None)
        before, self._objects, self._version = self._objects, found, version
        self._list_due_s = self._pace.monotonic_s() + self._pace.stretched(self._settings.resync_s)
        self._observer.listed(self.resource.name)
        first = not self.synced.is_set()
        self.synced.set()
        if first or before != found:
            self._changed()

    async def _pages(self, page_objects: int | None) -> tuple[dict[str, Item], str]:
        resource, found = self.resource, dict[str, Item]()
        what = f"listing {resource.name}"
        parameters = (
            dict(resource.selector) if page_objects is None else {**resource.selector, "limit": f"{page_objects}"}
        )
        while True:
            body = await self._api.get(resource.path, parameters, what)
            try:
                page = self._page.decode(body)
            except msgspec.MsgspecError as error:
                raise Unknown(f"{what}: the answer can't be read: {error}") from error
            found.update((item.key, item) for item in page.items or ())
            if len(found) > self._settings.objects_max:
                raise Unknown(f"{what}: there are more than {self._settings.objects_max}")
            if not page.metadata.continue_:
                return found, _known(page.metadata.resource_version, what)
            if not page.items:
                raise Unknown(f"{what}: an empty page says that more follow")
            parameters["continue"] = page.metadata.continue_

    async def _watch(self) -> None:
        """One watch, until the server ends it, a fault, or the time for a new list."""
        resource, settings, pace = self.resource, self._settings, self._pace
        watch_s = max(1.0, min(pace.stretched(settings.watch_s), self._list_due_s - pace.monotonic_s()))
        parameters = {
            **resource.selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": f"{watch_s:.0f}",
        }
        what = f"watching {resource.name}"
        async with self._api.lines(resource.path, parameters, what, watch_s + WATCH_GRACE_S) as lines:
            self._observer.watching(resource.name, True)
            self._well()
            async for line in lines:
                try:
                    self._apply(_event.decode(line))
                except msgspec.MsgspecError as error:
                    raise Unknown(f"{what}: an event can't be read: {error}") from error

    def _apply(self, event: Event) -> None:
        what = f"watching {self.resource.name}"
        if event.type == "ERROR":
            status = _status.decode(event.object)
            raise Unknown(f"{what}: {status.code}, {status.message}", status.code)
        if event.type == "BOOKMARK":
            self._version = _known(_bookmark.decode(event.object).metadata.resource_version, what)
            return
        item = self._item.decode(event.object)
        objects, present = self._objects, self._objects.get(item.key)
        version = _known(item.metadata.resource_version, what)
        if event.type in ("ADDED", "MODIFIED"):
            objects[item.key] = item
            if len(objects) > self._settings.objects_max:
                raise Unknown(f"{what}: there are more than {self._settings.objects_max}")
        elif event.type != "DELETED":
            raise Unknown(f"{what}: an event of an unknown type, {event.type!r:.40}")
        elif present is not None and present.metadata.uid == item.metadata.uid:
            del objects[item.key]
        # else another object bears the name by now, and the news is of the one before it
        self._version = version
        if objects.get(item.key) != present:
            self._changed()


def _known(version: str, what: str) -> str:
    """The version, if there is one: a watch from none would begin anywhere, and miss what was deleted before."""
    if not version:
        raise Unknown(f"{what}: the server names no version")
    return version
