"""◆ A guard that outlives the invoker by a moment: it ends what an invoker that was killed could not end itself.

A runtime ends with its invoker, for its standard input ends, and a sandbox does too; a frozen one can't, since it does
nothing at all. So a shell waits beside the engine for the end of its own standard input. Where that comes unasked, it
kills the containers' processes, thaws their groups, for on cgroup v1 only what runs can die, and removes groups and
directories. Meanwhile it holds the lock that its engine had on the directory, so a new life waits until it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from invoker.errors import PlatformFault
from invoker.io.containers.cgroup import parents
from invoker.io.process.isolation import SEARCH_PATH, SHELL

WATCH = """
read -r _
directory=$1 file=$2
shift 2
for noted in "$directory"/*/"$file"; do
  read -r pid _ <"$noted" && kill -9 "-$pid"
done
for prefix; do
  for group in "$prefix"*/; do
    while read -r pid; do kill -9 "$pid"; done <"$group/cgroup.procs"
    [ ! -e "$group/freezer.state" ] || echo THAWED >"$group/freezer.state"
    [ ! -e "$group/cgroup.freeze" ] || echo 0 >"$group/cgroup.freeze"
  done
done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  left=
  for prefix; do
    for group in "$prefix"*/; do [ ! -d "$group" ] || rmdir "$group" || left=some; done
  done
  [ -n "$left" ] || break
  sleep 0.1
done
rm -rf "$directory"/*
rmdir "$directory"
"""
"""Arguments: the containers' directory, the name of a process file in each, how their groups' directories begin."""

CLEANING_MAX_S = 2.0
"""How long the loop above may take."""


class Guard:
    """One engine's guard. `start`, then `dismiss` when nothing is left to guard."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def start(self, directory: Path, lock: int, file: str, prefix: str) -> None:
        """Guard the containers in `directory` and the groups whose names begin with `prefix`. Raises PlatformFault.

        `lock`: the descriptor that holds the directory's lock; the guard goes on holding it.
        """
        groups = (str(parent / prefix) for parent in parents())
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(SHELL, "-c", WATCH, "guard", str(directory), file, *groups),
                env={"PATH": SEARCH_PATH},
                cwd="/",
                pass_fds=(lock,),
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
