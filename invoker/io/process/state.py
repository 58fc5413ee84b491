"""◆ What the kernel says of one process: when it was started, and whether it lives, will die, or is over.

Asked before every thaw, so it is one read of one file. A frozen process whose SIGKILL waits looks alive; so does, for
a moment, one that is on its way out. Under version 1 of the control groups the killed one stays frozen and dies when it
is thawed; under version 2 it dies at once, perhaps just now.
"""

from __future__ import annotations

import os
import signal
from typing import Literal

STAT_BYTES_MAX = 4096
SIGKILL_BIT = 1 << (signal.SIGKILL - 1)
EXITING_FLAGS = 0x404  # PF_EXITING, and PF_SIGNALED, which goes before it

STATE, FLAGS, START_TIME, PENDING = 0, 6, 19, 28
"""Places behind the name in /proc/<pid>/stat; `man proc` counts from the id, 3 more."""

Fate = Literal["lives", "doomed", "over"]


def fate(pid: int) -> Fate:
    """Of the process `pid`: `doomed` is one that is exiting, or has been sent a SIGKILL and not died of it yet."""
    fields = _stat(pid)
    if not fields or fields[STATE] in (b"Z", b"X"):
        return "over"
    doomed = int(fields[FLAGS]) & EXITING_FLAGS or int(fields[PENDING]) & SIGKILL_BIT
    return "doomed" if doomed else "lives"


def start_time(pid: int) -> int | None:
    """When process `pid` was started, in the kernel's ticks since boot; with the id it names a process for good. None
    where it is over."""
    fields = _stat(pid)
    return None if not fields or fields[STATE] in (b"Z", b"X") else int(fields[START_TIME])


def _stat(pid: int) -> list[bytes]:
    """The fields behind the name; none where there is no such process any more."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(descriptor, STAT_BYTES_MAX).rpartition(b")")[2].split()
    except OSError:  # it ended between the two
        return []
    finally:
        os.close(descriptor)
