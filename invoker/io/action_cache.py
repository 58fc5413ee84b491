"""◆ A cache in front of an action store: an action's revision never changes, so it needs to be read once.

Keyed by (path, name, revision), least recently used out first (contract, section 8). Many activations of one action
arrive together after a deployment: they share one read. A read that failed is forgotten at once. Beside the number of
actions their code in all has a limit, for one alone may have tens of megabytes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from invoker.ports import ActionStore
from invoker.protocol.document import ActionDocument, InlineCode

ACTIONS_MAX = 128
CODE_CHARACTERS_MAX = 512 * 1024 * 1024  # as good as bytes: source text and base64
CLOSE_LIMIT_S = 5.0

_Key: TypeAlias = tuple[str, str, str]


def _nothing() -> None:
    return None


class CachedActions:
    """An ActionStore that asks `store` only for what it doesn't have. Holds `size` actions, and the reads under way.

    Without a revision the newest is meant, which may change at any time: such a read always goes through. `on_hit` and
    `on_miss` are called once for each `get` with a revision; one that joins another's read is a miss.
    """

    def __init__(
        self,
        store: ActionStore,
        size: int = ACTIONS_MAX,
        *,
        code_characters_max: int = CODE_CHARACTERS_MAX,
        on_hit: Callable[[], object] = _nothing,
        on_miss: Callable[[], object] = _nothing,
    ) -> None:
        self._store = store
        self._size = size
        self._code_characters_max = code_characters_max
        self._code_characters = 0
        self._on_hit = on_hit
        self._on_miss = on_miss
        self._actions: OrderedDict[_Key, ActionDocument] = OrderedDict()
        self._reads: dict[_Key, asyncio.Task[ActionDocument]] = {}

    def __len__(self) -> int:
        return len(self._actions)

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """As ActionStore. A caller that is cancelled doesn't end a read that others share."""
        if not revision:
            return await self._store.get(path, name, None)
        key = (path, name, revision)
        found = self._actions.get(key)
        if found is not None:
            self._actions.move_to_end(key)
            self._on_hit()
            return found
        self._on_miss()
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._store.get(*key), name=f"read {path}/{name}")
            read.add_done_callback(lambda task: self._settle(key, task))
        return await asyncio.shield(read)

    def _settle(self, key: _Key, read: asyncio.Task[ActionDocument]) -> None:
        self._reads.pop(key, None)
        if read.cancelled() or read.exception() is not None:
            return
        action = self._actions[key] = read.result()
        self._code_characters += _code_characters(action)
        while len(self._actions) > self._size or self._code_characters > self._code_characters_max:
            _, gone = self._actions.popitem(last=False)
            self._code_characters -= _code_characters(gone)

    async def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Let the reads under way end, and call off what hasn't ended after `limit_s`: a store may be away for long."""
        if self._reads:
            _, late = await asyncio.wait(self._reads.values(), timeout=limit_s)
            for read in late:
                read.cancel()
            if late:
                await asyncio.wait(late)


def _code_characters(action: ActionDocument) -> int:
    return len(action.code.text) if isinstance(action.code, InlineCode) else 0
