"""◇ Where records wait on disk, and how much of it they may take."""

from __future__ import annotations

from typing import Literal

import msgspec

Sync = Literal["none", "group"]

MIB = 1024 * 1024
SEGMENTS_AT_LEAST = 16  # into which a full spool is divided: so much of it is dropped at once
SEGMENT_BYTES_MAX = 16 * MIB
SPOOL_BYTES_MIN = 64 * 1024


class SpoolSettings(msgspec.Struct, frozen=True):
    """Where the spool is. `spool_bytes`: all its segments together, 64 KiB or more; `rejected_bytes`: the
    records set aside. `sync="group"`: a power cut takes nothing either."""

    directory: str
    spool_bytes: int = 1024 * MIB
    rejected_bytes: int = 64 * MIB
    sync: Sync = "none"

    @property
    def segment_bytes(self) -> int:
        """A segment that has passed this is closed and the next begun."""
        return min(self.spool_bytes // SEGMENTS_AT_LEAST, SEGMENT_BYTES_MAX)
