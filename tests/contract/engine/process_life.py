"""An invoker's life in a process of its own, to be killed: it starts containers, says so, and waits for its end.

Arguments: the containers' directory, the instance. Prints the ids of: its guard, then each container's main process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec

ACTION = """
import time
def main(args):
    time.sleep(600)
"""
INIT = json.dumps({"value": {"name": "sleep", "main": "main", "code": ACTION, "binary": False, "env": {}}}).encode()


async def live(directory: str, instance: str) -> None:
    """One container idle, one frozen, one busy; then wait."""
    engine = ProcessEngine(ProcessSettings(directory=Path(directory), instance=int(instance)))
    await engine.open()
    containers = [
        await engine.start(ContainerSpec(ContainerId(number), "python:3", "", 128, ("guest", "x")), lambda _: None)
        for number in range(3)
    ]
    for container in containers:
        await container.init(INIT, 30)
    await containers[1].pause()
    busy = asyncio.create_task(containers[2].run(b'{"value":{}}', 600))
    print(guard_pid(), *(container.pid for container in containers), flush=True)
    await busy


def guard_pid() -> int:
    """The child of this process that is the engine's guard."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (guard,) = (pid for pid in children if b"\0guard\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(guard)


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2]))
