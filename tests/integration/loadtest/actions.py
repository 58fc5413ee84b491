"""◆ Actions of these tests, and where they belong."""

from __future__ import annotations

import json

from invoker.errors import ActionNotFound
from invoker.io.dev.documents import action_document
from invoker.policy.balancing.sharding import home_hash
from loadtest.controller import Controller

NAP = "import time\ndef main(args):\n    time.sleep(args.get('s', 0))\n    return {'napped': args.get('s', 0)}\n"


async def keep(controller: Controller, name: str, code: str = NAP, *, memory_mb: int = 128) -> str:
    """Put an action of the guest's, unless it is there; its full name."""
    try:
        await controller.catalogue.document("guest", name)
    except ActionNotFound:
        limits = {"memory": memory_mb, "timeout": 30_000}
        wanted = json.dumps({"exec": {"kind": "python:3", "code": code}, "limits": limits}).encode()
        document = action_document("guest", name, wanted, None, kinds=(), memory_mb_max=4096, now_ms=0)
        await controller.catalogue.put("guest", name, document, None)
    return f"guest/{name}"


def at_home(rank: int, stem: str, count: int = 2) -> str:
    """A name, begun with `stem`, of an action whose home is the invoker of this rank among `count`."""
    return next(
        name for number in range(100) if home_hash("guest", f"guest/{(name := f'{stem}{number}')}") % count == rank
    )
