"""◆ A guard that outlives the invoker by a moment: it ends what an invoker that was killed could not end itself.

A runtime ends with its invoker, for its standard input ends, and a sandbox does too; a frozen one can't, since it does
nothing at all. So a shell waits beside the engine for the end of its own standard input. Where that comes unasked, it
kills the containers' processes and thaws their groups, for on cgroup v1 only what runs can die. What is left then,
directories without processes, the next life removes.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from invoker.errors import PlatformFault
from invoker.io.cgroup import freezer_parent
from invoker.io.isolation import SEARCH_PATH, SHELL

WATCH = """
read -r _
for file in "$1"/*/"$2"; do
  read -r pid _ <"$file" && kill -9 "-$pid"
done
[ -n "$3" ] || exit 0
for group in "$3"*; do
  while read -r pid; do kill -9 "$pid"; done <"$group/cgroup.procs"
  if [ -e "$group/freezer.state" ]; then echo THAWED >"$group/freezer.state"; else echo 0 >"$group/cgroup.freeze"; fi
done
"""
"""Arguments: the containers' directory, the name of a process file in each, how their groups' directories begin."""


class Guard:
    """One engine's guard. `start`, then `dismiss` when nothing is left to guard."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def start(self, directory: Path, file: str, prefix: str) -> None:
        """Guard the containers in `directory` and the groups whose names begin with `prefix`. Raises PlatformFault."""
        parent = freezer_parent()
        groups = str(parent / prefix) if parent is not None else ""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(SHELL, "-c", WATCH, "guard", str(directory), file, groups),
                env={"PATH": SEARCH_PATH},
                cwd="/",
                start_new_session=True,  # a signal to the terminal's processes is not for the guard
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=DEVNULL,
            )
        except OSError as error:
            raise PlatformFault(f"{SHELL} can't be run: {error}") from error

    async def dismiss(self) -> None:
        """End it. Twice is once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
