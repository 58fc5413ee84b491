"""The invoker under measurement: `invoker dev --engine docker`, but for its stores: `python -m tests.benchmarks.node`.

Settings come from the environment. Actions are made up from their names (`fast` prints nothing, `fast-l100` a hundred
lines a run), as a database would give them from the cache; records are taken and dropped, as a sink does that
gathers batches in memory.
"""

from __future__ import annotations

import os
import re
import sys

from invoker import app, config
from invoker.app.dev import Dev
from invoker.io import logging as invoker_logging
from invoker.io.dev import page as dev_file
from invoker.protocol.document import ActionDocument, InlineCode
from invoker.runner import RunnerSettings

KIND = "fast:1"
MEMORY_MB = 128


class NamedActions:
    """See `invoker.ports.ActionStore`."""

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        lines = re.search(r"-l(\d+)", name)
        return ActionDocument(
            path=path,
            name=name,
            version="0.0.1",
            revision=revision or "",
            kind=KIND,
            main="main",
            binary=False,
            code=InlineCode(lines[1] if lines else "0"),
            timeout_ms=60_000,
            memory_mb=MEMORY_MB,
            logs_kb=256,
            concurrency=1,
            annotations=(),
            provide_api_key=True,
        )


class NoRecords:
    """See `invoker.ports.RecordSink`."""

    async def put(self, document_id: str, record: bytes, facts: dict[str, object]) -> None:
        pass


def main() -> int:
    settings = config.load_dev(os.environ, engine="docker")
    claim = dev_file.claim(settings.data_dir)
    logs = invoker_logging.setup("info", "json", sys.stdout)
    instead = app.Instead(
        runner=RunnerSettings(0, settings.user_memory_bytes), actions=NamedActions(), sink=NoRecords()
    )
    try:
        return app.run(Dev(settings, claim, logs, instead).serve())
    finally:
        logs.close()
        claim.release()


if __name__ == "__main__":
    sys.exit(main())
