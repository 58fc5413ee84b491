"""◆ The controllers' test action, for nodes whose database doesn't have it (contract, section 3).

A controller that doubts an invoker sends it `whisk.system/invokerHealthTestActionN`. Upstream's controllers write that
document when they start, so it is looked for first; where it is missing an equal one takes its place: the manifest's
default runtime, the least memory, its parameters returned. It takes the way of every action, through a real container,
for what is tested is whether activations come through.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from invoker.errors import ActionNotFound
from invoker.ports import ActionStore
from invoker.protocol.document import ActionDocument, decode_action
from invoker.protocol.message import PROBE_NAME, PROBE_PATH

CODE = {
    "nodejs:default": "function main(params) { return params; }",
    "python:default": "def main(params):\n    return params\n",
}
TIMEOUT_MS = 60_000
LOGS_KB = 256


class ProbeActions:
    """An ActionStore before another one. `resolve` gives what a kind stands for, None for an unknown one."""

    def __init__(self, actions: ActionStore, resolve: Callable[[str], str | None], memory_mb: int) -> None:
        self._actions = actions
        self._resolve = resolve
        self._memory_mb = memory_mb

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """As ActionStore."""
        try:
            return await self._actions.get(path, name, revision)
        except ActionNotFound:
            if path != PROBE_PATH or not name.startswith(PROBE_NAME):
                raise
            found = next((kind for kind in CODE if self._resolve(kind) is not None), None)
            if found is None:
                raise
            return self._document(name, self._resolve(found) or found, CODE[found])

    def _document(self, name: str, kind: str, code: str) -> ActionDocument:
        return decode_action(
            msgspec.json.encode(
                {
                    "namespace": PROBE_PATH,
                    "name": name,
                    "exec": {"kind": kind, "code": code, "binary": False},
                    "limits": {"timeout": TIMEOUT_MS, "memory": self._memory_mb, "logs": LOGS_KB, "concurrency": 1},
                    "annotations": [{"key": "provide-api-key", "value": False}],
                }
            )
        )
