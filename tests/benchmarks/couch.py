"""◆ Enough of CouchDB for a measurement: `python -m tests.benchmarks.couch PORT`.

Any action is there, made up from its name (`fast` prints nothing, `fast-l100` a hundred lines a run); no namespace is
blocked; records are taken and counted, and the count is at `/stored`.
"""

from __future__ import annotations

import json
import re
import sys
from urllib.parse import unquote

from aiohttp import web

KIND = "fast:1"
MEMORY_MB = 128
BODY_MAX = 64 << 20


class Couch:
    """The handlers."""

    def __init__(self) -> None:
        self.stored = 0

    async def database(self, _request: web.Request) -> web.Response:
        """The server, a database."""
        return web.json_response({"couchdb": "Welcome", "version": "3.4.3"})

    async def count(self, _request: web.Request) -> web.Response:
        """How many records came."""
        return web.json_response(self.stored)

    async def view(self, _request: web.Request) -> web.Response:
        """Nobody is blocked."""
        return web.json_response({"total_rows": 0, "offset": 0, "rows": []})

    async def action(self, request: web.Request) -> web.Response:
        """Any action."""
        path, _, name = unquote(request.match_info["id"]).rpartition("/")
        lines = re.search(r"-l(\d+)", name)
        return web.json_response(
            {
                "_id": f"{path}/{name}",
                "_rev": "1-x",
                "namespace": path,
                "name": name,
                "version": "0.0.1",
                "exec": {"kind": KIND, "code": lines[1] if lines else "0", "binary": False},
                "annotations": [],
                "limits": {"timeout": 60_000, "memory": MEMORY_MB, "logs": 256, "concurrency": 1},
            }
        )

    async def bulk(self, request: web.Request) -> web.Response:
        """Take records."""
        documents = json.loads(await request.read())["docs"]
        self.stored += len(documents)
        return web.json_response([{"ok": True, "id": each["_id"], "rev": "1-x"} for each in documents], status=201)


def main() -> int:
    couch = Couch()
    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_get("/stored", couch.count)
    app.router.add_get("/{database}/_design/{design}/_view/{view}", couch.view)
    app.router.add_post("/{database}/_bulk_docs", couch.bulk)
    app.router.add_get("/whisks/{id:.+}", couch.action)
    app.router.add_get("/{database:[^/]*}{slash:/?}", couch.database)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
