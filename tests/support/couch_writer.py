"""A process that keeps records, to be killed. Arguments: URL, user, password, prefix, the spool's directory.

Its time stands still but for what it is told: `put ID` keeps a record and lets two seconds pass, `drain` lets time pass
until the spool is empty. What it has done it says, a line each: `kept ID`, `drained`. At the end of its input it ends
without a word, as a process that is killed does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.records import CouchRecords
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SpoolSettings
from tests.support.couch_fake import Standing

PUT_TAKES_S = 2.0
POLL_S = 0.02


async def main() -> None:
    url, user, password, prefix, directory = sys.argv[1:]
    settings = CouchDbSettings(url=url, username=user, password=password, prefix=prefix, connect_timeout_s=1.0)
    pace = Standing()
    client = CouchClient(settings, pace)
    records = CouchRecords(client, settings, SpoolSettings(directory), Metrics(), pace=pace)
    await client.open()
    await records.open()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, _, name = line.strip().partition(" ")
        if command == "put":
            activation = name.rpartition("/")[2]
            await records.put(name, b'{"activationId":"%b","logs":["line"]}' % activation.encode(), {})
            say(f"kept {name}")
            pace.advance(PUT_TAKES_S)
            await asyncio.sleep(0)
        elif command == "drain":
            while records.held_bytes:
                pace.advance(PUT_TAKES_S)
                await asyncio.sleep(POLL_S)
            say("drained")
    os._exit(0)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main())
